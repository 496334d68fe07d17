"""What the Python client checks share: where things are, and checks that hold for every exchange."""

import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import cbor2

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "clients" / "python"))

BASE_URL, DIRECT_URL = os.environ["BASE_URL"].rstrip("/"), os.environ["DIRECT_URL"].rstrip("/")
TRUST, VERIFY, MODEL = os.environ["TRUST"], os.environ["VERIFY"], os.environ["MODEL"]
KEPT = tempfile.TemporaryDirectory(prefix="colophon-clients-")  # goes when the program ends
FOLDER = pathlib.Path(KEPT.name)
CLIENT_ABORTED, UPSTREAM_ERROR = 1, 3
RESPONSE_BODY, CONTEXT = 4, 18


def fail(what):
    print(f"not ok - {what}", flush=True)
    sys.exit(1)


def ok(condition, what, why=""):
    if not condition:
        fail(f"{what}: {why}" if why else what)
    print(f"ok - {what}", flush=True)


def bounded(seconds=180):
    """Ends the whole check, with a message, when it takes too long."""
    signal.signal(signal.SIGALRM, lambda *_: fail(f"not finished within {seconds} s"))
    signal.alarm(seconds)


def receipt_of(exchange):
    """The receipt as (record leaf, {field number: value})."""
    record = json.loads(exchange.fetch_receipt())["record"]
    opened = [cbor2.loads(base64.b64decode(f["value"])) for f in record["fields"] if "value" in f]
    return cbor2.loads(base64.b64decode(record["leaf"])), dict(opened)


def verified(exchange, what, **options):
    """The exchange verifies, the record holds its nonce, and one flipped byte of the saved response is refused."""
    result = exchange.verify(TRUST, folder=FOLDER, program=VERIFY, **options)
    ok(result["result"] == "trusted" and result["binding"] == "nonce", f"{what}: verified, bound by its nonce", str(result))
    _, fields = receipt_of(exchange)
    nonce = exchange.request.headers["colophon-client-nonce"].encode()
    ok(fields.get(CONTEXT, {}).get(1) == nonce, f"{what}: the record holds the client's nonce", str(fields.get(CONTEXT)))
    if not exchange.complete:
        return
    receipt = max(FOLDER.glob("*.receipt.json"), key=lambda path: path.stat().st_mtime_ns)
    base = str(receipt).removesuffix(".receipt.json")
    saved = bytearray(pathlib.Path(f"{base}.response").read_bytes())
    body = exchange.response_body
    ok(saved.endswith(b"\r\n\r\n" + body), f"{what}: the saved response ends with what came over the wire")
    saved[len(saved) - (len(body) + 1) // 2] ^= 1
    flipped = pathlib.Path(f"{base}.flipped")
    flipped.write_bytes(saved)
    command = [VERIFY, str(receipt), "--trust", TRUST, "--request", f"{base}.request", "--response", str(flipped), "--json"]
    run = subprocess.run(command, capture_output=True, timeout=60)
    ok(run.returncode == 1, f"{what}: one flipped byte is refused", f"exit {run.returncode}: {run.stdout}{run.stderr}")


def says_the_same(exchange, what, request, message):
    """The library's objects, of which no byte is as it was sent, verify; one changed word does not."""
    def verify(message):
        files = {"receipt": exchange.fetch_receipt(), "request": json.dumps(request), "message": json.dumps(message)}
        for name, text in files.items():
            (FOLDER / f"said.{name}").write_bytes(text if isinstance(text, bytes) else text.encode())
        command = [VERIFY, FOLDER / "said.receipt", "--trust", TRUST, "--request-message", FOLDER / "said.request",
                   "--message", FOLDER / "said.message", "--json"]
        run = subprocess.run(command, capture_output=True, timeout=60)
        return run.returncode, f"exit {run.returncode}: {run.stdout.decode()[-2000:]}{run.stderr.decode()}"

    code, said = verify(message)
    ok(code == 0, f"{what}: the library's objects say what was recorded", said)
    code, said = verify(message | {"model": "another"})
    ok(code == 1, f"{what}: an object that says something else is refused", said)


def left_early(leave, what):
    """`leave()` starts a long stream, reads a little, goes, and gives the exchange.

    The model is fast: an answer that was over before the client had gone shows nothing, so there are a few tries.
    """
    for _ in range(5):
        exchange = leave()
        leaf, fields = receipt_of(exchange)
        if leaf[7] == CLIENT_ABORTED:
            break
    ok(leaf[7] == CLIENT_ABORTED, f"{what}: recorded as aborted by the client", f"outcome {leaf[7]}")
    size = fields[RESPONSE_BODY][1]
    got = len(exchange.response_body)
    ok(size >= got > 0, f"{what}: the record covers the delivered prefix", f"{size} bytes recorded, {got} received")
    verified(exchange, what, partial=True)
