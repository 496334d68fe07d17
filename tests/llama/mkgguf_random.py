# Colophon's tests; Apache-2.0, like the rest of the repository.
"""Writes a GGUF of a tiny llama with seeded random weights and a byte vocabulary, so that llama.cpp can be tested
without anyone's weights: about half a megabyte, and greedy output is stable. Usage: mkgguf_random.py OUT"""

import sys

import gguf
import numpy as np

WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, CONTEXT = 64, 128, 2, 4, 2, 2048
HEAD_WIDTH = WIDTH // HEADS
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

random = np.random.default_rng(7)
special = [b"<unk>", b"<s>", b"</s>"]
bytewise = [b"<0x%02X>" % byte for byte in range(256)]
readable = ["\u2581".encode()] + [bytes([code]) for code in range(33, 127)]
tokens = special + bytewise + readable

out = gguf.GGUFWriter(sys.argv[1], "llama")
out.add_name("tiny-random")
out.add_context_length(CONTEXT)
out.add_embedding_length(WIDTH)
out.add_block_count(LAYERS)
out.add_feed_forward_length(HIDDEN)
out.add_head_count(HEADS)
out.add_head_count_kv(KV_HEADS)
out.add_rope_dimension_count(HEAD_WIDTH)
out.add_layer_norm_rms_eps(1e-5)
out.add_vocab_size(len(tokens))
out.add_file_type(0)
out.add_tokenizer_model("llama")
out.add_token_list(tokens)
out.add_token_scores([-float(index) for index in range(len(tokens))])
out.add_token_types([UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(readable))
out.add_bos_token_id(1)
out.add_eos_token_id(2)
out.add_unk_token_id(0)
out.add_chat_template("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>")


def weights(*shape):
    return (random.standard_normal(shape) * 0.3).astype(np.float32)


def ones(name):
    out.add_tensor(name, np.ones(WIDTH, np.float32))


out.add_tensor("token_embd.weight", weights(len(tokens), WIDTH))
ones("output_norm.weight")
# The bytes' rows are small, so that what comes out is mostly readable characters: valid UTF-8.
head = weights(len(tokens), WIDTH)
head[: len(special) + 256] *= 0.01
out.add_tensor("output.weight", head)
for layer in range(LAYERS):
    prefix = f"blk.{layer}."
    ones(prefix + "attn_norm.weight")
    ones(prefix + "ffn_norm.weight")
    for name, shape in (
        ("attn_q", (WIDTH, WIDTH)),
        ("attn_k", (KV_HEADS * HEAD_WIDTH, WIDTH)),
        ("attn_v", (KV_HEADS * HEAD_WIDTH, WIDTH)),
        ("attn_output", (WIDTH, WIDTH)),
        ("ffn_gate", (HIDDEN, WIDTH)),
        ("ffn_up", (HIDDEN, WIDTH)),
        ("ffn_down", (WIDTH, HIDDEN)),
    ):
        out.add_tensor(f"{prefix}{name}.weight", weights(*shape))
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()
