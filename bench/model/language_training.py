#!/usr/bin/env python3
"""Fine-tunes a language model with random weights: heddle, and beside it transformers with peft and
FlexAttention, on the same documents packed into rows of the same length.

  bench/model/language_training.py --heddle build/release/bin/heddle --models llama-1b,llama-8b \\
      --rows 8192,32768 --steps 12 --json out.json

Nothing is downloaded: models are made here in the folder --work, bf16, in the shapes of Llama 3.2 1B,
Llama 3 8B, Gemma 3 1B. Documents have random lengths (log-normal, median --median) and random letters,
one token each. Rows are 1 a step, all tokens are learned, every layer is recomputed unless --keep.
Each side is a process of its own. Told are the median over warm steps of learned tokens a second, and
the peak memory of the GPU as nvidia-smi sees it (PyTorch's own count of reserved memory beside it).
"""
import argparse
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import threading
import time

SHAPES = {
    "tiny": dict(model_type="llama", hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
                 num_key_value_heads=1, head_dim=32, vocab_size=512, tie_word_embeddings=True),
    "llama-1b": dict(model_type="llama", hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
                     num_attention_heads=32, num_key_value_heads=8, head_dim=64, vocab_size=128256,
                     tie_word_embeddings=True),
    "llama-8b": dict(model_type="llama", hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                     num_attention_heads=32, num_key_value_heads=8, head_dim=128, vocab_size=128256,
                     tie_word_embeddings=False),
    "gemma3-1b": dict(model_type="gemma3_text", hidden_size=1152, intermediate_size=6912, num_hidden_layers=26,
                      num_attention_heads=4, num_key_value_heads=1, head_dim=256, vocab_size=262144, sliding_window=512,
                      tie_word_embeddings=True),
}
COMMON = dict(rms_norm_eps=1e-5, max_position_embeddings=131072, rope_theta=500000.0, bos_token_id=0, eos_token_id=1,
              pad_token_id=None, dtype="bfloat16")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tokenizer_json():
    """Every byte is a token, behind the two of control."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    others = [b for b in range(256) if b not in plain]
    names = {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}
    vocabulary = {"<s>": 0, "</s>": 1, **{names[b]: 2 + b for b in range(256)}}
    added = [dict(id=i, content=c, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i, c in enumerate(("<s>", "</s>"))]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                 fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=vocabulary, merges=[])
    return dict(version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None, pre_tokenizer=level,
                post_processor=None, decoder=level, model=model)


def make_model(folder, shape, device):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    config = AutoConfig.for_model(**{**COMMON, **SHAPES[shape]})
    torch.manual_seed(1)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="100GB")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(bos_token="<s>", eos_token="</s>")))


def documents(args, row, seed=1):
    """Lengths, enough for all steps and some more."""
    rng = random.Random(seed)
    lengths = []
    while sum(lengths) < (args.steps + 4) * row * 1.1:
        lengths.append(max(16, min(row, round(rng.lognormvariate(math.log(args.median), 0.8)))))
    return lengths


def write_documents(path, lengths):
    rng = random.Random(2)
    with open(path, "w") as file:
        for length in lengths:  # words of a token or more, so that no word is too long to split
            text = "".join(rng.choices(LETTERS + "  ", k=length - 2))
            file.write(json.dumps({"text": text}) + "\n")


class Memory:
    """The most memory of the GPU that was in use while it lived, in GiB; 0 without nvidia-smi."""

    def __init__(self):
        self.most, self.done = 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.done.is_set():
            try:
                out = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"],
                                     capture_output=True, text=True, check=True).stdout
                self.most = max(self.most, float(out.split()[0]) / 1024)
            except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
                return
            self.done.wait(0.3)

    def stop(self):
        self.done.set()
        self.thread.join()
        return round(self.most, 2)


def run_heddle(args, folder, data, row):
    output = args.work / f"run-{os.getpid()}-{row}-{time.time_ns()}"
    command = [args.heddle, "finetune", "--model_name_or_path", folder, "--dataset", data, "--output_dir", output,
               "--dataset_format", "text", "--train_on", "all", "--cutoff_len", row, "--packing_length", row,
               "--finetuning_type", "full" if args.full else "lora", "--lora_rank", args.rank,
               "--gradient_checkpointing", "false" if args.keep else "true", "--optim_bits", args.optim_bits,
               "--max_steps", args.steps, "--logging_steps", 1, "--eval_steps", 0, "--save_steps", 1 << 30,
               "--learning_rate", 1e-4, "--report_to", "none", "--device", args.device]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1][:300]}
    log = [json.loads(line) for line in open(output / "log.jsonl")]
    log = [record for record in log if "tokens_per_second" in record]
    warm = log[args.skip:]
    return {"tokens_per_second": statistics.median(r["tokens_per_second"] for r in warm),
            "mfu": statistics.median(r.get("mfu", 0) for r in warm), "first_loss": log[0]["loss"],
            "last_loss": log[-1]["loss"], "steps": len(log)}


def packed_rows(lengths, row):
    """Lists of lengths, next fit: heddle's best fit has less padding, which no figure here counts."""
    rows, now = [], []
    for length in lengths:
        if sum(now) + length > row:
            rows.append(now)
            now = []
        now.append(length)
    return rows


