"""An httpx transport that keeps each exchange exactly as it crossed the wire and verifies its Colophon receipt.

    transport = ColophonTransport()
    client = OpenAI(base_url="http://127.0.0.1:4180/v1", http_client=httpx2.Client(transport=transport))
    client.chat.completions.create(...)
    print(transport.exchanges[-1].verify(trust="trust.json"))
"""

import json
import os
import re
import secrets
import subprocess
import time
from collections import deque
from pathlib import Path

try:
    import httpx2 as httpx  # httpx's successor: openai 3, anthropic 2 and later
except ImportError:
    import httpx


class ColophonError(Exception):
    """The exchange could not be checked: nothing is known about it, good or bad."""


class NotVerified(ColophonError):
    """`colophon-verify` did not trust the exchange; `exit` is 1 (bad) or 3 (consistent, not trusted), `result` its JSON."""

    def __init__(self, exit, result):
        word = {1: "the receipt does not stand for this exchange", 3: "consistent, but not trusted"}[exit]
        super().__init__(f"{word}: {json.dumps(result)}")
        self.exit, self.result = exit, result


class Exchange:
    """One request and its response: bodies de-chunked, still content-encoded, as the receipt's digests cover them."""

    def __init__(self, request, body):
        self.request, self.request_body = request, body
        self.response, self.response_body, self.ended = None, bytearray(), False

    @property
    def complete(self):
        """The answer was read to its end. The OpenAI SDK closes a stream at `[DONE]`, which is its end too."""
        return self.ended or self.response_body.endswith(b"data: [DONE]\n\n")

    @property
    def saved_response(self):
        """Head and body as `curl -i` saves them, so that the signature in the head can be checked too."""
        lines = [b"HTTP/1.1 %d" % self.response.status_code]
        lines += [b"%s: %s" % line for line in self.response.headers.raw if line[0].lower() != b"set-cookie"]
        return b"\r\n".join([*lines, b"", bytes(self.response_body)])

    @property
    def receipt_url(self):
        """Where the receipt will be; always on the server that answered."""
        field = self.response.headers.get("colophon-receipt", "")
        path = re.fullmatch(r'"(/(?!/)[!#-\[\]-~]*)"', field)
        if not path:
            raise ColophonError(f"no usable Colophon-Receipt header ({field!r}): no Colophon on the way, or its policy says pass")
        return str(self.request.url.join(path[1]))

    def fetch_receipt(self, wait=60.0, client=None):
        """The receipt's bytes. It exists once its batch is logged: asks again, as told by Retry-After, for `wait` seconds."""
        url, deadline = self.receipt_url, time.monotonic() + wait
        while True:
            answer = (client or httpx).get(url)
            if answer.status_code == 200:
                return answer.content
            if answer.status_code != 202:
                raise ColophonError(f"receipt: HTTP {answer.status_code}: {answer.text[:200]}")
            after = answer.headers.get("retry-after", "")
            pause = min(max(float(after), 0.1), 10.0) if after.isdigit() else 1.0
            if time.monotonic() + pause > deadline:
                raise ColophonError(f"the receipt was not logged within {wait:g} s")
            time.sleep(pause)

    def verify(self, trust, folder="colophon-exchanges", wait=60.0, partial=False, client=None, program=None):
        """Fetches the receipt, keeps it with request body and response in `folder`, and returns what `colophon-verify` says.

        Raises `NotVerified` unless it trusts the exchange. A stream left early is refused, or with `partial` checked
        without its response body. Blocks: in async code use `await asyncio.to_thread(exchange.verify, ...)`.
        """
        if not (self.complete or partial):
            raise ColophonError("the response was not read to its end: read it all, or give partial=True to leave it unchecked")
        receipt = self.fetch_receipt(wait, client)
        base = Path(folder) / re.search(r"[0-9A-Za-z-]*(?=\?|$)", self.receipt_url)[0]
        base.parent.mkdir(parents=True, exist_ok=True)
        files = {"request": self.request_body, "response": self.saved_response, "receipt.json": receipt}
        for name, content in files.items():
            Path(f"{base}.{name}").write_bytes(content)
        program = program or os.environ.get("COLOPHON_VERIFY", "colophon-verify")
        command = [program, f"{base}.receipt.json", "--trust", str(trust), "--json", "--request", f"{base}.request"]
        command += ["--response", f"{base}.response"] if self.complete else []
        nonce = self.request.headers.get("colophon-client-nonce")
        command += ["--nonce", nonce] if nonce else []
        try:
            run = subprocess.run(command, capture_output=True, timeout=60)
            result = json.loads(run.stdout) if run.returncode in (0, 1, 3) else None
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise ColophonError(f"{program} could not be run: {error}") from error
        if run.returncode in (1, 3):
            raise NotVerified(run.returncode, result)
        if run.returncode != 0:
            raise ColophonError(f"{program}: exit {run.returncode}: {run.stderr.decode(errors='replace').strip()}")
        return result


class _Kept(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Hands each piece on as it comes, and keeps a copy."""

    def __init__(self, stream, exchange):
        self.stream, self.exchange = stream, exchange

    def __iter__(self):
        for piece in self.stream:
            self.exchange.response_body += piece
            yield piece
        self.exchange.ended = True

    async def __aiter__(self):
        async for piece in self.stream:
            self.exchange.response_body += piece
            yield piece
        self.exchange.ended = True

    def close(self):
        self.stream.close()

    async def aclose(self):
        await self.stream.aclose()


class _Recorder:
    def __init__(self, inner, keep, nonce):
        self.inner, self.nonce = inner, nonce
        self.exchanges = deque(maxlen=keep)  # the newest last

    def _begin(self, request, body):
        if self.nonce:  # is in the record: ties the answer to this very request
            request.headers.setdefault("Colophon-Client-Nonce", secrets.token_hex(16))
        return Exchange(request, body)

    def _answered(self, exchange, response):
        exchange.response, response.stream = response, _Kept(response.stream, exchange)
        response.extensions["colophon"] = exchange
        self.exchanges.append(exchange)
        return response


class ColophonTransport(_Recorder, httpx.BaseTransport):
    """For `httpx.Client`. Wraps `inner`, keeps the newest `keep` exchanges in memory."""

    def __init__(self, inner=None, keep=16, nonce=True):
        super().__init__(inner or httpx.HTTPTransport(), keep, nonce)

    def handle_request(self, request):
        exchange = self._begin(request, request.read())
        return self._answered(exchange, self.inner.handle_request(request))

    def close(self):
        self.inner.close()


class AsyncColophonTransport(_Recorder, httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient`."""

    def __init__(self, inner=None, keep=16, nonce=True):
        super().__init__(inner or httpx.AsyncHTTPTransport(), keep, nonce)

    async def handle_async_request(self, request):
        exchange = self._begin(request, await request.aread())
        return self._answered(exchange, await self.inner.handle_async_request(request))

    async def aclose(self):
        await self.inner.aclose()
