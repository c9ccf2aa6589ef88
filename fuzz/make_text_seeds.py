#!/usr/bin/env python3
"""Writes the hand-made seeds of fuzz/corpus/sentencepiece_model/ and fuzz/corpus/line_reader/."""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def piece(text, score=0.0, kind=1):
    text = text.encode() if isinstance(text, str) else text
    return data(1, data(1, text) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, kind))


def charsmap():
    """"A" becomes "a", "AB" becomes "xyz"."""
    units = [1 << 31] * 1024

    def link(unit, base, low):
        units[unit] = (unit ^ base) << 10 | low

    link(0, 256, 0)
    link(256 ^ ord("A"), 512, ord("A") | 256)
    units[512] = 1 << 31
    link(512 ^ ord("B"), 768, ord("B") | 256)
    units[768] = 1 << 31 | 2
    return struct.pack("<I1024I", 4096, *units) + b"a\0xyz\0"


def model(pieces=(), kind=1, trainer=b"", normalizer=b""):
    parts = [piece("<unk>", 0, 2), piece("<s>", 0, 3), piece("</s>", 0, 3), piece("\u2581the", -1),
             piece("\u2581", -2), piece("ca", -2), piece("t", -3), piece(".", -3)]
    return (b"".join(parts) + b"".join(pieces) + data(2, number(3, kind) + trainer)
            + data(3, data(1, b"test") + normalizer))


def model_seeds():
    for kind, name in enumerate(("unigram", "bpe", "word", "char"), 1):
        yield name, model(kind=kind)
    yield "empty", b""
    yield "one_piece", piece("<unk>", 0, 2)
    yield "bytes", model([piece(f"<0x{i:02X}>", 0, 6) for i in range(256)], trainer=number(35, 1))
    yield "user_defined", model([piece("~" * n, 0, 4) for n in range(2, 6)])
    yield "charsmap", model(normalizer=data(2, charsmap()))
    yield "denormalizer", model() + data(5, data(2, charsmap()))
    yield "no_prefix", model(normalizer=number(3, 0) + number(4, 0))
    yield "suffix", model(trainer=number(24, 1))
    yield "nul", model([piece("\0", -5)], kind=2)
    yield "infinite_score", model([piece("x", float("inf"))])
    yield "twice", model([piece("t", -3)])
    yield "group", model() + varint(9 << 3 | 3)
    yield "long_length", model() + varint(1 << 3 | 2) + varint(1 << 63)
    yield "truncated", model()[:-3]


def line_seeds():
    yield "plain", b"one\ntwo\n\nfour"
    yield "empty", b""
    yield "newline", b"\n"
    yield "crlf", b"a\r\nb\r\r\nc\rd"
    yield "separators", "a\u0085b\u2028c\u2029d\vd\fe".encode()
    yield "bom", b"\xef\xbb\xbfa\n\xef\xbb\xbfb"
    yield "utf16_le", "\ufeffwide text\n".encode("utf-16-le")
    yield "utf16_plain", "wide text without a mark\n".encode("utf-16-be")
    yield "not_utf8", b"\xc0\xaf\n\xed\xa0\x80\n\xf5\xfe\xff\n\x80\n\xe2\x82"
    yield "nul", b"a\0b\n\0"
    yield "long", b"x" * 200 + b"\n" + b" " * 100 + b"\ny" * 3
    yield "marks", ("e" + "\u0301" * 20 + "\u202e" + "\U0001f469\u200d\U0001f467").encode()
    yield "sentences", "Mr. J. Smith left. \"No!\" 1. One. Dr. X. \u3053\u308c\u3002\u305d\u308c\uff01".encode()


def main():
    for target, seeds in (("sentencepiece_model", model_seeds()), ("line_reader", line_seeds())):
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds:
            (folder / f"seed_{name}").write_bytes(content)


if __name__ == "__main__":
    main()
