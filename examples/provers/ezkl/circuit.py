"""A circuit directory: one ONNX model compiled for EZKL, and what a reader needs to check proofs of it.

    circuit.json      names, digests, scales: what the others mean
    settings.json     EZKL's settings
    model.compiled    the circuit
    vk, pk            verifying and proving key
    srs               the structured reference string

A classifier takes `features` [1, n] and `binding` [1, 32], and gives `score` [1, m]; a language model takes `tokens` [1, n]
and `binding`, and gives `next` [1, n], the token that follows each position. Both give their inputs again, through
Identity: public, so that a proof says what it is about and which statement it was made for.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys

# What only making a circuit needs is imported there: verifying takes less than half the time without.

FORMAT = "colophon-ezkl-circuit-v1"
# The field of BN254, in which EZKL's public inputs are.
FIELD = 0x30644E72E131A029B85045B68181585D2833E84879B9709143E1F593F0000001
# Features are whole numbers of 1/128: exact in fixed point with this scale.
SCALE = 7
# Limbs of the record's leaf hash, then of the statement's digest.
BINDING = 32
# Smaller range checks than EZKL's default: a few times faster for small models.
DECOMPOSITION = {"decomp_base": 256, "decomp_legs": 4}
# A language model has more values to take apart than fit a small circuit: in fewer pieces, by a larger table.
LANGUAGE_DECOMPOSITION = {"decomp_base": 1 << 14, "decomp_legs": 2}
# What its functions are looked up for: +-128 in fixed point of this scale.
LOOKUPS = (-(1 << 14), 1 << 14)
# Of the tiny one all fits these rows in one piece. Half of them cost a quarter more CPU and twice the bytes.
LANGUAGE_ROWS = 16


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


def folder_digests(folder):
    """Tokenizer and chat template of a model's folder, by the digests that statements have (docs/PROVERS.md)."""
    path = lambda name: os.path.join(folder, name)
    template = sha256_file(path("tokenizer_config.json"))
    if os.path.exists(path("chat_template.jinja")):
        both = template + sha256_file(path("chat_template.jinja"))
        template = hashlib.sha256(bytes.fromhex(both)).hexdigest()
    return {"tokenizer": sha256_file(path("tokenizer.json")), "template": template}


def shape(model):
    """What the model is shown, by its inputs: `features` or `tokens`, and how many."""
    import onnx

    inputs = [(i.name, [d.dim_value for d in i.type.tensor_type.shape.dim]) for i in onnx.load(model).graph.input]
    for kind in ("features", "tokens"):
        width = inputs[0][1][-1] if inputs else 0
        if inputs == [(kind, [1, width]), ("binding", [1, BINDING])] and width:
            return kind, width
    raise SystemExit(f"{model}: inputs {inputs}, not features or tokens [1, n] and binding [1, {BINDING}]")


def rows(kind, model, path, wanted):
    """Writes the settings of the circuit, of as many rows as are wanted, else of the fewest that hold it."""
    import ezkl

    for logrows in [wanted] if wanted else [LANGUAGE_ROWS] if kind == "tokens" else range(9, 21):
        arguments = ezkl.PyRunArgs()
        arguments.input_visibility = "private"
        arguments.output_visibility = "public"
        arguments.param_visibility = "fixed"
        arguments.input_scale = SCALE
        arguments.param_scale = SCALE
        arguments.logrows = logrows
        if kind == "tokens":
            arguments.lookup_range = LOOKUPS
        decomposition = LANGUAGE_DECOMPOSITION if kind == "tokens" else DECOMPOSITION
        for option, value in decomposition.items():
            setattr(arguments, option, value)
        ezkl.gen_settings(model, path("settings.json"), py_run_args=arguments)
        with open(path("settings.json")) as file:
            settings = json.load(file)
        ranges = max(high - low + 1 for low, high in settings["required_range_checks"])
        # Room for blinding, and for the tables of the range checks. What has lookups EZKL lays out in more columns.
        fits = kind == "tokens" or settings["num_rows"] + 16 <= 1 << logrows
        if fits and ranges + 16 <= 1 << logrows:
            return logrows, settings
    raise SystemExit(f"{model}: too large for 2^{logrows} rows")


def compile_circuit(model, directory, name, features=None, folder=None, srs=None, wanted=None):
    """Compiles an ONNX model into a circuit directory. `features`: a classifier's, by name; `folder`: a language model's.
    `srs`: a file of a ceremony; without it one is made here, which its maker can forge proofs with, and which is marked so."""
    import ezkl

    kind, width = shape(model)
    if kind == "features" and len(features or []) != width:
        raise SystemExit(f"{model}: it has {width} features, and --features names {len(features or [])}")
    if kind == "tokens" and not folder:
        raise SystemExit(f"{model}: of a language model --folder is needed, for its tokenizer and template")
    if os.path.exists(directory):
        shutil.rmtree(directory)
    os.makedirs(directory)
    path = lambda file: os.path.join(directory, file)
    logrows, settings = rows(kind, model, path, wanted)
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
        "quantisation": f"ezkl fixed point, scale {SCALE}",
    }
    if kind == "features":
        described["features"] = features
    else:
        described.update({"context": width, "decode": "greedy", **folder_digests(folder)})
    with open(path("circuit.json"), "w") as file:
        json.dump(described, file, indent=2)
        file.write("\n")
    return described


def main():
    parser = argparse.ArgumentParser(description="Compiles an ONNX model into a circuit directory")
    parser.add_argument("model", help="the ONNX file")
    parser.add_argument("directory", help="the circuit directory, made anew")
    parser.add_argument("--features", help="of a classifier: JSON file of its features' names, in order")
    parser.add_argument("--folder", help="of a language model: its folder, with tokenizer.json and the chat template")
    parser.add_argument("--logrows", type=int, help="rows of the circuit, as a power of 2")
    parser.add_argument("--name", required=True, help="what the circuit is called")
    parser.add_argument("--srs", help="a ceremony's structured reference string; without it a local one, forgeable by its maker")
    arguments = parser.parse_args()
    features = None
    if arguments.features:
        with open(arguments.features) as file:
            features = json.load(file)
    described = compile_circuit(
        arguments.model, arguments.directory, arguments.name, features, arguments.folder, arguments.srs, arguments.logrows
    )
    json.dump(described, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
