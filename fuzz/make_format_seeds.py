#!/usr/bin/env python3
"""Writes the seeds of the file formats below fuzz/corpus/: small files, good and nearly good."""
import io
import json
import pathlib
import struct
import zipfile

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"


def safetensors():
    def file(header, data=b""):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    entry = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}
    byte = {"dtype": "I8", "shape": [], "data_offsets": [8, 9]}
    yield "empty", file({})
    yield "two", file({"__metadata__": {"format": "pt"}, "a": entry, "b": byte}, bytes(9))
    yield "hole", file({"a": entry, "b": {**byte, "data_offsets": [9, 10]}}, bytes(10))
    yield "wrap", file({"a": {**entry, "shape": [2 ** 62, 4]}}, bytes(8))
    yield "twice", file(b'{"a":' + json.dumps(entry).encode() + b',"a":' + json.dumps(entry).encode() + b"}", bytes(8))
    yield "truncated", file({"a": entry}, bytes(7))


def marian_binary():
    def file(items):
        head = struct.pack("<QQ", 1, len(items))
        for name, kind, shape, data in items:
            head += struct.pack("<QQQQ", len(name) + 1, kind, len(shape), len(data))
        head += b"".join(name.encode() + b"\0" for name, *_ in items)
        head += b"".join(struct.pack(f"<{len(i[2])}i", *i[2]) for i in items)
        pad = -(len(head) + 8) % 256
        return head + struct.pack("<Q", pad) + bytes(pad) + b"".join(i[3] for i in items)

    floats = ("W", 0x404, [1, 2], struct.pack("<2f", 1, 2) + bytes(248))
    small = ("Q", 0x4101, [2, 2], bytes([1, 2, 3, 4]) + struct.pack("<f", 12.7) + bytes(248))
    options = ("special:model.yml", 0x101, [5], b"a: 1\0")
    yield "three", file([floats, small, options])
    yield "none", file([])
    yield "negative", file([("W", 0x404, [-1, 2], bytes(256))])
    yield "packed", file([("W", 0x1801, [1], bytes(256))])


def npz():
    def npy(descr, shape, data):
        header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data

    def file(members, method=zipfile.ZIP_STORED, comment=b""):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.comment = comment
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name), data, method)
        return out.getvalue()

    one = ("W.npy", npy("<f4", "(1, 2)", bytes(8)))
    yield "one", file([one])
    yield "two", file([one, ("special:model.yml.npy", npy("|i1", "(5,)", b"a: 1\0"))], comment=b"made")
    yield "deflated", file([one], zipfile.ZIP_DEFLATED)
    yield "escapes", file([("../W.npy", one[1])])
    yield "empty", file([])


def ctranslate2():
    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    def variable(name, shape, kind, data):
        return (text(name) + bytes([len(shape)]) + struct.pack(f"<{len(shape)}I", *shape) + bytes([kind]) +
                struct.pack("<I", len(data)) + data)

    def file(variables, aliases, version=6):
        return (struct.pack("<I", version) + text("TransformerSpec") + struct.pack("<II", 7, len(variables)) +
                b"".join(variables) + struct.pack("<I", len(aliases)) +
                b"".join(text(a) + text(b) for a, b in aliases))

    floats = variable("w", [1, 2], 0, bytes(8))
    yield "two", file([floats, variable("n", [], 2, b"\2\0")], [("v", "w")])
    yield "small", file([variable("w", [2, 3], 1, bytes(6)), variable("w_scale", [2], 0, bytes(8))], [])
    yield "old", file([floats], [], version=5)
    yield "unknown_alias", file([floats], [("v", "x")])


def gguf():
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    def pair(key, kind, data):
        return text(key) + struct.pack("<I", kind) + data

    def array(kind, count, data):
        return struct.pack("<IQ", kind, count) + data

    def tensor(name, lengths, kind, offset):
        return (text(name) + struct.pack(f"<I{len(lengths)}Q", len(lengths), *lengths) +
                struct.pack("<IQ", kind, offset))

    def file(pairs, tensors, data=b"", version=3, alignment=32):
        head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs + tensors)
        return head + (bytes(-len(head) % alignment) + data if tensors else b"")

    half = struct.pack("<e", 0.5)
    architecture = pair("general.architecture", 8, text("gemma3"))
    scalars = [pair(f"k{kind}", kind, bytes(size)) for kind, size in
               enumerate([1, 1, 2, 2, 4, 4, 4, 1, 8]) if kind != 8] + [
               pair(f"k{kind}", kind, bytes(8)) for kind in (10, 11, 12)]
    arrays = [pair("tokens", 9, array(8, 2, text("a") + text("bc"))), pair("scores", 9, array(6, 2, bytes(8))),
              pair("flags", 9, array(7, 2, b"\0\1"))]
    yield "empty", file([], [])
    yield "metadata", file([architecture, *scalars, *arrays], [])
    yield "plain", file([architecture], [tensor("f32", [2, 1], 0, 0), tensor("f16", [3], 1, 32),
                                         tensor("bf16", [], 30, 64)], bytes(66), version=2)
    blocks = {"q8_0": (8, 32, half + bytes(32)), "q5_0": (6, 32, half + bytes(20)),
              "q4_k": (12, 256, half * 2 + bytes(140)), "q5_k": (13, 256, half * 2 + bytes(172)),
              "q6_k": (14, 256, bytes(208) + half)}
    entries, data = [], b""
    for name, (kind, width, block) in blocks.items():
        data += bytes(-len(data) % 8)
        entries.append(tensor(name, [width, 1], kind, len(data)))
        data += block
    yield "blocks", file([pair("general.alignment", 4, struct.pack("<I", 8))], entries, data, alignment=8)
    yield "nan", file([], [tensor("w", [32], 8, 0)], b"\0\x7e" + bytes(32))
    yield "q4_0", file([], [tensor("w", [32], 2, 0)], bytes(18))
    yield "nested", file([pair("k", 9, array(9, 1, array(9, 1, b"")))], [])
    yield "huge", file([pair("k", 9, array(8, 1 << 61, b""))], [tensor("w", [1 << 42, 1 << 22], 0, 0)])


def json_texts():
    yield "values", b'{"a": [1, -2.5e3, true, null, "\\u00e9\\ud83d\\ude39"], "b": {}, "": ""}'
    yield "nested", b"[" * 70
    yield "twice", b'{"a": 1, "a": 2}'
    yield "surrogate", b'["\\ud800"]'
    yield "yaml", b"type: transformer\ndims:\n  - 1\n  - 2.5\nname: \"x\"\nflag: true\n"
    yield "alias", b"a: &x [1]\nb: *x\n"


def main():
    targets = {"safetensors": safetensors, "marian_binary": marian_binary, "npz": npz,
               "ctranslate2": ctranslate2, "gguf": gguf, "json": json_texts}
    for target, seeds in targets.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (folder / f"seed_{name}").write_bytes(content)


if __name__ == "__main__":
    main()
