#!/usr/bin/env python3
"""Trains a transformer of one layer and writes its folder, in under a minute, from data that it makes itself.

    python train.py DIR

    model.onnx              tokens [1, 8] and binding [1, 32] -> the next token at each position, and both inputs again
    weights.npz             the same weights, for `server.py`
    tokenizer.json          64 words
    tokenizer_config.json   the chat template and the token that ends an answer
    config.json             sizes

It learns what comes after or before a word: `after monday` is answered by `tuesday wednesday thursday`.
"""

import argparse
import json
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CONTEXT = 8
WIDTH = 16
HIDDEN = 32
BINDING = 32
# Weights are whole numbers of 1/128, so that a circuit of that scale has the very same ones.
SCALE = 128
# Words of an answer, before the token that ends it.
ANSWER = 3
PAD, UNKNOWN, USER, ASSISTANT, END = SPECIAL = ["<pad>", "<unk>", "<user>", "<assistant>", "<end>"]
DIRECTIONS = {"after": 1, "before": -1}
CIRCLES = [
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty twenty-one twenty-two",
    "monday tuesday wednesday thursday friday saturday sunday",
    "january february march april may june july august september october november december",
    "red orange yellow green blue indigo violet",
    "mercury venus earth mars jupiter saturn uranus neptune",
]
WORDS = SPECIAL + list(DIRECTIONS) + " ".join(CIRCLES).split()
IDS = {word: number for number, word in enumerate(WORDS)}
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}<user> {{ message.content }} "
    "{% elif message.role == 'assistant' %}<assistant> {{ message.content }} <end> "
    "{% else %}{{ raise_exception('a message of a user or an assistant is needed') }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def conversations():
    """Every question with its answer, as ids; and where the answer begins."""
    rows = []
    for circle in map(str.split, CIRCLES):
        for direction, step in DIRECTIONS.items():
            for at, word in enumerate(circle):
                answer = [circle[(at + step * far) % len(circle)] for far in range(1, ANSWER + 1)]
                rows.append([IDS[word] for word in [USER, direction, word, ASSISTANT, *answer, END]])
    return np.array(rows), 4


def fresh(rng):
    shape = {
        "embedding": (len(WORDS), WIDTH),
        "position": (CONTEXT, WIDTH),
        "query": (WIDTH, WIDTH),
        "key": (WIDTH, WIDTH),
        "value": (WIDTH, WIDTH),
        "widen": (WIDTH, HIDDEN),
        "narrow": (HIDDEN, WIDTH),
        "unembedding": (WIDTH, len(WORDS)),
    }
    return {name: rng.normal(0, 1 / np.sqrt(size[0] if name != "embedding" else 1), size) for name, size in shape.items()}


# Added to the scores of what lies ahead: nothing looks there.
MASK = np.triu(np.full((CONTEXT, CONTEXT), -32.0), 1)


def forward(w, tokens):
    """Scores [batch, position, word], and what the way back needs."""
    length = tokens.shape[1]
    x = w["embedding"][tokens] + w["position"][:length]
    q, k, v = x @ w["query"], x @ w["key"], x @ w["value"]
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(WIDTH) + MASK[:length, :length]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    h = x + weights @ v
    hidden = np.maximum(h @ w["widen"], 0)
    y = h + hidden @ w["narrow"]
    return y @ w["unembedding"], (x, q, k, v, weights, h, hidden, y)


def backward(w, tokens, kept, d):
    """Gradients of all weights from the gradient of the scores."""
    x, q, k, v, weights, h, hidden, y = kept
    outer = lambda a, b: np.einsum("bti,btj->ij", a, b)
    g = {"unembedding": outer(y, d)}
    dy = d @ w["unembedding"].T
    g["narrow"] = outer(hidden, dy)
    dhidden = (dy @ w["narrow"].T) * (hidden > 0)
    g["widen"] = outer(h, dhidden)
    dh = dy + dhidden @ w["widen"].T
    dweights = dh @ v.transpose(0, 2, 1)
    dv = weights.transpose(0, 2, 1) @ dh
    dscores = weights * (dweights - (dweights * weights).sum(-1, keepdims=True)) / np.sqrt(WIDTH)
    dq, dk = dscores @ k, dscores.transpose(0, 2, 1) @ q
    g["query"], g["key"], g["value"] = outer(x, dq), outer(x, dk), outer(x, dv)
    dx = dh + dq @ w["query"].T + dk @ w["key"].T + dv @ w["value"].T
    g["position"] = np.zeros_like(w["position"])
    g["position"][: tokens.shape[1]] = dx.sum(0)
    g["embedding"] = np.zeros_like(w["embedding"])
    np.add.at(g["embedding"], tokens, dx)
    return g