def run_pytorch(args, folder, lengths, row):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    gpu = args.device == "cuda"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation=args.attention)
    model.to(args.device)
    if not args.keep:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
    if not args.full:
        model.enable_input_require_grads()
        model = get_peft_model(model, LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules="all-linear",
                                                 task_type="CAUSAL_LM"))
    model.train()
    model.config.use_cache = False
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=gpu)
    rates, losses = [], []
    for pieces in packed_rows(lengths, row)[: args.steps]:
        count = sum(pieces)
        tokens = torch.randint(2 + 97, 2 + 123, (1, count), device=args.device)
        # Positions that begin anew tell transformers where documents end.
        positions = torch.cat([torch.arange(n) for n in pieces])[None].to(args.device)
        labels = tokens.clone()
        labels[positions == 0] = -100
        if gpu:
            torch.cuda.synchronize()
        start = time.time()
        with torch.autocast(args.device, torch.bfloat16):
            loss = model(input_ids=tokens, position_ids=positions, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())  # waits
        rates.append((count - len(pieces)) / (time.time() - start))
    result = {"tokens_per_second": statistics.median(rates[args.skip:]), "first_loss": losses[0], "last_loss": losses[-1],
              "steps": len(rates), "torch": torch.__version__}
    if gpu:
        result["reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    return result


def apart(side, args, shape, row):
    """A side in a process of its own, so that none finds memory that another kept."""
    passed = [sys.executable, __file__, "--side", side, "--models", shape, "--rows", str(row)]
    for name in ("work", "heddle", "steps", "skip", "median", "rank", "optim_bits", "attention", "device"):
        passed += ["--" + name.replace("_", "-"), str(getattr(args, name))]
    passed += [flag for flag, on in (("--full", args.full), ("--keep", args.keep)) if on]
    memory = Memory()
    done = subprocess.run(passed, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    result = json.loads(lines[-1]) if done.returncode == 0 and lines else {
        "error": (done.stderr.strip().splitlines() or ["nothing was said"])[-1][:300]}
    return {**result, "peak_gib": memory.stop()}


def one_side(args, shape, row):
    folder, lengths = args.work / shape, documents(args, row)
    if args.side == "make":
        if not (folder / "tokenizer_config.json").exists():
            make_model(folder, shape, args.device)
        return {}
    if args.side == "heddle":
        data = args.work / f"documents-{row}.jsonl"
        write_documents(data, lengths)
        return run_heddle(args, folder, data, row)
    return run_pytorch(args, folder, lengths, row)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heddle", default="build/release/bin/heddle")
    parser.add_argument("--models", default="llama-1b,llama-8b", help="of " + ", ".join(SHAPES))
    parser.add_argument("--rows", default="8192,32768", help="tokens of a packed row")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/tmp/language_training"))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--skip", type=int, default=4, help="steps until it is warm")
    parser.add_argument("--median", type=int, default=600, help="tokens of a document")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--optim-bits", type=int, default=32)
    parser.add_argument("--full", action="store_true", help="all weights, in place of LoRA")
    parser.add_argument("--keep", action="store_true", help="no layer is recomputed")
    parser.add_argument("--attention", default="flex_attention", help="transformers' attn_implementation")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sides", default="heddle,pytorch")
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    parser.add_argument("--json", help="write all results there")
    return parser.parse_args()


def main():
    args = parse()
    args.work.mkdir(parents=True, exist_ok=True)
    shapes, rows = args.models.split(","), [int(row) for row in args.rows.split(",")]
    if args.side:
        print(json.dumps(one_side(args, shapes[0], rows[0])))
        return
    results = []
    for shape in shapes:
        made = apart("make", args, shape, rows[0])
        if "error" in made:
            raise SystemExit(f"{shape}: {made['error']}")
        for row in rows:
            for side in args.sides.split(","):
                result = {"model": shape, "row": row, "side": side, **apart(side, args, shape, row)}
                results.append(result)
                print(json.dumps(result), flush=True)
                if args.json:
                    pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
