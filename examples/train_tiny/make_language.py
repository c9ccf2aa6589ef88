#!/usr/bin/env python3
"""A toy language: every word has its translation, and sentences are said backwards.

  make_language.py FOLDER    writes train.tsv, dev.tsv and test.tsv: sentence, tab, translation
"""
import pathlib
import random
import sys

WORDS = 40
LONGEST = 8
COUNTS = {"train": 100000, "dev": 200, "test": 500}


def syllables(consonants, vowels):
    return [c + v for c in consonants for v in vowels]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    numbers = random.Random(1)
    source = numbers.sample([a + b for a in syllables("bdgk", "aeiou") for b in syllables("lmnr", "aeo")], WORDS)
    target = numbers.sample([a + b for a in syllables("ptsz", "aeiou") for b in ("x", "sh", "rk", "nd")], WORDS)
    dictionary = dict(zip(source, target))
    seen = set()
    for name, count in COUNTS.items():
        with open(folder / f"{name}.tsv", "w", encoding="utf-8") as file:
            while count > 0:
                sentence = tuple(numbers.choice(source) for _ in range(numbers.randint(2, LONGEST)))
                if sentence in seen:
                    continue  # no sentence of dev or test is in train
                seen.add(sentence)
                translation = [dictionary[word] for word in reversed(sentence)]
                file.write(" ".join(sentence) + "\t" + " ".join(translation) + "\n")
                count -= 1


main()
