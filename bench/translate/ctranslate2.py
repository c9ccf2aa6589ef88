#!/usr/bin/env python3
"""Heddle's decoder loop against CTranslate2's, int8 on the CPU, same random student, in turn.

  ctranslate2.py --heddle build/release/bin/heddle --bench build/bench/bin/bench_lengths \\
                 --python venv/bin/python --text pairs.tsv [--encoder 12 --decoder 1 --width 512]

--python has ctranslate2, numpy and safetensors. Sources are random tokens as many as the text's
words × 1.3; a translation has its source's tokens × the ratio of a real pair, drawn by seed.
CTranslate2 has no length a sentence, so it gets batches of equal target length, each ended exactly
there: no row of a batch ever waits for another, which is more than it has in practice. Every batch
size is timed beside a run of Heddle's; the one that does best counts. Prints a Markdown table of target
tokens a second: medians, and the ratio pair by pair."""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

import runs

MODEL = """import json, sys, numpy as np
from safetensors.numpy import save_file
folder, layers, decoder, width, ffn, vocabulary, heads = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(1)
weights = {}
def matrix(name, rows, columns):
    weights[name + ".weight"] = (rng.standard_normal((rows, columns)) / columns ** 0.5).astype("f4")
    weights[name + ".bias"] = np.zeros(rows, "f4")
def norm(name):
    weights[name + ".weight"], weights[name + ".bias"] = np.ones(width, "f4"), np.zeros(width, "f4")
def attention(name):
    for part in "qkv":
        matrix(f"{name}.{part}_proj", width, width)
    matrix(name + ".out_proj", width, width)
    norm(name + "_layer_norm")
for stack, count in ("encoder", layers), ("decoder", decoder):
    for i in range(count):
        name = f"model.{stack}.layers.{i}"
        attention(name + ".self_attn")
        if stack == "decoder":
            attention(name + ".encoder_attn")
        matrix(name + ".fc1", ffn, width)
        matrix(name + ".fc2", width, ffn)
        norm(name + ".final_layer_norm")
weights["model.shared.weight"] = (rng.standard_normal((vocabulary, width)) / width ** 0.5).astype("f4")
weights["final_logits_bias"] = np.zeros((1, vocabulary), "f4")
save_file(weights, folder + "/model.safetensors", {"format": "pt"})
json.dump({"model_type": "marian", "architectures": ["MarianMTModel"], "d_model": width,
           "encoder_layers": layers, "decoder_layers": decoder, "encoder_attention_heads": heads,
           "decoder_attention_heads": heads, "encoder_ffn_dim": ffn, "decoder_ffn_dim": ffn,
           "vocab_size": vocabulary, "activation_function": "relu", "scale_embedding": True,
           "static_position_embeddings": True, "max_position_embeddings": 1024, "eos_token_id": 0,
           "unk_token_id": 1, "pad_token_id": vocabulary - 1,
           "decoder_start_token_id": vocabulary - 1}, open(folder + "/config.json", "w"))
tokens = ["</s>", "<unk>"] + [f"t{i}" for i in range(2, vocabulary - 1)] + ["<pad>"]
json.dump({token: i for i, token in enumerate(tokens)}, open(folder + "/vocab.json", "w"))
def piece(text, kind):  # SentencePiece of ModelProto: text, score, type
    body = b"\\x0a" + bytes([len(text)]) + text.encode() + b"\\x15\\0\\0\\0\\0\\x18" + bytes([kind])
    return b"\\x0a" + bytes([len(body)]) + body
pieces = piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3)
pieces += b"".join(piece(token, 1) for token in tokens[2:-1])
for side in "source", "target":
    open(f"{folder}/{side}.spm", "wb").write(pieces)
"""

