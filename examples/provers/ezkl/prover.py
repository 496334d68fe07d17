#!/usr/bin/env python3
"""Colophon's prover protocol on top of EZKL: one call on standard input, lines of JSON on standard output.

    python prover.py --circuits DIR

DIR holds circuit directories (`circuit.py` makes them). EZKL states no licence: this is an outside program that the user
installs (`pip install ezkl==23.0.5`), and no part of Colophon.
"""

import argparse
import json
import os
import sys

from circuit import FORMAT, SCALE, binding, element, sha256_file, statement_digest

PROTOCOL = "colophon-prover-v1"
# What a proof of a small model is, many times over.
MAX_ARTEFACT = 4 << 20


class Refused(Exception):
    """No other try would end otherwise."""


class Unknown(Refused):
    """Not for what it says, but because what it takes to judge it is not here."""


def say(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def progress(stage, percent):
    say({"progress": {"stage": stage, "percent": percent}})


def circuits(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        try:
            with open(os.path.join(path, "circuit.json")) as file:
                described = json.load(file)
        except FileNotFoundError:
            continue
        if described.get("format") == FORMAT:
            found[described["circuit"]] = (path, described)
    return found


def circuit_of(statement, directory):
    found = circuits(directory).get(statement["circuit"])
    if found is None:
        raise Unknown(f"no circuit {statement['circuit']} here")
    path, described = found
    if "features" in described:
        if sorted(statement.get("features") or []) != sorted(described["features"]):
            raise Refused(f"the circuit {described['name']} is about the features {described['features']}")
    else:
        check_language(statement, described)
    if statement["quantisation"] != described["quantisation"]:
        raise Refused(f"the circuit {described['name']} has the quantisation `{described['quantisation']}`")
    return path, described


def check_language(statement, described):
    """That a statement is about answers of this very language model, and is of a length that it can be shown."""
    for member in ("tokenizer", "template", "decode"):
        if statement.get(member) != described[member]:
            raise Refused(f"the circuit {described['name']} has another {member}: {described[member]}")
    prompt, output = statement.get("prompt"), statement.get("output")
    if not prompt or not output:
        raise Refused(f"the circuit {described['name']} is about the token ids of a prompt and its answer")
    if len(prompt) + len(output) - 1 > described["context"]:
        raise Refused(f"the circuit {described['name']} is shown {described['context']} tokens at most")


def expected(statement, described):
    """The public inputs that follow from the statement, whatever the model says: what it is shown, then the binding."""
    limbs = binding(statement["record"], statement_digest(statement))
    if "features" in described:
        return [statement["features"][name] for name in described["features"]], limbs
    # One pass over the whole text: each position of the answer is shown what comes before it. What lies behind is not
    # looked at, and is 0.
    shown = statement["prompt"] + statement["output"][:-1]
    return shown + [0] * (described["context"] - len(shown)), limbs


def check_answer(statement, next_tokens):
    """That the model, at each position of the answer, finds the token that the answer has there."""
    output, begin = statement["output"], len(statement["prompt"]) - 1
    for place, (own, said) in enumerate(zip(next_tokens[begin : begin + len(output)], output)):
        if own != said:
            raise Refused(f"the model's answer is another: token {place} of it is {own}, not {said}")


def prove(statement, directory):
    import ezkl

    path, described = circuit_of(statement, directory)
    file = lambda name: os.path.join(path, name)
    shown, limbs = expected(statement, described)
    progress("witness", 5)
    # Features are 128ths, tokens are whole.
    unit = 1 << SCALE if "features" in described else 1
    data = [[value / unit for value in shown], [float(limb) for limb in limbs]]
    with open("input.json", "w") as out:
        json.dump({"input_data": data}, out)
    ezkl.gen_witness("input.json", file("model.compiled"), "witness.json")
    if "features" not in described:
        with open("witness.json") as witness:
            check_answer(statement, [element(text) for text in json.load(witness)["outputs"][0]])
    progress("proving", 20)
    ezkl.prove("witness.json", file("model.compiled"), file("pk"), "artefact", file("srs"))
    progress("proved", 95)
    return {}


def whole(path, described):
    """The files that verification looks with are those that the description names."""
    for name, member in [("vk", "circuit"), ("srs", "srs"), ("settings.json", "settings")]:
        digest = sha256_file(os.path.join(path, name))
        if digest != described[member]:
            raise Unknown(f"the file {name} of the circuit {described['name']} is {digest}, not {described[member]}")


def read_artefact(path):
    """An EZKL proof, with its public inputs as signed whole numbers."""
    if os.path.getsize(path) > MAX_ARTEFACT:
        raise Refused("the artefact is too large")
    try:
        with open(path) as data:
            proof = json.load(data)
        return proof, [element(text) for text in proof["instances"][0]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise Refused(f"the artefact is no EZKL proof: {error}") from None


def verify(statement, directory):
    import ezkl

    path, described = circuit_of(statement, directory)
    file = lambda name: os.path.join(path, name)
    whole(path, described)
    proof, instances = read_artefact("artefact")
    shown, limbs = expected(statement, described)
    public = shown + [limb << SCALE for limb in limbs]
    if len(proof["instances"]) != 1 or len(instances) <= len(public):
        raise Refused("the artefact has another number of public inputs")
    found, said = instances[: -len(public)], instances[-len(public) :]
    for place, (own, other) in enumerate(zip(public, said)):
        if own != other:
            what = "the record or the statement"
            if place < len(shown):
                what = described["features"][place] if "features" in described else f"token {place}"
            raise Refused(f"the artefact proves something else: {what} differs")
    if "features" not in described:
        if len(found) != described["context"]:
            raise Refused("the artefact has another number of public inputs")
        check_answer(statement, found)
    try:
        accepted = ezkl.verify("artefact", file("settings.json"), file("vk"), file("srs"))
    except Exception as error:  # EZKL raises where a proof does not verify
        raise Refused(f"EZKL does not accept it: {error}") from None
    if "features" in described:
        with open(file("settings.json")) as settings:
            scale = json.load(settings)["model_output_scales"][0]
        claims = {"score": [value / (1 << scale) for value in found]}
    else:
        claims = {"tokens": len(statement["output"]), "decode": described["decode"]}
    return {
        "accepted": bool(accepted),
        "claims": claims,
        "setup": described["setup"],
        "circuit": described["circuit"],
        "settings": described["settings"],
        "srs": described["srs"],
    }


def capabilities(directory):
    found = circuits(directory)
    setups = {described["setup"] for _, described in found.values()}
    return {
        "prover": next((described["prover"] for _, described in found.values()), "ezkl"),
        "circuits": sorted(found),
        "hides": False,
        "setup": "local" if "local" in setups else "ceremony",
    }


def estimate(statement, directory):
    _, described = circuit_of(statement, directory)
    # Both grow with the rows; measured on small models.
    rows = 1 << described["logrows"]
    if "features" in described:
        return {"cpu_seconds": rows / 4096 * 1.2, "memory": 80_000_000 + rows * 8_000}
    return {"cpu_seconds": rows / 65536 * 40, "memory": rows / 65536 * 2_900_000_000}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--circuits", required=True, help="folder of circuit directories")
    directory = os.path.abspath(parser.parse_args().circuits)
    call = json.loads(sys.stdin.readline())
    if call.get("protocol") != PROTOCOL:
        say({"error": {"refused": True, "message": f"protocol {call.get('protocol')!r} is not {PROTOCOL}"}})
        return
    operations = {"prove": prove, "verify": verify, "estimate": estimate}
    try:
        if call["op"] == "capabilities":
            say({"result": capabilities(directory)})
        elif call["op"] in operations:
            say({"result": operations[call["op"]](call["statement"], directory)})
        else:
            say({"error": {"refused": True, "message": f"no operation {call['op']!r}"}})
    except Refused as why:
        error = {"refused": True, "message": str(why)}
        if isinstance(why, Unknown):
            error["unknown"] = True
        say({"error": error})


if __name__ == "__main__":
    main()
