#!/usr/bin/env python3
"""Which of two translations did people prefer? A data set of English sentences with better and worse
German ones ({"prompt", "chosen": […], "rejected": […]} a line), split, and what a linear model makes of it.

  translation_preferences.py split FILE DIR    writes DIR/train.jsonl and DIR/held_out.jsonl (the last
                                               1,000 prompts), and says how to train a reward model
  translation_preferences.py linear DIR        a linear model of character n-grams and lengths

Accuracy is the share of pairs of a prompt that are in the right order, averaged over the prompts, as
`heddle score` has it. FILE may be .zst (needs the command zstd); linear needs numpy and torch.
"""
import argparse
import itertools
import json
import pathlib
import random
import subprocess
import time

COMMANDS = """
heddle finetune --stage rm --model_name_or_path MODEL --dataset {dir}/train.jsonl --val_size 200 \\
  --cutoff_len 256 --packing_length 2048 --lora_rank 16 --learning_rate 2e-4 --num_train_epochs 1 \\
  --center_rewards_coefficient 0.01 --lr_scheduler_type cosine --warmup_ratio 0.03 --output_dir {dir}/reward
heddle score --model {dir}/reward --input {dir}/held_out.jsonl --output {dir}/scores.jsonl
heddle finetune --stage dpo --model_name_or_path MODEL --dataset {dir}/train.jsonl --val_size 200 \\
  --cutoff_len 256 --packing_length 2048 --precompute_ref_log_probs true --output_dir {dir}/dpo
"""


def read(path):
    if path.suffix == ".zst":
        text = subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    else:
        text = path.read_bytes()
    return [json.loads(line) for line in text.decode().splitlines() if line.strip()]


def split(options):
    lines = read(options.file)
    if options.shuffle is not None:
        random.Random(options.shuffle).shuffle(lines)
    options.dir.mkdir(parents=True, exist_ok=True)
    first = len(lines) - options.held_out
    for name, part in (("train", lines[:first]), ("held_out", lines[first:])):
        with open(options.dir / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for line in part:
                line["prompt"] = f"English: {line['prompt']}\nGerman:"
                for side in ("chosen", "rejected"):
                    line[side] = [" " + text for text in line[side]]
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        pairs = sum(len(line["chosen"]) * len(line["rejected"]) for line in part)
        print(f"{options.dir / name}.jsonl: {len(part)} prompts, {pairs} pairs")
    print("MODEL is a Gemma 3 270M or another language model:" + COMMANDS.format(dir=options.dir))


def features(prompt, answer, size):
    """Numbers of hashed n-grams of one answer, and their values."""
    import math
    import zlib
    found = {}
    text = f"^{answer.strip()}$"
    for n in range(1, 6):
        for i in range(len(text) - n + 1):
            key = 16 + zlib.crc32(f"{n}:{text[i:i + n]}".encode()) % (size - 16)
            found[key] = found.get(key, 0) + 1
    found = {key: 1 + math.log(count) for key, count in found.items()}
    ratio = math.log((1 + len(answer)) / (1 + len(prompt)))
    words = math.log((1 + len(answer.split())) / (1 + len(prompt.split())))
    for key, value in enumerate((ratio, ratio * ratio, abs(ratio), words, words * words,
                                 math.log(1 + len(answer)))):
        found[key] = 10 * value
    return found


def pairs_of(lines, size):
    """Sparse rows: features of the better less those of the worse; weights, and prompts."""
    import torch
    rows, columns, values, prompts = [], [], [], []
    for number, line in enumerate(lines):
        chosen, rejected = ([features(line["prompt"], text, size) for text in line[side]]
                            for side in ("chosen", "rejected"))
        for better, worse in itertools.product(chosen, rejected):
            for key in better.keys() | worse.keys():
                value = better.get(key, 0) - worse.get(key, 0)
                if value:
                    rows.append(len(prompts))
                    columns.append(key)
                    values.append(value)
            prompts.append(number)
    matrix = torch.sparse_coo_tensor([rows, columns], torch.tensor(values, dtype=torch.float32),
                                     (len(prompts), size)).coalesce()
    return matrix, torch.tensor(prompts)


def linear(options):
    import torch
    start = time.time()
    size = 1 << options.bits
    train, held_out = (pairs_of(read(options.dir / f"{name}.jsonl"), size)
                       for name in ("train", "held_out"))
    matrix, prompts = train
    share = (1 / torch.bincount(prompts).float())[prompts] / (prompts.max() + 1)
    weights = torch.zeros(size, 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=options.steps, history_size=10,
                                  line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        gaps = torch.sparse.mm(matrix, weights)[:, 0]
        value = (share * torch.nn.functional.softplus(-gaps)).sum()
        value = value + options.decay * (weights ** 2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    for name, (rows, of) in (("train", train), ("held out", held_out)):
        right = (torch.sparse.mm(rows, weights.detach())[:, 0] > 0).float()
        count = torch.bincount(of).clamp(min=1)
        each = torch.zeros(len(count)).index_add(0, of, right) / count
        error = each.std() / len(each) ** 0.5
        print(f"{name}: accuracy {100 * each.mean():.1f} % ± {100 * error:.1f}, "
              f"{len(each)} prompts, {len(right)} pairs")
    print(f"{time.time() - start:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("split")
    one.add_argument("file", type=pathlib.Path)
    one.add_argument("dir", type=pathlib.Path)
    one.add_argument("--held_out", type=int, default=1000)
    one.add_argument("--shuffle", type=int, metavar="SEED",
                     help="hold out prompts at random: easier, as the last ones are of other texts")
    one.set_defaults(run=split)
    two = commands.add_parser("linear")
    two.add_argument("dir", type=pathlib.Path)
    two.add_argument("--bits", type=int, default=18)
    two.add_argument("--steps", type=int, default=50)
    two.add_argument("--decay", type=float, default=3e-4)
    two.set_defaults(run=linear)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
