"""The Anthropic SDK for Python through the proxy, with the transport from examples/clients/python."""

from common import BASE_URL, DIRECT_URL, MODEL, bounded, left_early, ok, says_the_same, verified

import httpx2
from anthropic import Anthropic
from colophon_httpx import ColophonTransport

bounded()
transport = ColophonTransport()
client = Anthropic(base_url=BASE_URL, api_key="none", http_client=httpx2.Client(transport=transport), timeout=60, max_retries=0)
direct = Anthropic(base_url=DIRECT_URL, api_key="none", timeout=60, max_retries=0)
ask = {"model": MODEL, "messages": [{"role": "user", "content": "Once upon a time"}], "max_tokens": 24, "extra_body": {"temperature": 0}}


def said(message):
    return "".join(block.text for block in message.content if block.type == "text")


def streamed(api):
    with api.messages.stream(**ask) as stream:
        return "".join(stream.text_stream)


ok(said(client.messages.create(**ask)) == said(direct.messages.create(**ask)), "messages: the same answer as without the proxy")
verified(transport.exchanges[-1], "messages")

ok(streamed(client) == streamed(direct), "streamed messages: the same answer as without the proxy")
verified(transport.exchanges[-1], "streamed messages")


sent = {**ask, **ask["extra_body"]}
sent.pop("extra_body")
message = client.messages.create(**ask)
says_the_same(transport.exchanges[-1], "messages", sent, message.to_dict())
with client.messages.stream(**ask) as stream:
    message = stream.get_final_message()
says_the_same(transport.exchanges[-1], "assembled messages", sent | {"stream": True}, message.to_dict())


def leave():
    stream = client.messages.create(**ask | {"max_tokens": 400}, stream=True)
    next(iter(stream))
    stream.close()
    return transport.exchanges[-1]


left_early(leave, "left mid-stream")
