#!/usr/bin/env python3
"""Translates standard input with PyPI `bergamot` 0.4.5 (Python 3.10 or older) and prints JSON.

--model is a folder with model.*.bin, vocab.*.spm and lex.*.bin of a Firefox student. Its settings are
the best found for it: batches of 512 words, the model's shortlist, alphas for activations."""
import argparse
import glob
import importlib.util
import os
import sys
import sysconfig
import tempfile

import peer_timing

CONFIG = """relative-paths: false
models: [{model}]
vocabs: [{vocab}, {vocab}]
shortlist: [{lex}, false]
beam-size: 1
normalize: 1.0
word-penalty: 0
max-length-break: 128
mini-batch-words: {words}
workspace: 128
max-length-factor: 2.0
skip-cost: true
cpu-threads: 0
quiet: true
quiet-translation: true
gemm-precision: int8shiftAlphaAll
alignment: soft
"""


def load():
    # `import bergamot` reaches for the network: its extension module alone does not.
    path, = glob.glob(sysconfig.get_paths()["platlib"] + "/bergamot/_bergamot*.so")
    spec = importlib.util.spec_from_file_location("_bergamot", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--words", type=int, default=512)
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    lines = sys.stdin.read().split("\n")[:-1]
    bergamot = load()
    model, vocab, lex = (glob.glob(options.model + pattern)[0]
                         for pattern in ("/model.*.bin", "/vocab.*.spm", "/lex.*.bin"))
    with tempfile.NamedTemporaryFile("w", suffix=".yml", delete=False) as file:
        file.write(CONFIG.format(model=model, vocab=vocab, lex=lex, words=options.words))
    service = bergamot.Service(bergamot.ServiceConfig(numWorkers=options.threads,
                                                      logLevel="critical"))
    loaded = service.modelFromConfigPath(file.name)
    os.unlink(file.name)
    response = bergamot.ResponseOptions(alignment=False, qualityScores=False, HTML=False)

    def translate(texts):
        results = service.translate(loaded, bergamot.VectorString(texts), response)
        return [result.target.text.strip() for result in results]

    peer_timing.report(translate, lines, options.one_by_one)


if __name__ == "__main__":
    main()
