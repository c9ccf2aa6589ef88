#!/usr/bin/env python3
"""Writes fuzz/corpus/tokenizer_json/: small files of each kind of make_golden_bpe.py, and broken ones.

    pip install tokenizers==0.23.3 && python3 tests/golden/make_bpe_seeds.py
"""
import json
import pathlib

from make_golden_bpe import TOKENIZERS, composed, split

OUT = pathlib.Path(__file__).resolve().parents[2] / "fuzz" / "corpus" / "tokenizer_json"
BYTES = ["a", "b", "s", "Ġ", "Ċ", "Ã", "¶", "'", "1", "2", "<", "I", "t"]
CHARACTERS = ["a", "b", "s", "▁", "\n", "ö", "'", "1", "2", "<", "I", "t", "<0xC3>", "<0xB6>", "<0xE2>"]


def small(name):
    _, parts, options = TOKENIZERS[name]
    is_bytes = not options.get("unk_token")
    pieces = list(BYTES if is_bytes else CHARACTERS)
    space = "Ġ" if is_bytes else "▁"
    merges = [("a", "b"), (space, "a"), (space + "a", "b"), ("'", "s"), ("1", "2")]
    pieces += [left + right for left, right in merges]
    tokens = [t["content"] for t in parts["added"]]
    ids = {piece: len(pieces) + i for i, piece in enumerate(tokens)}
    vocab = {piece: i for i, piece in enumerate(pieces + (["<unk>"] if "<unk>" in tokens else []))}
    ids.update({piece: vocab[piece] for piece in tokens if piece in vocab})
    taken = max(vocab.values()) + 1
    for piece in tokens:
        if piece not in vocab:
            ids[piece], taken = taken, taken + 1
    return composed(parts, options, vocab, merges, ids)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    seeds = {name: json.dumps(small(name), ensure_ascii=False, separators=(",", ":")) for name in TOKENIZERS}
    base = small("qwen2")
    seeds["regex"] = json.dumps({**base, "pre_tokenizer": split("(a+)+$")})
    seeds["template"] = seeds["llama3"].replace('"ids":[', '"ids":[9999,')
    seeds["ids"] = seeds["gpt2"].replace('"b":1', '"b":2147483647')
    seeds["merges"] = seeds["gpt2"].replace('"a b"', '"a x"')
    seeds["twice"] = seeds["gpt2"].replace('"b":1', '"b":0')
    seeds["truncated"] = seeds["gpt2"][:-3]
    seeds["nested"] = '{"normalizer":' + '{"type":"Sequence","normalizers":[' * 40
    seeds["stripped"] = json.dumps({**base, "decoder": {"type": "Strip", "content": "a", "start": 2, "stop": 2}})
    for name, text in seeds.items():
        (OUT / f"seed_{name}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