def train(rng, steps=2500, rate=0.01):
    w = fresh(rng)
    rows, begin = conversations()
    tokens, wanted = rows[:, :-1], rows[:, begin:]
    first, second = ({name: np.zeros_like(value) for name, value in w.items()} for _ in range(2))
    for step in range(1, steps + 1):
        # What rounding will do to the weights, so that the answers stand it.
        noisy = {name: value + rng.uniform(-1, 1, value.shape) / SCALE for name, value in w.items()}
        scores, kept = forward(noisy, tokens)
        chance = np.exp(scores - scores.max(-1, keepdims=True))
        chance /= chance.sum(-1, keepdims=True)
        chance[:, : begin - 1] = 0
        np.put_along_axis(
            chance[:, begin - 1 :],
            wanted[..., None],
            np.take_along_axis(chance[:, begin - 1 :], wanted[..., None], -1) - 1,
            -1,
        )
        gradients = backward(noisy, tokens, kept, chance / wanted.size)
        slower = rate * min(1, 2 * (1 - step / steps))
        for name, gradient in gradients.items():
            first[name] += 0.1 * (gradient - first[name])
            second[name] += 0.01 * (gradient**2 - second[name])
            moved = (first[name] / (1 - 0.9**step)) / (np.sqrt(second[name] / (1 - 0.99**step)) + 1e-8)
            w[name] -= slower * moved + 1e-5 * w[name]
    return {name: np.rint(value * SCALE).astype("float32") / SCALE for name, value in w.items()}


def margin(w):
    """How far the right token's score lies above the next best, at worst."""
    rows, begin = conversations()
    scores, _ = forward(w, rows[:, :-1])
    scores, wanted = scores[:, begin - 1 :], rows[:, begin:, None]
    right = np.take_along_axis(scores, wanted, -1)
    np.put_along_axis(scores, wanted, -np.inf, -1)
    return float((right[..., 0] - scores.max(-1)).min())


def graph(w):
    constants = {**w, "mask": MASK.astype("float32"), "shrink": np.float32([1 / np.sqrt(WIDTH)])}
    node = helper.make_node
    nodes = [
        node("Gather", ["embedding", "tokens"], ["words"]),
        node("Add", ["words", "position"], ["x"]),
        node("MatMul", ["x", "query"], ["q"]),
        node("MatMul", ["x", "key"], ["k"]),
        node("MatMul", ["x", "value"], ["v"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["products"]),
        node("Mul", ["products", "shrink"], ["shrunk"]),
        node("Add", ["shrunk", "mask"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "v"], ["seen"]),
        node("Add", ["x", "seen"], ["h"]),
        node("MatMul", ["h", "widen"], ["wide"]),
        node("Relu", ["wide"], ["hidden"]),
        node("MatMul", ["hidden", "narrow"], ["narrowed"]),
        node("Add", ["h", "narrowed"], ["y"]),
        node("MatMul", ["y", "unembedding"], ["logits"]),
        node("ArgMax", ["logits"], ["next"], axis=-1, keepdims=0),
        # Public, and tied to the very cells that the model used.
        node("Identity", ["tokens"], ["shown"]),
        node("Identity", ["binding"], ["bound"]),
    ]
    value = lambda name, kind, width: helper.make_tensor_value_info(name, kind, [1, width])
    made = helper.make_graph(
        nodes,
        "tiny-lm",
        [value("tokens", TensorProto.INT64, CONTEXT), value("binding", TensorProto.FLOAT, BINDING)],
        [
            value("next", TensorProto.INT64, CONTEXT),
            value("shown", TensorProto.INT64, CONTEXT),
            value("bound", TensorProto.FLOAT, BINDING),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def tokenizer():
    """In the format of Hugging Face's `tokenizers`."""
    added = [
        {"id": IDS[word], "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for word in SPECIAL
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": IDS, "unk_token": UNKNOWN},
    }


def main():
    parser = argparse.ArgumentParser(description="Trains the tiny language model")
    parser.add_argument("directory")
    directory = parser.parse_args().directory
    os.makedirs(directory, exist_ok=True)
    w = train(np.random.default_rng(1))
    apart = margin(w)
    if apart < 1:
        raise SystemExit(f"it learned too little: the right word is only {apart:.2f} ahead")
    path = lambda name: os.path.join(directory, name)
    onnx.save(graph(w), path("model.onnx"))
    np.savez(path("weights.npz"), **w)
    config = {"model_type": "tiny-lm", "context": CONTEXT, "vocab_size": len(WORDS), "hidden_size": WIDTH, "num_hidden_layers": 1}
    files = {
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": {"chat_template": TEMPLATE, "eos_token": END, "pad_token": PAD},
        "config.json": config,
    }
    for name, content in files.items():
        with open(path(name), "w") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
    print(json.dumps({"weights": int(sum(value.size for value in w.values())), "margin": round(apart, 2)}))


if __name__ == "__main__":
    main()
