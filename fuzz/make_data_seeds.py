#!/usr/bin/env python3
"""Writes the hand-made seeds of fuzz/corpus/corpus_pairs/ and fuzz/corpus/token_cache/."""
import gzip
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
TSV = b"one\teins\t1\ntwo three\tzwei drei\t0.5\n\t\t1\n" + b"x" * 70 + b"\ty\t2\n"
JSONL = (b'{"translation": {"en": "one"}, "target": "eins", "weight": 2}\n'
         b'{"target": "\\u00e4", "translation": {"en": ""}, "weight": 0}\n{"target": 1}\n')
ZSTD = bytes.fromhex("28b52ffd0409") + b"\x00\x00"  # cut short


def cache(tokens, offsets, weights=()):
    out = b"HEDDLTOK" + struct.pack("<Q", 7)
    out += struct.pack(f"<{len(tokens)}i", *tokens) + b"\0" * (-4 * len(tokens) % 8)
    out += struct.pack(f"<{len(offsets)}Q", *offsets)
    out += struct.pack(f"<{len(weights)}f", *weights) + b"\0" * (-4 * len(weights) % 8)
    out += struct.pack("<13Q", *range(13))
    return out + struct.pack("<4Q", len(offsets) // 2, len(tokens), bool(weights), 0) + b"HEDDLEND"


def seeds():
    yield "corpus_pairs/tsv", b"\0" + TSV
    yield "corpus_pairs/jsonl", b"\1" + JSONL
    yield "corpus_pairs/two_files", b"\2one\ntwo\neins\nzwo"
    yield "corpus_pairs/gzip", b"\0" + gzip.compress(TSV, mtime=0)
    yield "corpus_pairs/gzip_twice", b"\1" + gzip.compress(JSONL, mtime=0) * 2
    yield "corpus_pairs/gzip_cut", b"\0" + gzip.compress(TSV, mtime=0)[:-9]
    yield "corpus_pairs/gzip_bomb", b"\0" + gzip.compress(b"a\tb\t1\n" * 100_000, mtime=0)
    yield "corpus_pairs/zstd_cut", b"\0" + ZSTD
    yield "corpus_pairs/xz", b"\0\xfd7zXZ\0"
    yield "corpus_pairs/mark", b"\0\xef\xbb\xbfone\teins\t1\r\n"
    yield "token_cache/two_pairs", cache([3, 4, 5, 6, 7], [0, 2, 3, 4, 5])
    yield "token_cache/weighted", cache([3, 4], [0, 1, 2], [0.5])
    yield "token_cache/none", cache([], [0])
    yield "token_cache/offsets_fall", cache([3, 4, 5], [0, 3, 1])
    yield "token_cache/offsets_beyond", cache([3, 4, 5], [0, 3, 1 << 40])
    yield "token_cache/short", b"HEDDLTOK"


for name, content in seeds():
    path = CORPUS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
