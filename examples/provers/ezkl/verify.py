#!/usr/bin/env python3
"""Verifies the proof in a receipt with EZKL alone: prints what it shows, as JSON, or why it is none, and ends with 1.

    python verify.py receipt.json --circuits DIR [--allow-local-setup]

It looks at the proof and at which record it is for. That the record was logged, that features and token ids follow from it,
and whose circuit it is, `colophon verify` says.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import tempfile

from prover import Refused, verify

# A receipt is never longer.
MAX_RECEIPT = 32 << 20


def read(path):
    if os.path.getsize(path) > MAX_RECEIPT:
        raise SystemExit(f"{path}: longer than {MAX_RECEIPT} bytes")
    with open(path) as file:
        return json.load(file)


def proof_of(path):
    """Statement and artefact of a receipt's first proof."""
    receipt = read(path)
    found = [part["proof"]["proof"] for part in receipt.get("evidence", []) if part.get("proof")]
    if not found:
        raise SystemExit(f"{path}: there is no proof in it")
    statement = found[0]["statement"]
    leaf = base64.b64decode(receipt["record"]["leaf"])
    if hashlib.sha256(b"\0" + leaf).hexdigest() != statement["record"]:
        raise SystemExit(f"{path}: its proof is for another record")
    return statement, base64.b64decode(found[0]["artefact"])


def main():
    parser = argparse.ArgumentParser(description="Verifies a receipt's proof")
    parser.add_argument("receipt", help="a receipt with a proof in it")
    parser.add_argument("--circuits", required=True, help="folder of circuit directories")
    parser.add_argument("--allow-local-setup", action="store_true", help="also where whoever made the parameters can forge")
    arguments = parser.parse_args()
    statement, artefact = proof_of(arguments.receipt)
    circuits = os.path.abspath(arguments.circuits)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open("artefact", "wb") as file:
            file.write(artefact)
        try:
            shown = verify(statement, circuits)
        except Refused as why:
            sys.exit(str(why))
        finally:
            os.chdir("/")
    if shown["setup"] != "ceremony" and not arguments.allow_local_setup:
        sys.exit("its parameters are local: whoever made them can forge proofs; refused without --allow-local-setup")
    print(json.dumps({"record": statement["record"], **shown}))


if __name__ == "__main__":
    main()
