"""The OpenAI SDK for Python through the proxy, with the transport from examples/clients/python."""

import asyncio

from common import BASE_URL, DIRECT_URL, MODEL, UPSTREAM_ERROR, bounded, left_early, ok, receipt_of, says_the_same, verified

import httpx2
from colophon_httpx import AsyncColophonTransport, ColophonError, ColophonTransport
from openai import APIStatusError, AsyncOpenAI, OpenAI

bounded()
transport = ColophonTransport()
client = OpenAI(base_url=f"{BASE_URL}/v1", api_key="none", http_client=httpx2.Client(transport=transport), timeout=60, max_retries=0)
direct = OpenAI(base_url=f"{DIRECT_URL}/v1", api_key="none", timeout=60, max_retries=0)
chat = {"model": MODEL, "messages": [{"role": "user", "content": "Once upon a time"}], "max_tokens": 24, "temperature": 0, "seed": 1}


def said(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


answer = client.chat.completions.create(**chat).choices[0].message.content
ok(answer == direct.chat.completions.create(**chat).choices[0].message.content, "chat: the same answer as without the proxy")
verified(transport.exchanges[-1], "chat")

whole = client.chat.completions.create(**chat)
says_the_same(transport.exchanges[-1], "chat", chat, whole.to_dict())
says_the_same(transport.exchanges[-1], "chat with all members", chat, whole.model_dump(mode="json"))

with client.chat.completions.stream(**chat) as stream:
    stream.until_done()
    # `get_final_completion` wants to parse what it holds, and refuses what ended for its length.
    assembled = stream.current_completion_snapshot
says_the_same(transport.exchanges[-1], "assembled chat", chat | {"stream": True}, assembled.to_dict())

streamed = said(client.chat.completions.create(**chat, stream=True))
ok(streamed == said(direct.chat.completions.create(**chat, stream=True)), "streamed chat: the same answer as without the proxy")
verified(transport.exchanges[-1], "streamed chat")

prompt = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 24, "temperature": 0, "seed": 1}
text = client.completions.create(**prompt).choices[0].text
ok(text == direct.completions.create(**prompt).choices[0].text, "completions: the same answer as without the proxy")
verified(transport.exchanges[-1], "completions")

whole = client.completions.create(**prompt)
says_the_same(transport.exchanges[-1], "completions", prompt, whole.to_dict())

raw = client.chat.completions.with_raw_response.create(**chat)
ok(raw.http_response.extensions["colophon"] is transport.exchanges[-1], "the raw response leads to its exchange")


def status(api):
    try:
        api.chat.completions.create(model=MODEL, messages="not a list")
    except APIStatusError as error:
        return error.status_code
    return 200


refused = status(client)
ok(refused >= 400 and refused == status(direct), "an error status passes", str(refused))
ok(receipt_of(transport.exchanges[-1])[0][7] == UPSTREAM_ERROR, "an error: recorded as the upstream's")
verified(transport.exchanges[-1], "an error")


def leave():
    stream = client.chat.completions.create(**chat | {"max_tokens": 400}, stream=True)
    next(iter(stream))
    stream.close()
    exchange = transport.exchanges[-1]
    try:
        exchange.verify("unused")
    except ColophonError as error:
        if "not read to its end" in str(error):
            return exchange
    raise AssertionError("an unfinished response was not refused")


left_early(leave, "left mid-stream")


async def side_by_side():
    own = AsyncColophonTransport()
    async with AsyncOpenAI(base_url=f"{BASE_URL}/v1", api_key="none", http_client=httpx2.AsyncClient(transport=own), timeout=60) as api:

        async def one():
            return said([chunk async for chunk in await api.chat.completions.create(**chat, stream=True)])

        answers = await asyncio.gather(*(one() for _ in range(4)))
    ok(set(answers) == {streamed}, "async: four streams at once, the same answers")
    for exchange in own.exchanges:
        await asyncio.to_thread(verified, exchange, "async stream")


asyncio.run(side_by_side())
