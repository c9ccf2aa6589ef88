#!/usr/bin/env python3
"""Translates standard input with PyPI `pymarian` 1.12.42 and prints JSON.

--model is a folder with vocab.*.spm and lex.*.bin, --npz its weights as floats (`heddle convert` to
Marian's .npz)."""
import argparse
import glob
import json
import resource
import sys
import time

from pymarian import Translator


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--npz", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--shortlist", action="store_true")
    parser.add_argument("--f32", action="store_true", help="floats instead of packed8")
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    lines = sys.stdin.read().split("\n")[:-1]
    vocab, lex = (glob.glob(options.model + pattern)[0]
                  for pattern in ("/vocab.*.spm", "/lex.*.bin"))
    arguments = [f"-m {options.npz} -v {vocab} {vocab} --beam-size {options.beam} --normalize 1.0",
                 "--mini-batch 64 --maxi-batch 1000 --maxi-batch-sort src --max-length 512",
                 f"--max-length-crop -w 512 --cpu-threads {options.threads}",
                 "--quiet --quiet-translation"]
    if options.beam == 1:
        arguments.append("--skip-cost")
    if not options.f32:
        arguments.append("--optimize -g packed8")
    if options.shortlist:
        arguments.append(f"--shortlist {lex} false")
    translator = Translator(" ".join(arguments))

    def translate(texts):
        result = translator.translate(texts)
        return result.split("\n") if isinstance(result, str) else list(result)

    translate(lines[:8])
    wall, cpu = time.time(), time.process_time()
    output = [translate([line])[0] for line in lines] if options.one_by_one else translate(lines)
    wall, cpu = time.time() - wall, time.process_time() - cpu
    print(json.dumps({"seconds": wall, "cpu": cpu, "lines": len(lines), "output": output,
                      "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
