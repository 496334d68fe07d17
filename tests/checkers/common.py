"""What the checkers share: reading a receipt, and saying what holds. Nothing here computes a result."""

import base64
import json
import pathlib
import re
import sys


def fail(what):
    print(f"not ok - {what}", flush=True)
    sys.exit(1)


def ok(condition, what, why=""):
    if not condition:
        fail(f"{what}: {why}" if why else what)
    print(f"ok - {what}", flush=True)


def holds(check, what):
    """`check()` raises nothing and does not give False."""
    try:
        result = check()
    except Exception as error:  # whatever the independent library throws is a refusal
        fail(f"{what}: {type(error).__name__}: {error}")
    ok(result is not False, what)


def b64(text):
    return base64.b64decode(text, validate=True)


def read_json(path):
    return json.loads(sys.stdin.buffer.read() if path == "-" else pathlib.Path(path).read_bytes())


def opened(receipt):
    """The opened fields as (number, salt, encoded)."""
    return [(f["number"], b64(f["salt"]), b64(f["value"])) for f in receipt["record"]["fields"] if "value" in f]


def log_proof(text):
    """A c2sp.org/tlog-proof@v1 text as (index, path, signed checkpoint)."""
    head, _, checkpoint = text.partition("\n\n")
    first, index, *path = head.split("\n")
    ok(first == "c2sp.org/tlog-proof@v1" and index.startswith("index "), "a tlog-proof of version 1", first)
    return int(index.removeprefix("index ")), [b64(line) for line in path], checkpoint


def checkpoint_body(note):
    """(origin, size, root) of a signed checkpoint."""
    origin, size, root = note.split("\n\n")[0].split("\n")
    return origin, int(size), b64(root)


VKEY = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+")


def vkeys(value):
    """Every signed-note verifier key anywhere in a trust file."""
    if isinstance(value, str):
        return [value] if VKEY.fullmatch(value) else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [key for item in items for key in vkeys(item)]


def vkey_parts(vkey):
    """(name, key id, algorithm byte, key) of a verifier key."""
    name, key_id, data = vkey.split("+", 2)
    data = b64(data)
    return name, bytes.fromhex(key_id), data[0], data[1:]
