"""The RFC 3161 timestamps of a receipt, by PyPI `rfc3161-client` (Trail of Bits' and Sigstore's).

usage: timestamps.py RECEIPT --trust FILE
"""

import argparse
import hashlib

from common import b64, fail, holds, log_proof, ok, read_json
from cryptography.x509 import load_der_x509_certificate
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response


def tlv(tag, contents):
    length = len(contents)
    size = bytes([length]) if length < 0x80 else (n := (length.bit_length() + 7) // 8, bytes([0x80 | n]) + length.to_bytes(n))[1]
    return bytes([tag]) + size + contents


def response(token):
    """The library reads whole answers: status granted, and the token."""
    return decode_timestamp_response(tlv(0x30, tlv(0x30, tlv(2, b"\0")) + token))


arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("receipt")
arguments.add_argument("--trust", required=True)
arguments = arguments.parse_args()
receipt, trust = read_json(arguments.receipt), read_json(arguments.trust)
builder = VerifierBuilder()
for root in trust["tsa_roots"]:
    builder = builder.add_root_certificate(load_der_x509_certificate(b64(root)))
verifier = builder.build()

_, _, checkpoint = log_proof(receipt["log_proof"])
text, _, lines = checkpoint.partition("\n\n")
origin = text.split("\n")[0]
own = next(line for line in lines.split("\n") if line.split(" ")[1] == origin)
dated = f"{text}\n\n{own}\n".encode()
ok(receipt.get("anchors"), f"{len(receipt.get('anchors', []))} timestamps over the checkpoint")
for anchor in receipt["anchors"]:
    stamp = response(b64(anchor["rfc3161"]))
    holds(lambda: verifier.verify_message(stamp, dated), f"a timestamp of {stamp.tst_info.gen_time} over the checkpoint")
    try:
        verifier.verify_message(stamp, dated + b"x")
    except VerificationError:
        ok(True, "and over nothing else")
    else:
        fail("the library accepts anything")
if "beacon" in receipt:
    token = b64(receipt["beacon"])
    ok(hashlib.sha256(token).digest() in b64(receipt["statement"]), "the statement has the hash of the beacon")
    stamp = response(token)
    holds(lambda: verifier.verify(stamp, stamp.tst_info.message_imprint.message), f"the beacon, of {stamp.tst_info.gen_time}")
