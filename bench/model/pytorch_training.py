#!/usr/bin/env python3
"""Trains heddle's Transformer in PyTorch, as its peer: the same architecture, loss, schedule and data.

  bench/model/pytorch_training.py --train docs.en-de.tsv --columns 3,4 --vocab vocab.spm --output run \\
      --max-steps 2000 --max-tokens 25000

bf16 autocast with fp32 masters, scaled_dot_product_attention, torch.compile, fused AdamW. Batches hold
sentences of like length, padded: at most --max-tokens padded tokens of either side. Prints, and
writes to OUTPUT/log.jsonl, real target tokens a second, the share of real tokens, and the peak memory.
OUTPUT gets the model as `heddle translate --model` takes it.
"""
import argparse
import collections
import gzip
import itertools
import json
import lzma
import math
import multiprocessing
import os
import pathlib
import random
import shutil
import subprocess
import time

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

PAD, EOS = 2, 0


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, memory, mask, causal):
        def split(t):  # [B, T, D] → [B, H, T, E]
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(memory)), split(self.v_proj(memory))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Post-norm: x = norm(x + dropout(f(x)))."""

    def __init__(self, width, heads, inner, dropout, decodes):
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = Attention(width, heads), nn.LayerNorm(width)
        self.decodes = decodes
        if decodes:
            self.encoder_attn, self.encoder_attn_layer_norm = Attention(width, heads), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, mask, memory=None, memory_mask=None):
        x = self.self_attn_layer_norm(x + self.drop(self.self_attn(x, x, mask, self.decodes)))
        if self.decodes:
            out = self.encoder_attn(x, memory, memory_mask, False)
            x = self.encoder_attn_layer_norm(x + self.drop(out))
        return self.final_layer_norm(x + self.drop(self.fc2(F.relu(self.fc1(x)))))


class Stack(nn.Module):
    def __init__(self, layers, *args):
        super().__init__()
        self.layers = nn.ModuleList(Layer(*args) for _ in range(layers))


def sinusoidal(positions, width):
    half = width // 2
    angles = torch.arange(positions)[:, None] / 10000 ** (torch.arange(half)[None] / half)
    return torch.cat([angles.sin(), angles.cos()], 1).float()


class Model(nn.Module):
    def __init__(self, vocabulary, args):
        super().__init__()
        self.scale = math.sqrt(args.width)
        self.shared = nn.Embedding(vocabulary, args.width)
        shape = (args.width, args.heads, args.inner, args.dropout)
        self.encoder, self.decoder = Stack(args.layers, *shape, False), Stack(args.layers, *shape, True)
        self.drop = nn.Dropout(args.dropout)
        self.register_buffer("positions", sinusoidal(512, args.width), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        nn.init.normal_(self.shared.weight, std=args.width**-0.5)

    def embed(self, tokens):
        return self.drop(self.shared(tokens) * self.scale + self.positions[: tokens.shape[1]])

    def forward(self, source, target, labels, smoothing):
        mask = (source != PAD)[:, None, None, :]
        x = self.embed(source)
        for layer in self.encoder.layers:
            x = layer(x, mask)
        y = self.embed(target)
        for layer in self.decoder.layers:
            y = layer(y, None, x, mask)  # what pads a target stands behind it
        return self.loss(y, labels, smoothing)

    def loss(self, y, labels, smoothing):
        logits = F.linear(y, self.shared.weight).flatten(0, 1)
        return F.cross_entropy(logits, labels.flatten(), ignore_index=-100, label_smoothing=smoothing,
                               reduction="sum")


def text_lines(path):
    """Of a plain file, or of a compressed one by its ending."""
    if path.endswith(".zst"):
        text = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
        return text.decode("utf-8").split("\n")
    opener = gzip.open if path.endswith(".gz") else lzma.open if path.endswith(".xz") else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as file:
        return file.read().split("\n")


def read_pairs(args):
    processor = sentencepiece.SentencePieceProcessor(model_file=args.vocab)
    source, target = (int(c) - 1 for c in args.columns.split(","))
    lines = [line.split("\t") for line in text_lines(args.train)]
    lines = [line for line in lines if len(line) > max(source, target)]
    if not lines:
        raise SystemExit(f"{args.train}: no line has columns {args.columns}")
    threads = os.cpu_count()
    sources = processor.encode([line[source] for line in lines], num_threads=threads)
    targets = processor.encode([line[target] for line in lines], num_threads=threads)
    keep = [(np.array(s + [EOS]), np.array(t + [EOS])) for s, t in zip(sources, targets)
            if 0 < len(s) <= args.longest and 0 < len(t) <= args.longest]
    return processor, keep


def batches(pairs, args, epoch):
    """Windows of pairs, sorted by target length, slices of them by source length, cut by padded tokens;
    in a random order."""
    rng = random.Random(args.seed * 1000 + epoch)
    order = list(range(len(pairs)))
    rng.shuffle(order)
    for at in range(0, len(order), args.window):
        window = sorted(order[at:at + args.window], key=lambda i: len(pairs[i][1]))
        slices = max(1, round(math.sqrt(sum(len(pairs[i][1]) for i in window) / args.max_tokens)))
        each = -(-len(window) // slices)
        made, batch, s, t = [], [], 0, 0
        for part in range(0, len(window), each):
            for i in sorted(window[part:part + each], key=lambda i: len(pairs[i][0])):
                a, b = max(s, len(pairs[i][0])), max(t, len(pairs[i][1]))
                if batch and max(a, b) * (len(batch) + 1) > args.max_tokens:
                    made.append(batch)
                    batch, a, b = [], len(pairs[i][0]), len(pairs[i][1])
                batch.append(i)
                s, t = a, b
        made.append(batch)
        rng.shuffle(made)
        yield from made


def padded(rows, value):
    """[B, T]."""
    lengths = np.array([len(row) for row in rows])
    out = np.full((len(rows), lengths.max()), value)
    out[np.arange(out.shape[1]) < lengths[:, None]] = np.concatenate(rows)
    return out


PAIRS = []  # of the processes that make batches


def arrays(batch):
    sources, targets = [PAIRS[i][0] for i in batch], [PAIRS[i][1] for i in batch]
    shifted = [np.concatenate([[PAD], row[:-1]]) for row in targets]
    return (padded(sources, PAD), padded(shifted, PAD), padded(targets, -100),
            sum(map(len, sources)), sum(map(len, targets)))


def every_batch(pairs, args):
    epochs = (batch for epoch in itertools.count() for batch in batches(pairs, args, epoch))
    return itertools.islice(epochs, args.max_steps)


def made_ahead(pool, wanted, ahead=64):
    """The arrays of each batch in turn. A few are made ahead; pool.imap would make all there are."""
    waiting = collections.deque()
    for batch in wanted:
        waiting.append(pool.apply_async(arrays, (batch,)))
        if len(waiting) > ahead:
            yield waiting.popleft().get()
    while waiting:
        yield waiting.popleft().get()


def on_device(array, gpu):
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().cuda(non_blocking=True) if gpu else tensor


def config_of(args, vocabulary):
    return {"model_type": "heddle", "d_model": args.width, "vocab_size": vocabulary,
            "decoder_vocab_size": vocabulary, "encoder_layers": args.layers, "decoder_layers": args.layers,
            "encoder_attention_heads": args.heads, "decoder_attention_heads": args.heads,
            "encoder_ffn_dim": args.inner, "decoder_ffn_dim": args.inner, "activation_function": "relu",
            "scale_embedding": True, "share_encoder_decoder_embeddings": True, "tie_word_embeddings": True,
            "output_bias": False, "eos_token_id": EOS, "pad_token_id": PAD, "decoder_start_token_id": PAD,
            "unk_token_id": 1, "normalize_before": False, "static_position_embeddings": True}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="TSV, plain, .gz, .xz or .zst")
    parser.add_argument("--columns", default="1,2")
    parser.add_argument("--vocab", required=True)
    parser.add_argument("--output", required=True)
    for name, value in dict(width=512, heads=8, inner=2048, layers=6, max_steps=1000, max_tokens=25000,
                            warmup_steps=4000, longest=255, window=100000, seed=1, log=50, skip=50,
                            max_target_tokens=0, processes=12).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    for name, value in dict(dropout=0.1, smoothing=0.1, learning_rate=5e-4, clip=1.0).items():
        parser.add_argument("--" + name.replace("_", "-"), type=float, default=value)
    parser.add_argument("--cudnn", action="store_true", help="let attention be cuDNN's")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--profile", action="store_true", help="print where the time of 5 warm steps goes")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.backends.cuda.enable_cudnn_sdp(args.cudnn)  # it makes a plan for each new shape, which takes milliseconds
    torch.set_float32_matmul_precision("high")
    processor, pairs = read_pairs(args)
    PAIRS.extend(pairs)
    pool = multiprocessing.get_context("fork").Pool(args.processes)  # before CUDA is touched
    made = made_ahead(pool, every_batch(pairs, args))
    vocabulary = -(-processor.get_piece_size() // 64) * 64
    gpu = args.device == "cuda"
    model = Model(vocabulary, args).to(args.device)
    if not args.eager:
        for layer in [*model.encoder.layers, *model.decoder.layers]:
            layer.compile(dynamic=True)
        model.loss = torch.compile(model.loss, dynamic=True)
    print(json.dumps({"pairs": len(pairs), "vocabulary": vocabulary}), flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1, betas=(0.9, 0.98), eps=1e-9, weight_decay=0, fused=True)
    out = pathlib.Path(args.output)
    out.mkdir(parents=True, exist_ok=True)
    log = open(out / "log.jsonl", "w")

    step = total = 0
    loss_sum = torch.zeros((), device=args.device)
    interval = 0
    seconds = counted = real = places = 0
    start = None
    for *batch, s, t in made:
        if args.max_target_tokens and total >= args.max_target_tokens:
            break
        step += 1
        if args.profile and step == args.skip + 20:
            profiler = torch.profiler.profile()
            profiler.start()
        if args.profile and step == args.skip + 25:
            profiler.stop()
            print(profiler.key_averages().table(sort_by="cuda_time_total" if gpu else "cpu_time_total", row_limit=25,
                                                max_name_column_width=60), flush=True)
        if step == args.skip + 1:  # compiled and warm
            if gpu:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            start, counted, real, places = time.time(), 0, 0, 0
        source, target, labels = (on_device(each, gpu) for each in batch)
        with torch.autocast(args.device, torch.bfloat16):
            loss = model(source, target, labels, args.smoothing)
        (loss / t).backward()
        nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        rate = args.learning_rate * min(step / args.warmup_steps, math.sqrt(args.warmup_steps / step))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss_sum += loss.detach()
        interval += t
        counted += t
        total += t
        real += s + t
        places += source.numel() + target.numel()
        if step % args.log == 0:
            record = {"step": step, "loss": (loss_sum / interval).item(), "num_tokens": total}
            if start is not None:
                seconds = time.time() - start
                record["tokens_per_second"] = counted / seconds
            log.write(json.dumps(record) + "\n")
            if step % (10 * args.log) == 0:
                print(json.dumps(record), flush=True)
            loss_sum.zero_()
            interval = 0
    if gpu:
        torch.cuda.synchronize()
    seconds = time.time() - start if start is not None else 1
    result = {"steps": step, "target_tokens_per_second": counted / seconds, "real_tokens": real / max(places, 1),
              "peak_memory_gb": torch.cuda.max_memory_reserved() / 1e9 if gpu else 0, "torch": torch.__version__}
    print(json.dumps(result))
    log.write(json.dumps(result) + "\n")
    state = {"model." + name: value.detach().float().cpu() for name, value in model.state_dict().items()}
    pieces = processor.get_piece_size()
    state["model.shared.weight"] = state["model.shared.weight"][:pieces]
    save_file({name: value.contiguous() for name, value in state.items()}, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(config_of(args, pieces), indent=2))
    for name in ("source.spm", "target.spm"):
        shutil.copy(args.vocab, out / name)


if __name__ == "__main__":
    main()
