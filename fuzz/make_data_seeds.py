#!/usr/bin/env python3
"""Writes the hand-made seeds of fuzz/corpus/conversations/, corpus_pairs/, preferences/
and token_cache/."""
import gzip
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
TSV = b"one\teins\t1\ntwo three\tzwei drei\t0.5\n\t\t1\n" + b"x" * 70 + b"\ty\t2\n"
JSONL = (b'{"translation": {"en": "one"}, "target": "eins", "weight": 2}\n'
         b'{"target": "\\u00e4", "translation": {"en": ""}, "weight": 0}\n{"target": 1}\n')
ZSTD = bytes.fromhex("28b52ffd0409") + b"\x00\x00"  # cut short


CHATS = {
    "messages": b'{"messages": [{"role": "system", "content": "c"}, {"role": "user", "content": "ab"},'
                b' {"role": "assistant", "content": "abc\\u0000 a"}]}\n',
    "sharegpt": b'{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}\n',
    "alpaca": b'{"instruction": "a", "input": "b", "output": "c", "history": [["a", "b"]]}\n',
    "prompt_completion": b'{"prompt": "ab", "completion": "abc"}\n\n'
                         b'{"prompt": [{"role": "user", "content": "a"}],'
                         b' "completion": [{"role": "assistant", "content": "b"}]}\n',
    "text": b'{"text": "abc abc \xff"}\n',
}
BAD_CHATS = (b'{"messages": [{"role": "tool", "content": "a"}]}\n{"messages": 3}\n{bad\n\n'
             b'{"messages": [{"role": "user", "content": [{"type": "image"}]}]}\n')
RANKED = {
    "pairs": b'{"prompt": "ab", "chosen": ["abc", "a"], "rejected": "b", "margin": 0.5}\n' * 3,
    "ranks": b'{"prompt": "a", "answers": ["ab", "b", "", "b"], "ranks": [1, 2, 3, 2]}\n\n',
    "messages": b'{"prompt": [{"role": "user", "content": "a"}], "chosen": [{"role": "assistant",'
                b' "content": "b"}], "rejected": [{"role": "assistant", "content": "c\\u0000"}]}\n',
    "implicit": b'{"chosen": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],'
                b' "rejected": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "\xff"}]}\n',
    "contradiction": b'{"prompt": "a", "chosen": "b", "rejected": "b"}\n{"prompt": "", "chosen": 3}\n',
    "long": b'{"prompt": "ab", "chosen": "' + b"abc " * 90 + b'", "rejected": "a"}\n',
}


def cache(tokens, offsets, weights=()):
    out = b"HEDDLTOK" + struct.pack("<Q", 7)
    out += struct.pack(f"<{len(tokens)}i", *tokens) + b"\0" * (-4 * len(tokens) % 8)
    out += struct.pack(f"<{len(offsets)}Q", *offsets)
    out += struct.pack(f"<{len(weights)}f", *weights) + b"\0" * (-4 * len(weights) % 8)
    out += struct.pack("<13Q", *range(13))
    return out + struct.pack("<4Q", len(offsets) // 2, len(tokens), bool(weights), 0) + b"HEDDLEND"


def seeds():
    for i, (name, line) in enumerate(CHATS.items(), 1):
        yield f"conversations/{name}", bytes([i]) + line
        yield f"conversations/{name}_found", bytes([0]) + line * 3
    yield "conversations/bad", bytes([127]) + CHATS["messages"] + BAD_CHATS
    yield "conversations/bad_skipped", bytes([132]) + CHATS["messages"] + BAD_CHATS + CHATS["messages"]
    yield "conversations/long_skipped", bytes([132]) + b"x" * 5000 + b"\n" + CHATS["text"]
    for name, line in RANKED.items():
        yield f"preferences/{name}", bytes([0]) + line
        yield f"preferences/{name}_skipped", bytes([129]) + line + BAD_CHATS + line
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
