#!/usr/bin/env python3
"""An OpenAI-compatible server of the tiny language model: chat completions, streamed or not, by greedy decoding.

    python server.py MODEL --port 8000

Needs numpy. With `"return_token_ids": true` it tells the ids of prompt and answer, as vLLM does.
"""

import argparse
import json
import os
import re
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from train import ASSISTANT, END, UNKNOWN, USER, forward

# A request is never longer, bytes.
MAX_BODY = 1 << 20


class Refused(Exception):
    """The asker's fault."""


class Model:
    """The folder that `train.py` writes."""

    def __init__(self, folder):
        path = lambda name: os.path.join(folder, name)
        with open(path("tokenizer.json")) as file:
            tokenizer = json.load(file)
        with open(path("config.json")) as file:
            self.context = json.load(file)["context"]
        self.ids = tokenizer["model"]["vocab"]
        self.words = {number: word for word, number in self.ids.items()}
        self.special = [token["content"] for token in tokenizer["added_tokens"]]
        self.weights = dict(np.load(path("weights.npz")))

    def encode(self, text):
        """As the `tokenizers` library reads tokenizer.json: special tokens wherever they stand, then words."""
        pieces = re.split("(" + "|".join(map(re.escape, self.special)) + ")", text)
        words = [word for piece in pieces for word in ([piece] if piece in self.special else piece.split())]
        return [self.ids.get(word, self.ids[UNKNOWN]) for word in words]

    def decode(self, ids):
        return " ".join(self.words[number] for number in ids if self.words[number] not in self.special)

    def prompt(self, messages):
        """What the chat template makes of the messages."""
        text = ""
        for message in messages:
            role, content = message.get("role"), message.get("content")
            if not isinstance(content, str) or role not in ("user", "assistant"):
                raise Refused("a message of a user or an assistant, with a text, is needed")
            text += f"{USER} {content} " if role == "user" else f"{ASSISTANT} {content} {END} "
        return text + ASSISTANT

    def answer(self, prompt, most):
        """Token by token: (id, how it ended if it did)."""
        ids = list(prompt)
        while True:
            scores, _ = forward(self.weights, np.array([ids]))
            ids.append(int(scores[0, -1].argmax()))
            count = len(ids) - len(prompt)
            # The next token would be found by what no longer fits.
            full = len(ids) > self.context or count == most
            finish = "stop" if ids[-1] == self.ids[END] else "length" if full else None
            yield ids[-1], finish
            if finish:
                return


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = None
    name = None

    def log_message(self, *_):
        pass

    def send(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, why):
        error = {"message": why, "type": "invalid_request_error", "param": None, "code": None}
        self.send(status, json.dumps({"error": error}).encode())

    def do_GET(self):
        if self.path != "/v1/models":
            return self.refuse(404, "not served here")
        model = {"id": self.name, "object": "model", "created": 0, "owned_by": "colophon"}
        self.send(200, json.dumps({"object": "list", "data": [model]}).encode())

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            self.close_connection = True
            return self.refuse(413, f"a request of more than {MAX_BODY} bytes")
        body = self.rfile.read(length)
        if self.path != "/v1/chat/completions":
            return self.refuse(404, "not served here")
        try:
            self.complete(json.loads(body))
        except (ValueError, AttributeError, TypeError) as error:
            self.refuse(400, f"the request cannot be read: {error}")
        except Refused as why:
            self.refuse(400, str(why))

    def complete(self, asked):
        if asked.get("n", 1) != 1:
            raise Refused("one answer to each request")
        prompt = self.model.encode(self.model.prompt(asked["messages"] if "messages" in asked else []))
        if len(prompt) > self.model.context:
            raise Refused(f"the prompt has {len(prompt)} tokens; {self.model.context} are the most")
        most = asked.get("max_completion_tokens", asked.get("max_tokens"))
        if most is not None and (not isinstance(most, int) or most < 1):
            raise Refused("an answer of at least one token")
        answer = list(self.model.answer(prompt, most))
        ids, finish = [number for number, _ in answer], answer[-1][1]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids), "total_tokens": len(prompt) + len(ids)}
        about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.name}
        tell = asked.get("return_token_ids") is True
        if asked.get("stream") is True:
            return self.stream(about, ids, finish, usage, tell)
        message = {"role": "assistant", "content": self.model.decode(ids)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        answer = {**about, "object": "chat.completion", "choices": [choice], "usage": usage}
        if tell:
            choice["token_ids"] = ids
            answer["prompt_token_ids"] = prompt
        self.send(200, json.dumps(answer).encode())

    def stream(self, about, ids, finish, usage, tell):
        events = []
        for place, number in enumerate(ids):
            said = self.model.decode(ids[: place + 1])[len(self.model.decode(ids[:place])) :]
            choice = {"index": 0, "delta": {"content": said}, "finish_reason": finish if place + 1 == len(ids) else None}
            if place == 0:
                choice["delta"]["role"] = "assistant"
            if tell:
                choice["token_ids"] = [number]
            events.append({**about, "object": "chat.completion.chunk", "choices": [choice]})
        events.append({**about, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            self.wfile.write(f"{len(line):x}\r\n{line}\r\n".encode())
        self.wfile.write(b"0\r\n\r\n")


def main():
    parser = argparse.ArgumentParser(description="Serves the tiny language model")
    parser.add_argument("model", help="the folder that train.py made")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free; the line on standard output says which")
    arguments = parser.parse_args()
    Handler.model, Handler.name = Model(arguments.model), "tiny-lm"
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
