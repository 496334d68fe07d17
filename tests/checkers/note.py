"""C2SP signed notes (checkpoints) with nothing but Ed25519 and SHA-256 of PyPI `cryptography`.

usage: note.py NOTE --vkey VKEY | --trust FILE
       note.py --receipt RECEIPT --vkey VKEY | --trust FILE      every checkpoint in the receipt
"""

import argparse
import base64
import pathlib

from common import b64, fail, holds, ok, read_json, vkey_parts, vkeys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash


def sha256(data):
    digest = Hash(SHA256())
    digest.update(data)
    return digest.finalize()


def check(note, keys):
    text, blank, signatures = note.rpartition("\n\n")
    ok(blank and signatures.endswith("\n"), "a text, an empty line, signature lines")
    text += "\n"
    lines = text.split("\n")
    ok(len(lines) == 4 and lines[3] == "", "a checkpoint has an origin, a size and a root, and no extension lines")
    origin, size, root, _ = lines
    ok(str(int(size)) == size and len(b64(root)) == 32 and base64.b64encode(b64(root)).decode() == root, f"{origin}: size {size} and root are well formed")
    by_log = 0
    for line in signatures.removesuffix("\n").split("\n"):
        dash, name, signature = line.split(" ")
        ok(dash == "\u2014", "a signature line begins with an em dash")
        key_id, signature = b64(signature)[:4], b64(signature)[4:]
        for key_name, known_id, kind, key in keys:
            if (key_name, known_id, kind) != (name, key_id, 1):
                continue
            ok(sha256(name.encode() + b"\n\x01" + key)[:4] == key_id, f"{name}: the key id is the hash of name and key")
            holds(lambda: Ed25519PublicKey.from_public_bytes(key).verify(signature, text.encode()), f"{name}: Ed25519 signature")
            by_log += name == origin
    ok(by_log == 1, "signed once by the log itself", f"{by_log} known signatures by {origin}")


arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("note", nargs="?")
arguments.add_argument("--receipt")
arguments.add_argument("--vkey", action="append", default=[])
arguments.add_argument("--trust")
arguments = arguments.parse_args()
keys = [vkey_parts(key) for key in arguments.vkey + (vkeys(read_json(arguments.trust)) if arguments.trust else [])]
ok(keys, f"{len(keys)} verifier keys given")
if bool(arguments.note) == bool(arguments.receipt):
    fail(__doc__)
if arguments.note:
    check(pathlib.Path(arguments.note).read_bytes().decode(), keys)
else:
    receipt = read_json(arguments.receipt)
    for proof in [receipt["log_proof"], *(a["log_proof"] for a in receipt["announcements"])]:
        check(proof.split("\n\n", 1)[1], keys)
