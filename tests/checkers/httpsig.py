"""HTTP Message Signatures (RFC 9421) by PyPI `http-message-signatures`, `;req` components included.

usage: httpsig.py EXCHANGE [--receipt RECEIPT] [--body FILE]

EXCHANGE: {"request": {"method", "url", "headers": {…} or [[name, value], …]},
           "response": {"status", "headers", "trailers"?}, "public_key": hex, may be missing with --receipt}
With --receipt the key is the one announced there under the signature's keyid, and the signature bases that the receipt
carries must be those the library builds from the message. With --body its SHA-256 must be in Content-Digest, of the
message or, for a stream without trailers, of the closing signature in the receipt.
"""

import argparse
import base64
import hashlib
import pathlib
import types

import cbor2
from common import b64, fail, holds, ok, read_json
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureComponentResolver, HTTPSignatureKeyResolver, algorithms

REQUEST = ('"@method";req', '"@path";req', '"@query";req')
# What the signature of each tag has to cover at least.
MINIMUM = {
    "colophon-v1": ("@status", "content-digest", "colophon-request-digest", "colophon-record", *REQUEST),
    "colophon-v1-open": ("@status", "colophon-request-digest", "colophon-record", *REQUEST),
    "colophon-v1-close": ("@status", '"content-digest";tr', "colophon-request-digest", '"colophon-record";tr', *REQUEST),
}


class Headers(list):
    """(name, value) lines as they came; the library joins lines of one name."""

    def items(self):
        return iter(self)

    def get(self, name):
        return ", ".join(value for key, value in self if key.lower() == name) or None


def lines(headers):
    return Headers(headers.items() if isinstance(headers, dict) else map(tuple, headers))


class Components(HTTPSignatureComponentResolver):
    """The library's, and `;tr` (RFC 9421 section 2.1), which it leaves out: the field of that name among the trailers."""

    def resolve(self, component_node):
        params = dict(component_node.params)
        if params.pop("tr", False) is not True:
            return super().resolve(component_node)
        value = self.message.trailers.get(component_node.value)
        if params or value is None:
            raise ValueError(f"no trailer {component_node}")
        return value


class Keys(HTTPSignatureKeyResolver):
    """Keys by every spelling of their SHA-256; one given alone answers to any keyid."""

    def __init__(self, keys, alone):
        self.alone, self.keys = alone, {}
        for key in keys:
            for name in (hashlib.sha256(key).digest(), key):
                for spell in (bytes.hex, base64.b64encode, base64.urlsafe_b64encode):
                    text = spell(name)
                    text = text if isinstance(text, str) else text.decode()
                    self.keys[text] = self.keys[text.rstrip("=")] = key

    def resolve_public_key(self, key_id):
        key = self.alone or self.keys.get(key_id)
        return key and Ed25519PublicKey.from_public_bytes(key)


def verifies(key, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(b64(signature["signature"]), signature["base"].encode())
    except InvalidSignature:
        return False
    return True


arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("exchange")
arguments.add_argument("--receipt")
arguments.add_argument("--body")
arguments = arguments.parse_args()
exchange = read_json(arguments.exchange)
receipt = read_json(arguments.receipt) if arguments.receipt else None
announced = [cbor2.loads(cbor2.loads(b64(a["statement"])).value[2])[3] for a in (receipt or {}).get("announcements", [])]
keys = Keys(announced, bytes.fromhex(exchange.get("public_key", "")))

request = types.SimpleNamespace(method=exchange["request"]["method"], url=exchange["request"]["url"], headers=lines(exchange["request"]["headers"]))
response = types.SimpleNamespace(status_code=exchange["response"]["status"], headers=lines(exchange["response"]["headers"]), request=request)
parts = [response]
if exchange["response"].get("trailers"):
    # The closing signature stands in the trailer section, and covers parts of both sections.
    trailers = lines(exchange["response"]["trailers"])
    own = [line for line in trailers if line[0].lower() in ("signature", "signature-input")]
    head = [line for line in response.headers if line[0].lower() not in ("signature", "signature-input")]
    parts.append(types.SimpleNamespace(status_code=response.status_code, headers=Headers(head + own), trailers=trailers, request=request))

verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=keys, component_resolver_class=Components)
bases = []
for part in parts:
    for tag, minimum in MINIMUM.items():
        if f'tag="{tag}"' not in (part.headers.get("signature-input") or ""):
            continue
        try:
            # No bound on age: a receipt is checked long after.
            [result] = verifier.verify(part, expect_tag=tag, require_components=minimum, max_age=None)
        except Exception as error:
            fail(f"{tag}: {type(error).__name__}: {error}")
        ok(True, f"{tag}: verified by {result.parameters['keyid']}, covering {len(result.covered_components) - 1} components")
        bases.append("\n".join(f"{name}: {value}" for name, value in result.covered_components.items()))
        for name in ("content-type", "content-encoding", "colophon-log"):
            if part.headers.get(name) is not None:
                ok(f'"{name}"' in result.covered_components, f"{tag}: covers {name}, which is present")
        if request.headers.get("colophon-client-nonce") is not None:
            ok('"colophon-client-nonce";req' in result.covered_components, f"{tag}: covers the client's nonce, which is present")
ok(bases, "the response carries a signature of ours")

carried = (receipt or {}).get("http_signatures", [])
for signature in carried:
    holds(lambda: any(verifies(key, signature) for key in announced), "a signature in the receipt verifies over its base")
if receipt:
    for base in bases:
        ok(base in [signature["base"] for signature in carried], "the receipt carries the base as the library builds it", base)
if arguments.body:
    digest = base64.b64encode(hashlib.sha256(pathlib.Path(arguments.body).read_bytes()).digest()).decode()
    said = getattr(parts[-1], "trailers", response.headers).get("content-digest")
    if said is None:  # a stream whose client reads no trailers: the closing signature is in the receipt alone
        closing = [line for signature in carried for line in signature["base"].split("\n")]
        said = next((line for line in closing if line.startswith('"content-digest"')), "")
    ok(f"sha-256=:{digest}:" in said, "Content-Digest is that of the body", said)
