#!/usr/bin/env python3
"""Trains a small classifier of exchanges and writes it as ONNX, in a few seconds, from data that it makes itself.

    python train.py DIR

It sees twelve whole numbers that follow from a record's opened fields (`features.json` names them) and says which of eight
groups an exchange falls into, by its shape: a toy with real parts. 12 × 32 and 32 × 8 are 640 weights.
"""

import argparse
import json
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = [
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "request_size",
    "response_size",
    "temperature",
    "max_tokens",
    "status",
    "finish_length",
    "tool_calls",
    "streamed",
]
HIDDEN = 32
GROUPS = 8
BINDING = 32


def exchanges(rng, count):
    """Eight kinds of exchange: features in 1/128, and which kind each is."""
    kinds = rng.integers(0, GROUPS, count)
    centres = np.random.default_rng(7).integers(-96, 97, (GROUPS, len(FEATURES)))
    noise = rng.normal(0, 48, (count, len(FEATURES)))
    return np.clip(np.rint(centres[kinds] + noise), -128, 128) / 128, kinds


def train(rng, steps=3000, rate=0.2):
    first = rng.normal(0, 0.4, (len(FEATURES), HIDDEN))
    second = rng.normal(0, 0.3, (HIDDEN, GROUPS))
    for _ in range(steps):
        x, kinds = exchanges(rng, 128)
        hidden = np.maximum(x @ first, 0)
        scores = hidden @ second
        chance = np.exp(scores - scores.max(1, keepdims=True))
        chance /= chance.sum(1, keepdims=True)
        chance[np.arange(len(kinds)), kinds] -= 1
        error = chance / len(kinds)
        back = (error @ second.T) * (hidden > 0)
        second -= rate * hidden.T @ error
        first -= rate * x.T @ back
    return first.astype("float32"), second.astype("float32")


def accuracy(first, second, rng):
    x, kinds = exchanges(rng, 4000)
    return float((np.maximum(x @ first, 0) @ second).argmax(1).__eq__(kinds).mean())


def graph(first, second):
    nodes = [
        helper.make_node("MatMul", ["features", "first"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["score"]),
        # Public, and tied to the very cells that the model used.
        helper.make_node("Identity", ["features"], ["shown"]),
        helper.make_node("Identity", ["binding"], ["bound"]),
    ]
    value = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])
    made = helper.make_graph(
        nodes,
        "classifier",
        [value("features", len(FEATURES)), value("binding", BINDING)],
        [value("score", GROUPS), value("shown", len(FEATURES)), value("bound", BINDING)],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main():
    parser = argparse.ArgumentParser(description="Trains the example classifier")
    parser.add_argument("directory")
    directory = parser.parse_args().directory
    os.makedirs(directory, exist_ok=True)
    rng = np.random.default_rng(1)
    first, second = train(rng)
    right = accuracy(first, second, rng)
    if right < 0.9:
        raise SystemExit(f"the classifier learned too little: {right:.2f} of its guesses are right")
    onnx.save(graph(first, second), os.path.join(directory, "classifier.onnx"))
    with open(os.path.join(directory, "features.json"), "w") as file:
        json.dump(FEATURES, file)
    print(json.dumps({"weights": int(first.size + second.size), "right": round(right, 3)}))


if __name__ == "__main__":
    main()
