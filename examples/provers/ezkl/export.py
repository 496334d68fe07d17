#!/usr/bin/env python3
"""Takes the proof out of a receipt, for others than Colophon's readers to verify.

    python export.py receipt.json --circuits DIR OUT

    OUT/verifier.sol    a contract, `verifyProof(bytes proof, uint256[] instances)`, for this circuit's proofs and no others
    OUT/calldata        what that contract is called with for this one
    OUT/reusable.sol    a contract for any circuit, small enough for public chains: `registerVka(bytes32[] vka)` once, then
                        `verifyProof(bytes proof, uint256[] instances, bytes32[] vka)`, which gives the digest of the key, too
    OUT/vka             the circuit's verifying key for it: so many words of 32 bytes
    OUT/reusable.calldata  what its `verifyProof` is called with for this one
    OUT/proof.json      the proof for `@ezkljs/engine`, in Node or a browser, which wants `transcript_type` in it
    OUT/instances.json  what its public inputs have to be, by the statement

The contract says that a proof goes with its public inputs, and nothing of what these mean: whoever calls it compares
them with instances.json, else anybody's proof of anything passes. Of the contract for any circuit the digest has to be compared as
well: anybody may register a key.
"""

import argparse
import asyncio
import json
import os
import sys

import ezkl

from circuit import FIELD, SCALE
from prover import Refused, circuit_of, expected, read_artefact
from verify import proof_of

def write_contracts(path, file):
    async def contract(name, reusable):
        await ezkl.create_evm_verifier(
            file("vk"), file("settings.json"), path(name), path("abi.json"), file("srs"), reusable=reusable
        )

    async def key():
        await ezkl.create_evm_vka(file("vk"), file("settings.json"), path("reusable.vka"), file("srs"))

    for name, make in [
        ("verifier.sol", lambda: contract("verifier.sol", False)),
        ("reusable.sol", lambda: contract("reusable.sol", True)),
        ("reusable.vka", key),
    ]:
        try:
            asyncio.run(make())
        except Exception as error:  # It writes a contract, then looks for a compiler, which is not needed here.
            if not os.path.exists(path(name)):
                raise SystemExit(f"EZKL writes no {name}: {error}") from None
    # A count of eight bytes, then the words.
    with open(path("reusable.vka"), "rb") as vka:
        count, words = int.from_bytes(vka.read(8), "little"), vka.read()
    if len(words) != 32 * count:
        raise SystemExit("EZKL writes its key in a way that is not known here")
    with open(path("vka"), "wb") as vka:
        vka.write(words)


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
    write_contracts(path, lambda name: os.path.join(circuit, name))
    ezkl.encode_evm_calldata(path("artefact"), path("calldata"))
    ezkl.encode_evm_calldata(path("artefact"), path("reusable.calldata"), path("reusable.vka"))
    with open(path("proof.json"), "w") as file:
        json.dump({**proof, "transcript_type": "EVM"}, file)
    found = len(instances) - len(public)
    with open(path("instances.json"), "w") as file:
        json.dump({"found_by_the_model": found, "then": [str(value % FIELD) for value in public]}, file, indent=1)
    os.remove(path("artefact"))
    os.remove(path("reusable.vka"))


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
