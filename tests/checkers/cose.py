"""COSE_Sign1 by PyPI `pycose`: the statement by the announced key, the announcements by the log's key.

usage: cose.py RECEIPT --trust FILE
"""

import argparse
import hashlib

import cbor2
from common import b64, checkpoint_body, fail, holds, log_proof, ok, read_json, vkey_parts, vkeys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pycose.algorithms import EdDSA
from pycose.headers import KID, Algorithm, ContentType
from pycose.keys import OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import Sign1Message

CWT_CLAIMS, ISS, SUB = 15, 1, 2


def signed(encoded, public_key, content_type, what):
    """Verifies the message and gives (claims, payload)."""
    ok(encoded[0] == 0xC0 | Sign1Message.cbor_tag, f"{what}: tagged as COSE_Sign1")
    # Not Sign1Message.decode: cbor2 6 makes all that stands in a tag immutable, and pycose 1.1 wants lists and dicts.
    message = Sign1Message.from_cose_obj(cbor2.loads(encoded[1:]), allow_unknown_attributes=True)
    message.key = OKPKey(crv=Ed25519, x=public_key)
    ok(message.phdr[Algorithm] is EdDSA, f"{what}: alg EdDSA")
    ok(message.phdr[ContentType] == content_type, f"{what}: content type", str(message.phdr[ContentType]))
    ok(message.phdr[KID] == hashlib.sha256(public_key).digest(), f"{what}: kid is the key's SHA-256")
    holds(message.verify_signature, f"{what}: signature")
    return message.phdr[CWT_CLAIMS], cbor2.loads(message.payload)


arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("receipt")
arguments.add_argument("--trust", required=True)
arguments = arguments.parse_args()
receipt = read_json(arguments.receipt)
origin = checkpoint_body(log_proof(receipt["log_proof"])[2])[0]
log_keys = [key for name, _, kind, key in map(vkey_parts, vkeys(read_json(arguments.trust))) if kind == 1 and name == origin]
ok(log_keys, f"the trust file has a key of the log {origin}")

shards = {}
for announcement in receipt["announcements"]:
    encoded = b64(announcement["statement"])
    kid = cbor2.loads(cbor2.loads(encoded).value[0])[KID.identifier]
    signer = next((key for key in log_keys if hashlib.sha256(key).digest() == kid), None) or fail("announcement: by no trusted log key")
    claims, payload = signed(encoded, signer, "application/colophon-announcement+cbor", "announcement")
    shard, public_key = payload[2], payload[3]
    ok(claims == {ISS: origin, SUB: shard} and payload[6] == origin, "announcement: issuer is the log, subject the shard", str(claims))
    message = b"colophon/announce/v1\n" + cbor2.dumps({k: v for k, v in payload.items() if k < 8}, canonical=True)
    holds(lambda: Ed25519PublicKey.from_public_bytes(public_key).verify(payload[8], message), "announcement: proof of possession")
    shards[shard] = public_key

encoded = b64(receipt["statement"])
shard = cbor2.loads(cbor2.loads(encoded).value[2])[2]
ok(shard in shards, f"the key of {shard} is announced")
claims, payload = signed(encoded, shards[shard], "application/colophon-statement+cbor", "statement")
ok(claims == {ISS: origin, SUB: shard}, "statement: issuer is the log, subject the shard", str(claims))
