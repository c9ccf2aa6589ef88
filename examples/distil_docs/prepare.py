#!/usr/bin/env python3
"""Cleans a corpus of technical documentation: lines of domain, origin, source and target, by tabs.

  prepare.py CORPUS.tsv[.zst] OUTPUT.tsv [--without FILE ...]

Kept of each source: its human translations, or else the first machine translation in which every
identifier of the source stands unchanged. Left out: sources of the files after --without (TSV of the
same four columns, or jsonl with "prompt" as its first key), leftovers of templates, broken encodings.
"""
import argparse
import collections
import json
import re
import subprocess
import sys

LEFTOVER = re.compile(r"!INCLUDE|\[!|\]\(xref|</?xref")
BROKEN = re.compile(r"Ã[\x80-\xbf¤¶¼Ÿ„–œ]|â€|\ufffd")
# GetSection, my_value, x86, System.IO
IDENTIFIER = re.compile(r"\b(?:\w+[._]\w[\w.]*|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*|\w*\d\w*)\b")
LONGEST = 150  # words of either side


def lines_of(path):
    if not path.endswith(".zst"):
        with open(path, encoding="utf-8") as file:
            yield from file
        return
    with subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE, encoding="utf-8") as process:
        yield from process.stdout
        if process.wait() != 0:
            sys.exit(f"{path}: zstd failed")


def clean(text):
    return " ".join(text.replace("%2A", "").split())


def sources_of(path):
    for line in lines_of(path):
        yield clean(json.loads(line)["prompt"] if ".jsonl" in path else line.split("\t")[2])


def fault_of(source, target):
    """Why a pair is of no use, or None."""
    if not source or not target:
        return "empty"
    if LEFTOVER.search(source) or LEFTOVER.search(target):
        return "leftovers of templates"
    if BROKEN.search(source) or BROKEN.search(target):
        return "broken encoding"
    lengths = sorted((len(source), len(target)))
    words = max(source.count(" "), target.count(" ")) + 1
    if words > LONGEST or lengths[1] > 3 * lengths[0] + 12:
        return "length"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("output")
    parser.add_argument("--without", nargs="+", default=[])
    options = parser.parse_args()
    hidden = {hash(source) for path in options.without for source in sources_of(path)}
    human, counts = set(), collections.Counter()
    for line in lines_of(options.corpus):
        _, origin, source, _ = line.rstrip("\n").split("\t")
        if origin == "human":
            human.add(hash(clean(source)))
    seen_pairs, seen_machine = set(), set()
    with open(options.output, "w", encoding="utf-8") as output:
        for line in lines_of(options.corpus):
            counts["lines"] += 1
            _, origin, source, target = line.rstrip("\n").split("\t")
            source, target = clean(source), clean(target)
            fault = fault_of(source, target)
            key = hash(source)
            if fault is None and key in hidden:
                fault = "held out"
            if fault is None and origin != "human":
                if key in human or key in seen_machine:
                    fault = "another version is there"
                elif any(each not in target for each in IDENTIFIER.findall(source)):
                    fault = "changed identifiers"
            if fault is None and hash((source, target)) in seen_pairs:
                fault = "repeated"
            if fault is not None:
                counts[fault] += 1
                continue
            seen_pairs.add(hash((source, target)))
            if origin != "human":
                seen_machine.add(key)
            output.write(f"{source}\t{target}\n")
            counts["kept"] += 1
    print(", ".join(f"{count:,} {what}" for what, count in counts.items()))


main()
