"""An in-toto Statement in a DSSE envelope, by PyPI `securesystemslib`.

usage: dsse.py ENVELOPE --key PUBLIC_KEY_IN_HEX --receipt RECEIPT
"""

import argparse
import copy
import hashlib
import json
import pathlib

from common import fail, holds, ok, read_json
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

parser = argparse.ArgumentParser()
parser.add_argument("envelope")
parser.add_argument("--key", required=True)
parser.add_argument("--receipt", required=True)
args = parser.parse_args()

envelope = read_json(args.envelope)
keyid = hashlib.sha256(bytes.fromhex(args.key)).hexdigest()
key = SSlibKey(keyid, "ed25519", "ed25519", {"public": args.key})
holds(lambda: Envelope.from_dict(copy.deepcopy(envelope)).verify([key], 1), "the envelope is signed by the key")

spoilt = dict(copy.deepcopy(envelope), payloadType=envelope["payloadType"] + "x")
try:
    Envelope.from_dict(spoilt).verify([key], 1)
    fail("another payload type is refused")
except VerificationError:
    ok(True, "another payload type is refused")

statement = json.loads(Envelope.from_dict(copy.deepcopy(envelope)).payload)
receipt = pathlib.Path(args.receipt).read_bytes()
ok(envelope["payloadType"] == "application/vnd.in-toto+json", "the payload is an in-toto Statement")
ok(statement["_type"] == "https://in-toto.io/Statement/v1", "of version 1")
ok(statement["predicateType"] == "https://colophon.dev/receipt/v1", "about a receipt")
ok(statement["predicate"]["receipt"]["sha256"] == hashlib.sha256(receipt).hexdigest(), "about this receipt")
subjects = {s["name"].split("/")[1]: s["digest"]["sha256"] for s in statement["subject"]}
ok(set(subjects) == {"record-leaf", "request-body", "response-body"}, "its subjects are record and bodies", str(subjects))
ok(subjects["response-body"] == hashlib.sha256(b"{}").hexdigest(), "the response's digest is that of its bytes")
