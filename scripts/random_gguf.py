#!/usr/bin/env python3
"""A llama model of random weights as GGUF, and the same as config.json: times do not depend on values.

    pip install gguf numpy
    python3 scripts/random_gguf.py FOLDER [LAYERS HIDDEN HEADS KV_HEADS FFN]

Writes FOLDER/model.gguf (F16) and FOLDER/config.json, which `supernode estimate --model FOLDER` reads.
"""
import json, os, sys

import gguf
import numpy as np

VOCAB = 4096


def main():
    folder = sys.argv[1]
    layers, hidden, heads, kv_heads, ffn = (int(word) for word in (sys.argv[2:7] or "12 1024 16 8 2816".split()))
    os.makedirs(folder, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": ffn,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": hidden // heads,
        "vocab_size": VOCAB, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float16",
    }
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)
    writer = gguf.GGUFWriter(f"{folder}/model.gguf", "llama")
    writer.add_name("random")
    writer.add_context_length(8192)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCAB)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    # A vocabulary of sentence pieces: marks, all bytes, and words.
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [a for a in letters] + ["\u2581" + a for a in letters] + ["\u2581"]
    words += [a + b for a in letters for b in letters] + ["\u2581" + a + b for a in letters for b in letters]
    words += [a + b + c for a in letters for b in letters for c in letters]
    tokens += words[: VOCAB - len(tokens)]
    kinds += [gguf.TokenType.NORMAL] * (VOCAB - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(index) for index in range(VOCAB)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    random = np.random.default_rng(1)

    def put(name, *shape):
        writer.add_tensor(name, (random.standard_normal(shape, dtype=np.float32) * 0.02).astype(np.float16))

    def ones(name):
        writer.add_tensor(name, np.ones(hidden, dtype=np.float32))

    kv = hidden // heads * kv_heads
    put("token_embd.weight", VOCAB, hidden)
    put("output.weight", VOCAB, hidden)
    ones("output_norm.weight")
    for layer in range(layers):
        block = f"blk.{layer}."
        ones(block + "attn_norm.weight")
        ones(block + "ffn_norm.weight")
        for name, rows, columns in [
            ("attn_q", hidden, hidden), ("attn_k", kv, hidden), ("attn_v", kv, hidden), ("attn_output", hidden, hidden),
            ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden), ("ffn_down", hidden, ffn),
        ]:
            put(block + name + ".weight", rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{folder}/model.gguf: {os.path.getsize(folder + '/model.gguf') / 1e6:.0f} MB")


main()
