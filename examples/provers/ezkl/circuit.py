"""A circuit directory: one ONNX model compiled for EZKL, and what a reader needs to check proofs of it.

    circuit.json      names, digests, scales: what the others mean
    settings.json     EZKL's settings
    model.compiled    the circuit
    vk, pk            verifying and proving key
    srs               the structured reference string

The model takes `features` [1, n] and `binding` [1, 32], and gives `score` [1, m] and both inputs again, through Identity:
public, so that a proof says which features it is about and which statement it was made for.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys

import ezkl
import onnx

FORMAT = "colophon-ezkl-circuit-v1"
# The field of BN254, in which EZKL's public inputs are.
FIELD = 0x30644E72E131A029B85045B68181585D2833E84879B9709143E1F593F0000001
# Features are whole numbers of 1/128: exact in fixed point with this scale.
SCALE = 7
# Limbs of the record's leaf hash, then of the statement's digest.
BINDING = 32
# Smaller range checks than EZKL's default: a few times faster for small models.
DECOMPOSITION = {"decomp_base": 256, "decomp_legs": 4}


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def binding(record, statement_digest):
    """32 limbs of 16 bits, big-endian, first bytes first."""
    data = bytes.fromhex(record) + bytes.fromhex(statement_digest)
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def canonical(statement):
    """RFC 8785, for what a statement consists of: strings, whole numbers, arrays and objects with ASCII names."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def statement_digest(statement):
    return hashlib.sha256(canonical(statement)).hexdigest()


def element(text):
    """A public input of a proof, little-endian hexadecimal, as a signed whole number."""
    value = int.from_bytes(bytes.fromhex(text.removeprefix("0x")), "little")
    if value >= FIELD:
        raise ValueError("a public input outside the field")
    return value if value < FIELD // 2 else value - FIELD


def compile_circuit(model, directory, features, name, srs=None):
    """Compiles an ONNX model into a circuit directory. `srs`: a file of a ceremony; without it one is made here, which
    its maker can forge proofs with, and which is marked so."""
    if os.path.exists(directory):
        shutil.rmtree(directory)
    os.makedirs(directory)
    path = lambda file: os.path.join(directory, file)
    inputs = [(i.name, [d.dim_value for d in i.type.tensor_type.shape.dim]) for i in onnx.load(model).graph.input]
    if inputs != [("features", [1, len(features)]), ("binding", [1, BINDING])]:
        raise SystemExit(f"{model}: inputs {inputs}, not features [1, {len(features)}] and binding [1, {BINDING}]")
    for logrows in range(9, 21):
        arguments = ezkl.PyRunArgs()
        arguments.input_visibility = "private"
        arguments.output_visibility = "public"
        arguments.param_visibility = "fixed"
        arguments.input_scale = SCALE
        arguments.param_scale = SCALE
        arguments.logrows = logrows
        for option, value in DECOMPOSITION.items():
            setattr(arguments, option, value)
        ezkl.gen_settings(model, path("settings.json"), py_run_args=arguments)
        with open(path("settings.json")) as file:
            settings = json.load(file)
        ranges = max(high - low + 1 for low, high in settings["required_range_checks"])
        # Room for blinding, and for the tables of the range checks.
        if settings["num_rows"] + 16 <= 1 << logrows and ranges + 16 <= 1 << logrows:
            break
    else:
        raise SystemExit(f"{model}: too large for 2^20 rows")
    ezkl.compile_circuit(model, path("model.compiled"), path("settings.json"))
    if srs:
        shutil.copyfile(srs, path("srs"))
    else:
        ezkl.gen_srs(path("srs"), logrows)
    ezkl.setup(path("model.compiled"), path("vk"), path("pk"), path("srs"))
    described = {
        "format": FORMAT,
        "name": name,
        "prover": f"ezkl {ezkl.__version__}" if hasattr(ezkl, "__version__") else f"ezkl {settings['version']}",
        "circuit": sha256_file(path("vk")),
        "model": sha256_file(model),
        "settings": sha256_file(path("settings.json")),
        "srs": sha256_file(path("srs")),
        "setup": "ceremony" if srs else "local",
        "logrows": logrows,
        "scale": SCALE,
        "features": features,
        "quantisation": f"ezkl fixed point, scale {SCALE}",
    }
    with open(path("circuit.json"), "w") as file:
        json.dump(described, file, indent=2)
        file.write("\n")
    return described


def main():
    parser = argparse.ArgumentParser(description="Compiles an ONNX model into a circuit directory")
    parser.add_argument("model", help="the ONNX file")
    parser.add_argument("directory", help="the circuit directory, made anew")
    parser.add_argument("--features", required=True, help="JSON file: the names of the features, in order")
    parser.add_argument("--name", required=True, help="what the circuit is called")
    parser.add_argument("--srs", help="a ceremony's structured reference string; without it a local one, forgeable by its maker")
    arguments = parser.parse_args()
    with open(arguments.features) as file:
        features = json.load(file)
    described = compile_circuit(arguments.model, arguments.directory, features, arguments.name, arguments.srs)
    json.dump(described, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
