#!/usr/bin/env python3
"""Translates standard input with PyPI `ctranslate2` in int8 and prints JSON.

--model is a folder by `heddle convert --format ctranslate2`, with source.spm in it. CTranslate2 sorts
the lines by length and takes the batch size, in lines, that it is given."""
import argparse
import sys

import peer_timing

sys.path.pop(0)  # this folder has a ctranslate2.py of its own
import ctranslate2
import sentencepiece


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    lines = sys.stdin.read().split("\n")[:-1]
    translator = ctranslate2.Translator(options.model, device="cpu", compute_type="int8",
                                        inter_threads=options.threads, intra_threads=1)
    pieces = sentencepiece.SentencePieceProcessor(model_file=options.model + "/source.spm")

    def translate(texts):
        sources = pieces.encode(texts, out_type=str, num_threads=options.threads)
        results = translator.translate_batch(sources, beam_size=options.beam,
                                             max_batch_size=options.batch, max_decoding_length=512)
        return pieces.decode([result.hypotheses[0] for result in results])

    peer_timing.report(translate, lines, options.one_by_one)


if __name__ == "__main__":
    main()
