"""Deterministic CBOR by PyPI `cbor2`: everything encoded in a receipt decodes, is of the kinds allowed, and encodes to itself.

usage: cbor.py RECEIPT…
"""

import sys

import cbor2
from common import b64, fail, ok, opened, read_json


def plain(value, what):
    """Integer keys only; no floats, null, undefined, tags within."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not int:
                fail(f"{what}: a key that is no integer: {key!r}")
            plain(item, what)
    elif isinstance(value, (list, tuple)):
        for item in value:
            plain(item, what)
    elif type(value) not in (int, bytes, str, bool):
        fail(f"{what}: a value of kind {type(value).__name__}")


def canonical(encoded, what):
    try:
        value = cbor2.loads(encoded)
    except Exception as error:
        fail(f"{what}: {type(error).__name__}: {error}")
    ok(cbor2.dumps(value, canonical=True) == encoded, f"{what}: encodes to itself", repr(value))
    return value


def statement(encoded, type, what):
    message = canonical(encoded, f"{what}, COSE_Sign1")
    ok(isinstance(message, cbor2.CBORTag) and message.tag == 18 and len(message.value) == 4, f"{what}: tag 18, four items")
    protected, unprotected, payload, _ = message.value
    ok(unprotected == {}, f"{what}: nothing unprotected")
    plain(canonical(protected, f"{what}, protected header"), what)
    payload = canonical(payload, f"{what}, payload")
    plain(payload, what)
    ok(payload[1] == type, f"{what}: type {type}", str(payload[1]))


for path in sys.argv[1:] or fail(__doc__):
    receipt = read_json(path)
    leaf = canonical(b64(receipt["record"]["leaf"]), "record leaf")
    plain(leaf, "record leaf")
    numbers = [field["number"] for field in receipt["record"]["fields"]]
    ok(numbers == [n for n in range(64) if leaf[5] >> n & 1], "the fields listed are the bits of the leaf's bitmap", str(numbers))
    for number, _, encoded in opened(receipt):
        pair = canonical(encoded, f"field {number}")
        plain(pair, f"field {number}")
        ok(len(pair) == 2 and pair[0] == number, f"field {number}: holds its number")
    statement(b64(receipt["statement"]), 2, "statement")
    for announcement in receipt["announcements"]:
        statement(b64(announcement["statement"]), 3, "key announcement")
