#!/usr/bin/env python3
"""Takes the proof out of a receipt, for others than Colophon's readers to verify.

    python export.py receipt.json --circuits DIR OUT

    OUT/verifier.sol    a contract, `verifyProof(bytes proof, uint256[] instances)`, for this circuit's proofs and no others
    OUT/calldata        what that contract is called with for this one
    OUT/proof.json      the proof for `@ezkljs/engine`, in Node or a browser, which wants `transcript_type` in it
    OUT/instances.json  what its public inputs have to be, by the statement

The contract says that a proof goes with its public inputs, and nothing of what these mean: whoever calls it compares
them with instances.json, else anybody's proof of anything passes.
"""

import argparse
import asyncio
import base64
import json
import os
import sys

import ezkl

from circuit import FIELD, SCALE
from prover import Refused, circuit_of, expected, read_artefact

# A receipt is never longer.
MAX_RECEIPT = 32 << 20


def proof_of(path):
    if os.path.getsize(path) > MAX_RECEIPT:
        raise SystemExit(f"{path}: longer than {MAX_RECEIPT} bytes")
    with open(path) as file:
        receipt = json.load(file)
    found = [part["proof"]["proof"] for part in receipt.get("evidence", []) if part.get("proof")]
    if not found:
        raise SystemExit(f"{path}: there is no proof in it")
    return found[0]["statement"], base64.b64decode(found[0]["artefact"])


def write_contract(path, file):
    async def make():
        await ezkl.create_evm_verifier(file("vk"), file("settings.json"), path("verifier.sol"), path("abi.json"), file("srs"))

    try:
        asyncio.run(make())
    except Exception as error:  # It writes the contract, then looks for a compiler, which is not needed here.
        if not os.path.exists(path("verifier.sol")):
            raise SystemExit(f"EZKL writes no contract: {error}") from None


def export(statement, artefact, circuits, directory):
    os.makedirs(directory, exist_ok=True)
    path = lambda name: os.path.join(directory, name)
    circuit, described = circuit_of(statement, circuits)
    shown, limbs = expected(statement, described)
    with open(path("artefact"), "wb") as file:
        file.write(artefact)
    proof, instances = read_artefact(path("artefact"))
    public = shown + [limb << SCALE for limb in limbs]
    if instances[-len(public) :] != public:
        raise SystemExit("the proof is not of its statement")
    write_contract(path, lambda name: os.path.join(circuit, name))
    ezkl.encode_evm_calldata(path("artefact"), path("calldata"))
    with open(path("proof.json"), "w") as file:
        json.dump({**proof, "transcript_type": "EVM"}, file)
    found = len(instances) - len(public)
    with open(path("instances.json"), "w") as file:
        json.dump({"found_by_the_model": found, "then": [str(value % FIELD) for value in public]}, file, indent=1)
    os.remove(path("artefact"))


def main():
    parser = argparse.ArgumentParser(description="Exports a receipt's proof")
    parser.add_argument("receipt", help="a receipt with a proof in it")
    parser.add_argument("directory", help="where to")
    parser.add_argument("--circuits", required=True, help="folder of circuit directories")
    arguments = parser.parse_args()
    statement, artefact = proof_of(arguments.receipt)
    try:
        export(statement, artefact, os.path.abspath(arguments.circuits), arguments.directory)
    except Refused as why:
        raise SystemExit(str(why)) from None
    # A thread of EZKL's that made the contract sometimes wants the interpreter when it is gone, which aborts.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
