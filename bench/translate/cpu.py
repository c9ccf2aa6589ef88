#!/usr/bin/env python3
"""Heddle against its peers on the CPU: the same lines, end to end, in pairs.

  cpu.py --heddle build/release/bin/heddle --model MODEL --text pairs.tsv \\
         --bergamot-python venv310/bin/python --pymarian-python venv/bin/python --npz model.npz
  cpu.py --heddle … --model MODEL --text pairs.tsv --ctranslate2-python venv/bin/python --ctranslate2 FOLDER

FOLDER is the model by `heddle convert MODEL FOLDER --format ctranslate2`. With bergamot and pymarian, MODEL is a Firefox student's folder, pairs.tsv "source TAB reference". Prints a Markdown table: words
a second of wall and of CPU time, one sentence's time, BLEU and chrF by sacrebleu (of the first peer's
Python), peak memory, and the ratio of the CPU rates pair by pair."""
import argparse
import json
import statistics
import subprocess

import runs

SCORE = """import json, sys, sacrebleu
o = json.load(sys.stdin)
print(json.dumps([[sacrebleu.corpus_bleu(h, [o["references"]]).score,
                   sacrebleu.corpus_chrf(h, [o["references"]]).score] for h in o["outputs"]]))"""


def scores(python, outputs, references):
    result = subprocess.run([python, "-c", SCORE], check=True, stdout=subprocess.PIPE, text=True,
                            input=json.dumps({"outputs": outputs, "references": references}))
    return json.loads(result.stdout)


def translators(options):
    """{name: (translator, name of the peer that it is paired with)}"""
    found = {}
    heddle = lambda *more: runs.Heddle(options.heddle, options.model, more)
    if options.bergamot_python:
        found["heddle, shortlist"] = heddle("--shortlist"), "bergamot, shortlist"
        found["bergamot, shortlist"] = runs.Peer(options.bergamot_python, "peer_bergamot.py",
                                                 ["--model", options.model]), None
    found["heddle"] = heddle(), "pymarian packed8" if options.pymarian_python else None
    if options.pymarian_python:
        arguments = ["--model", options.model, "--npz", options.npz]
        found["pymarian packed8"] = runs.Peer(options.pymarian_python, "peer_pymarian.py",
                                              arguments), None
    if options.ctranslate2_python:
        found["heddle"] = heddle(), "CTranslate2, int8"
        found["CTranslate2, int8"] = runs.Peer(options.ctranslate2_python, "peer_ctranslate2.py",
                                               ["--model", options.ctranslate2]), None
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heddle", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--bergamot-python")
    parser.add_argument("--pymarian-python")
    parser.add_argument("--npz")
    parser.add_argument("--ctranslate2-python")
    parser.add_argument("--ctranslate2")
    parser.add_argument("--lines", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", default="0")
    parser.add_argument("--single", type=int, default=40, help="sentences translated one by one")
    options = parser.parse_args()
    sources, references = runs.read_pairs(options.text, options.lines)
    words = sum(len(source.split()) for source in sources)
    cores = [int(core) for core in options.cores.split(",")]
    found = translators(options)
    records = runs.rounds({name: entry[0] for name, entry in found.items()}, sources, cores,
                          options.rounds, len(cores))
    python = options.pymarian_python or options.bergamot_python or options.ctranslate2_python
    quality = scores(python, [records[name][0]["output"] for name in found],
                     references) if python else [[0, 0]] * len(found)
    single = {name: statistics.median(entry[0].one_by_one(sources[:options.single], cores[:1])
                                      for _ in range(options.rounds))
              for name, entry in found.items()}
    print("| translator | words/s | words/CPU-s | one sentence ms | BLEU | chrF | peak MB "
          "| CPU rate, pair by pair |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, (_, peer)), (bleu, chrf) in zip(found.items(), quality):
        mine = records[name]
        pair = ""
        if peer:
            low, middle, high = runs.ratios(records[peer], mine, "cpu")
            pair = f"{middle:.2f} × {peer} ({low:.2f} … {high:.2f})"
        print(f"| {name} | {words / runs.median(mine, 'seconds'):.0f} "
              f"| {words / runs.median(mine, 'cpu'):.0f} | {single[name] * 1e3:.1f} "
              f"| {bleu:.2f} | {chrf:.2f} "
              f"| {max(r['peak_memory'] for r in mine) / 2 ** 20:.0f} | {pair} |")


if __name__ == "__main__":
    main()
