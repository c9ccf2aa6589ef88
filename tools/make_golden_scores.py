#!/usr/bin/env python3
"""Writes tests/golden/scores.tsv: what sacreBLEU says of texts that are hard to count.

    pip install sacrebleu==2.6.0 && python3 tools/make_golden_scores.py

Lines: T <name> <references> <hypothesis> <reference 1> …            the texts, in sets
       C <name> <metric> <options> <digits> <score line>             of a whole set
       S <name> <metric> <options> <line> <score>                    of one line of it
Tabs separate; backslashes and tabs in texts are escaped.
"""
import pathlib
import random

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "scores.tsv"

PLAIN = [
    ("The cat sat on the mat.", "The cat is on the mat."),
    ("It costs 1,000.50 dollars, or so.", "It costs 1,000.50 dollars or so."),
    ("\"Hello,\" she said - quietly.", "\"Hello\", she said, quietly."),
    ("A &amp; B &lt;tag&gt; &quot;x&quot;", "A & B <tag> \"x\""),
    ("In 2019-2020, 3.5% of 10-year-olds...", "In 2019 - 2020, 3.5 % of 10 year olds ..."),
    ("one two three four five six seven", "seven six five four three two one"),
    ("e-mail: a.b@c.org, http://x.y/z?q=1&r=2", "email: a.b@c.org http://x.y/z?q=1&r=2"),
    ("'s and don't; (it's) [so] {what} ~!@#$%^&*_+|\\/", "'s and do n't ; ( it 's ) so what"),
]
UNICODE = [
    ("Größe: 5 €, «naïve» – “quoted”…", "Größe: 5€, »naïve« — \"quoted\" ..."),
    ("日本語のテキスト。これは、テストです！", "日本語の文章。これはテストです!"),
    ("中文文本,123.45元。OK?", "中文 文本，123.45 元。OK？"),
    ("Привет, МИР! Ёлка", "привет мир! ёлка"),
    ("İstanbul ΣΑΣ ß ẞ ǅ", "istanbul σας ss ß ǆ"),
    ("😀👩‍👩‍👧 ok\u00a0nbsp\u2003em\u3000wide", "😀 👩‍👩‍👧 ok nbsp em wide"),
    ("١٢٣٫٤ ½ ² Ⅷ ३", "١٢٣٫٤ 1/2 2 VIII 3"),
    ("é e\u0301 ﬁ ﷺ", "e\u0301 é fi ﷺ"),
    ("≠ ± × ÷ √ ∞ © ® ™ ° § ¶", "!= +- x / V 8 (c) (r) tm deg S P"),
]
EMPTY = [
    ("", ""),
    ("", "not empty"),
    ("not empty", ""),
    ("   ", " x "),
    (".", "."),
    ("a", "a"),
    ("a b", "a b"),
    ("a b c", "a b d"),
    ("  leading and trailing  ", "leading and trailing"),
    ("x\u001cy z\u0085w", "x y z w"),
    ("----", "-- --"),
    ("<skipped> 1. 2, 3-4 -5 6.", "1 . 2 , 3 - 4 - 5 6 ."),
]


def shuffled(seed, length, vocabulary, lines):
    generator = random.Random(seed)
    words = [f"w{i}" for i in range(vocabulary)]
    for _ in range(lines):
        reference = [generator.choice(words) for _ in range(generator.randint(1, length))]
        hypothesis = list(reference)
        for _ in range(generator.randint(0, 4)):  # move blocks, which is what TER looks for
            a = generator.randrange(len(hypothesis) + 1)
            b = min(len(hypothesis), a + generator.randint(1, 8))
            block, rest = hypothesis[a:b], hypothesis[:a] + hypothesis[b:]
            at = generator.randrange(len(rest) + 1)
            hypothesis = rest[:at] + block + rest[at:]
        hypothesis = [w if generator.random() > 0.1 else generator.choice(words)
                      for w in hypothesis if generator.random() > 0.05]
        yield " ".join(hypothesis), " ".join(reference)


def far(seed):
    """Lengths that differ so much that the band of TER's edit distance is left."""
    generator = random.Random(seed)
    for hypothesis, reference in ((1, 200), (200, 1), (3, 90), (120, 40), (60, 61)):
        yield (" ".join(generator.choice("abcdef") for _ in range(hypothesis)),
               " ".join(generator.choice("abcdef") for _ in range(reference)))


def sets():
    yield "plain", [list(pair) for pair in PLAIN]
    yield "unicode", [list(pair) for pair in UNICODE]
    yield "empty", [list(pair) for pair in EMPTY]
    yield "moved", [list(pair) for pair in shuffled(1, 30, 40, 20)]
    yield "repeated", [list(pair) for pair in shuffled(2, 40, 4, 6)]
    yield "far", [list(pair) for pair in far(3)]
    three = list(shuffled(4, 15, 12, 10))
    yield "three", [[three[i][0], three[i][1], three[(i + 1) % 10][1], PLAIN[i % 8][1]]
                    for i in range(10)]
    yield "nothing", [["a b", "c d"], ["e", "f"]]
    yield "blank", [["", ""], ["", ""]]


def metrics(single):
    for tokenize in ("13a", "intl", "char", "zh", "none"):
        yield "bleu", tokenize, BLEU(tokenize=tokenize, effective_order=single)
    yield "bleu", "13a,lowercase", BLEU(lowercase=True, effective_order=single)
    yield "chrf", "-", CHRF()
    yield "chrf", "lowercase", CHRF(lowercase=True)
    yield "chrf++", "-", CHRF(word_order=2)
    yield "ter", "-", TER()


def escaped(text):
    return text.replace("\\", "\\\\").replace("\t", "\\t")


def rows():
    for name, lines in sets():
        count = len(lines[0]) - 1
        for line in lines:
            yield ["T", name, str(count)] + [escaped(text) for text in line]
        hypotheses = [line[0] for line in lines]
        references = [[line[1 + r] for line in lines] for r in range(count)]
        for metric, options, counter in metrics(single=False):
            score = counter.corpus_score(hypotheses, references)
            text = score.format(width=8, signature=str(counter.get_signature()))
            yield ["C", name, metric, options, "8", text]
        for metric, options, counter in metrics(single=True):
            for i, hypothesis in enumerate(hypotheses):
                score = counter.sentence_score(hypothesis, [set_[i] for set_ in references])
                yield ["S", name, metric, options, str(i), f"{score.score:.8f}"]


def main():
    OUT.parent.mkdir(parents=True, exist_ok=True)
    text = "".join("\t".join(row) + "\n" for row in rows())
    OUT.write_text(f"# sacreBLEU {sacrebleu.__version__}\n{text}", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
