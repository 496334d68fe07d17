"""A webhook's signature (RFC 9421) by PyPI `http-message-signatures`, and that whatever it covers cannot be changed.

usage: webhook.py FILE

FILE: {"method", "url", "headers": [[name, value], …], "body", "public_key": hex}
"""

import base64
import copy
import hashlib
import sys
import types

from common import fail, ok, read_json
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

COVERED = ("@method", "@target-uri", "content-type", "content-digest")
TAG = "colophon-v1-webhook"


class Key(HTTPSignatureKeyResolver):
    def __init__(self, key):
        self.key = key

    def resolve_public_key(self, key_id):
        return Ed25519PublicKey.from_public_bytes(self.key) if hashlib.sha256(self.key).hexdigest() == key_id else None


def request_of(said):
    headers = {name.lower(): value for name, value in said["headers"]}
    return types.SimpleNamespace(method=said["method"], url=said["url"], headers=headers)


def verify(said, key):
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Key(key))
    # Freshness is the receiver's: the library refuses what is older than it may be.
    [result] = verifier.verify(request_of(said), expect_tag=TAG, require_components=COVERED)
    digest = base64.b64encode(hashlib.sha256(said["body"].encode()).digest()).decode()
    if result.covered_components['"content-digest"'] != f"sha-256=:{digest}:":
        raise ValueError("the body is not the one whose digest is signed")
    return result


said = read_json(sys.argv[1])
key = bytes.fromhex(said["public_key"])
try:
    result = verify(said, key)
except Exception as error:
    fail(f"{type(error).__name__}: {error}")
ok(True, f"verified by {result.parameters['keyid']}, covering {len(result.covered_components) - 1} components")


def spoilt(what, change, key=key):
    other = copy.deepcopy(said)
    change(other)
    try:
        verify(other, key)
    except Exception:
        ok(True, f"refused with {what}")
        return
    fail(f"verifies with {what}")


def header(name, value):
    def change(other):
        other["headers"] = [[n, value if n.lower() == name else v] for n, v in other["headers"]]

    return change


spoilt("another body", lambda other: other.update(body=other["body"].replace("proven", "failed")))
spoilt("another target", lambda other: other.update(url=other["url"] + "/x"))
spoilt("another method", lambda other: other.update(method="PUT"))
spoilt("another type", header("content-type", "text/plain"))
spoilt("another digest", header("content-digest", "sha-256=:AAAA:"))
spoilt("another key", lambda other: None, bytes(32))
