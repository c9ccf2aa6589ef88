#!/usr/bin/env python3
"""Translates standard input with PyPI `pymarian` 1.12.42 and prints JSON.

--model is a folder with vocab.*.spm (lex.*.bin for --shortlist) or source.spm, --npz its weights as floats (`heddle convert` to
Marian's .npz)."""
import argparse
import glob
import sys

from pymarian import Translator

import peer_timing


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
    vocab, *_ = glob.glob(options.model + "/vocab.*.spm") + glob.glob(options.model + "/source.spm")
    arguments = [f"-m {options.npz} -v {vocab} {vocab} --beam-size {options.beam} --normalize 1.0",
                 "--mini-batch 64 --maxi-batch 1000 --maxi-batch-sort src --max-length 512",
                 f"--max-length-crop -w 512 --cpu-threads {options.threads}",
                 "--quiet --quiet-translation"]
    if options.beam == 1:
        arguments.append("--skip-cost")
    if not options.f32:
        arguments.append("--optimize -g packed8")
    if options.shortlist:
        arguments.append(f"--shortlist {glob.glob(options.model + '/lex.*.bin')[0]} false")
    translator = Translator(" ".join(arguments))

    def translate(texts):
        result = translator.translate(texts)
        return result.split("\n") if isinstance(result, str) else list(result)

    peer_timing.report(translate, lines, options.one_by_one)


if __name__ == "__main__":
    main()