PEER = """import ctranslate2, json, sys, time
folder, requests, threads, size = *sys.argv[1:3], *map(int, sys.argv[3:])
translator = ctranslate2.Translator(folder, device="cpu", compute_type="int8",
                                    inter_threads=threads, intra_threads=1)
groups = {}
for line in open(requests):
    length, *source = line.split()
    groups.setdefault(int(length), []).append([f"t{token}" for token in source] + ["</s>"])
written, pending, start = 0, [], time.perf_counter()
for length, sources in sorted(groups.items(), reverse=True):
    sources.sort(key=len, reverse=True)
    for i in range(0, len(sources), size):
        pending.append((length, translator.translate_batch(
            sources[i:i + size], beam_size=1, asynchronous=True, min_decoding_length=length - 1,
            max_decoding_length=length - 1)))
for length, results in pending:
    for result in results:
        found = len(result.result().hypotheses[0])
        assert found == length - 1, (found, length)
        written += length
seconds = time.perf_counter() - start
print(json.dumps({"tokens": written, "seconds": seconds, "tokens_per_second": written / seconds}))
"""


def write_requests(path, text, lines, vocabulary):
    draw = random.Random(7)
    sources, references = runs.read_pairs(text)
    ratios = [len(r.split()) / len(s.split()) for s, r in zip(sources, references) if s and r]
    draws = [(max(1, round(1.3 * len(source.split()))), draw.choice(ratios))
             for source in sources[:lines]]
    with open(path, "w", encoding="ascii") as file:
        for count, ratio in draws:
            length = min(max(2, round(count * min(max(ratio, 0.5), 2))), 250)
            tokens = (draw.randrange(2, vocabulary - 1) for _ in range(min(count, 250)))
            print(length, *tokens, file=file)


def run(command, cores):
    out, _ = runs.timed(command, cores)
    return json.loads(out.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heddle", required=True)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--text", required=True)
    parser.add_argument("--encoder", type=int, default=12)
    parser.add_argument("--decoder", type=int, default=1)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--ffn", type=int, default=2048)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--lines", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", default="0")
    parser.add_argument("--batches", default="16,32,64", help="CTranslate2's batch sizes to try")
    options = parser.parse_args()
    cores = [int(core) for core in options.cores.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, name) for name in ("f32", "int8", "ct2", "requests")}
        os.mkdir(paths["f32"])
        shape = [options.encoder, options.decoder, options.width, options.ffn, options.vocabulary,
                 options.heads]
        subprocess.run([options.python, "-c", MODEL, paths["f32"], *map(str, shape)], check=True)
        heddle = lambda *words: subprocess.run([options.heddle, *words], check=True,
                                               stdout=subprocess.DEVNULL)
        heddle("quantize", paths["f32"], paths["int8"], "--type", "int8")
        heddle("convert", paths["f32"], paths["ct2"], "--format", "ctranslate2")
        write_requests(paths["requests"], options.text, options.lines, options.vocabulary)
        threads = str(len(cores))
        pairs = {size: ([], []) for size in options.batches.split(",")}
        for _ in range(options.rounds):
            for size, (ours, theirs) in pairs.items():
                ours.append(run([options.bench, paths["int8"], paths["requests"], threads], cores))
                theirs.append(run([options.python, "-c", PEER, paths["ct2"], paths["requests"],
                                   threads, size], cores))
    rate = lambda records: statistics.median(r["tokens_per_second"] for r in records)
    found = {size: runs.ratios(*both, "tokens_per_second") for size, both in pairs.items()}
    best = max(pairs, key=lambda size: rate(pairs[size][1]))
    print("| student, int8, greedy | threads | CTranslate2's batch | Heddle tokens/s "
          "| CTranslate2 tokens/s | ratio |")
    print("|---|---|---|---|---|---|")
    for size, (low, middle, high) in found.items():
        mark = ", its best" if size == best else ""
        print(f"| {options.encoder}-{options.decoder} d{options.width} f{options.ffn} "
              f"v{options.vocabulary} | {threads} | {size}{mark} | {rate(pairs[size][0]):.0f} "
              f"| {rate(pairs[size][1]):.0f} | {middle:.2f} ({low:.2f} … {high:.2f}) |")


if __name__ == "__main__":
    main()
