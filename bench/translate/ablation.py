#!/usr/bin/env python3
"""What each idea of `heddle translate` is worth: everything on, and each one off, in turn.

  ablation.py --heddle build/release/bin/heddle --model MODEL --text pairs.tsv

Prints a Markdown table: words a second of wall and CPU time, and the time against everything on."""
import argparse

import runs

ROWS = 64
VARIANTS = {
    "everything on": [],
    "choice not fused with the projection": ["--unfused-choice"],
    "f32 weights instead of int8": ["--precision", "f32"],
    "static batches: no refill before all rows are done": ["--refill-rows", str(ROWS)],
    "one sentence at a time": ["--rows", "1", "--refill-rows", "1", "--encode-tokens", "1"],
    "text by one thread": ["--serial-text"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heddle", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--lines", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", default="0")
    options = parser.parse_args()
    sources, _ = runs.read_pairs(options.text, options.lines)
    words = sum(len(source.split()) for source in sources)
    cores = [int(core) for core in options.cores.split(",")]
    variants = {name: runs.Heddle(options.heddle, options.model, ["--rows", str(ROWS), *more])
                for name, more in VARIANTS.items()}
    variants["one sentence at a time"] = runs.Heddle(options.heddle, options.model,
                                                     VARIANTS["one sentence at a time"])
    records = runs.rounds(variants, sources, cores, options.rounds, len(cores))
    base = records["everything on"]
    print(f"{len(cores)} core(s), {len(sources)} lines, {words} source words\n")
    print("| | words/s | words/CPU-s | CPU time × | same lines |")
    print("|---|---|---|---|---|")
    for name, mine in records.items():
        _, slower, _ = runs.ratios(mine, base, "cpu")
        same = sum(a == b for a, b in zip(mine[0]["output"], base[0]["output"]))
        print(f"| {name} | {words / runs.median(mine, 'seconds'):.0f} "
              f"| {words / runs.median(mine, 'cpu'):.0f} | {slower:.2f} "
              f"| {100 * same / len(sources):.1f} % |")


if __name__ == "__main__":
    main()
