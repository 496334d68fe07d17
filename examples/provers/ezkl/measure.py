#!/usr/bin/env python3
"""What a proof by a circuit costs, measured through the adapter as a worker runs it: one line of JSON.

    python measure.py CIRCUIT [--prompt 2,5,30,3 --output 31,32,33,4]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def call(operation, statement, circuits, folder):
    """CPU seconds, seconds, and the largest memory of this call and those before it, bytes."""
    line = json.dumps({"protocol": "colophon-prover-v1", "op": operation, "statement": statement}) + "\n"
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    program = [sys.executable, os.path.join(HERE, "prover.py"), "--circuits", circuits]
    out = subprocess.run(program, input=line, cwd=folder, capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = json.loads(out.splitlines()[-1])
    if "result" not in said:
        raise SystemExit(f"{operation}: {said}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": round(cpu, 2), "seconds": round(time.monotonic() - begun, 2), "memory": after.ru_maxrss * 1024}


def main():
    parser = argparse.ArgumentParser(description="Measures a circuit's proofs")
    parser.add_argument("circuit", help="the circuit directory")
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser.add_argument("--prompt", type=numbers, help="token ids, of a language model's circuit")
    parser.add_argument("--output", type=numbers, help="token ids that it answers with")
    arguments = parser.parse_args()
    circuit = os.path.abspath(arguments.circuit)
    with open(os.path.join(circuit, "circuit.json")) as file:
        described = json.load(file)
    statement = {
        "format": "colophon-statement-v1",
        "record": "ab" * 32,
        "circuit": described["circuit"],
        "quantisation": described["quantisation"],
    }
    if "features" in described:
        statement["features"] = {name: 7 * at for at, name in enumerate(described["features"])}
    else:
        statement.update({member: described[member] for member in ("tokenizer", "template", "decode")})
        statement.update({"prompt": arguments.prompt, "output": arguments.output})
    with tempfile.TemporaryDirectory() as folder:
        proving = call("prove", statement, os.path.dirname(circuit), folder)
        verifying = call("verify", statement, os.path.dirname(circuit), folder)
        with open(os.path.join(folder, "artefact")) as file:
            proof = json.load(file)
        size = len(proof["hex_proof"].removeprefix("0x")) // 2
        artefact = os.path.getsize(os.path.join(folder, "artefact"))
    sizes = {name: os.path.getsize(os.path.join(circuit, name)) for name in ("vk", "pk", "srs")}
    print(json.dumps({"prove": proving, "verify": verifying, "proof": size, "artefact": artefact, **sizes}))


if __name__ == "__main__":
    main()
