"""The checkers refuse what is spoilt: each takes a real receipt with one thing changed, and has to exit 1.

usage: spoilt.py RECEIPT --trust FILE [--exchange FILE --body FILE]

What they accept proves something only if this passes too.
"""

import argparse
import base64
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

from common import b64, ok, read_json

HERE = pathlib.Path(__file__).parent
arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("receipt")
arguments.add_argument("--trust", required=True)
arguments.add_argument("--exchange")
arguments.add_argument("--body")
arguments = arguments.parse_args()
folder = tempfile.TemporaryDirectory()


def refused(what, checker, *words):
    run = subprocess.run([sys.executable, HERE / checker, *map(str, words)], capture_output=True, text=True, timeout=60)
    last = (run.stdout.strip().splitlines() or [""])[-1]
    ok(run.returncode == 1 and last.startswith("not ok"), f"{what}: {checker} refuses", f"exit {run.returncode}: {last}{run.stderr}")


def spoilt(path, change):
    """A copy of a JSON file with `change` made to it."""
    content = copy.deepcopy(read_json(path))
    change(content)
    file = pathlib.Path(folder.name) / "spoilt.json"
    file.write_text(json.dumps(content))
    return file


def flip(*keys, at=-9):
    """One bit of the base64 value at `keys`, in the byte `at`."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        spoilt_bytes = bytearray(b64(content[keys[-1]]))
        spoilt_bytes[at] ^= 1
        content[keys[-1]] = base64.b64encode(spoilt_bytes).decode()

    return change


def longer(encoded):
    """The same map whose first key is not in its shortest form."""
    return base64.b64encode(b64(encoded)[:1] + b"\x18" + b64(encoded)[1:]).decode()


def exchange(what, change):
    refused(what, "httpsig.py", spoilt(arguments.exchange, change), "--receipt", arguments.receipt)


def receipt(what, change, checker, *words):
    head = ("receipt",) if checker == "merkle.py" else ()
    refused(what, checker, *head, spoilt(arguments.receipt, change), *words)


trust = ("--trust", arguments.trust)
receipt("a leaf that is not canonical", lambda r: r["record"].update(leaf=longer(r["record"]["leaf"])), "cbor.py")
receipt("a field left out", lambda r: r["record"]["fields"].pop(), "cbor.py")
receipt("another id in the leaf", flip("record", "leaf", at=8), "merkle.py")
receipt("a trailing hash", lambda r: r["batch"]["path"].append(base64.b64encode(bytes(32)).decode()), "merkle.py")
receipt("another index", lambda r: r["batch"].update(index=r["batch"]["index"] + 1), "merkle.py")
receipt("the proof of another entry", lambda r: r.update(log_proof=r["announcements"][0]["log_proof"]), "merkle.py")
receipt("a bad statement signature", flip("statement"), "cose.py", *trust)
receipt("a bad announcement signature", flip("announcements", 0, "statement"), "cose.py", *trust)
if all("value" in field for field in read_json(arguments.receipt)["record"]["fields"]):
    receipt("another salt", flip("record", "fields", 0, "salt"), "merkle.py")

note = read_json(arguments.receipt)["log_proof"].split("\n\n", 1)[1]
origin, size, rest = note.split("\n", 2)
for what, text in {
    "another size": f"{origin}\n{int(size) + 1}\n{rest}",
    "an extension line": note.replace("\n\n", "\nextension\n\n", 1),
    "a signature under another name": note.replace(f"\u2014 {origin} ", f"\u2014 {origin}x "),
}.items():
    file = pathlib.Path(folder.name) / "note"
    file.write_text(text)
    refused(what, "note.py", file, *trust)

if arguments.exchange:
    nonce = ["Colophon-Client-Nonce", "another"]
    exchange("another method", lambda e: e["request"].update(method="PUT"))
    exchange("another query", lambda e: e["request"].update(url=e["request"]["url"] + "?x=1"))
    exchange("another status", lambda e: e["response"].update(status=299))
    exchange("another nonce", lambda e: e["request"].update(headers=[nonce]))
    exchange("another key", lambda e: e.update(public_key="11" * 32))
    if arguments.body:
        refused("another body", "httpsig.py", arguments.exchange, "--receipt", arguments.receipt, "--body", arguments.receipt)
