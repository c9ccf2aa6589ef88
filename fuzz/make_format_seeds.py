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


def json_texts():
    yield "values", b'{"a": [1, -2.5e3, true, null, "\\u00e9\\ud83d\\ude39"], "b": {}, "": ""}'
    yield "nested", b"[" * 70
    yield "twice", b'{"a": 1, "a": 2}'
    yield "surrogate", b'["\\ud800"]'
    yield "yaml", b"type: transformer\ndims:\n  - 1\n  - 2.5\nname: \"x\"\nflag: true\n"
    yield "alias", b"a: &x [1]\nb: *x\n"


def main():
    targets = {"safetensors": safetensors, "marian_binary": marian_binary, "npz": npz,
               "ctranslate2": ctranslate2, "json": json_texts}
    for target, seeds in targets.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (folder / f"seed_{name}").write_bytes(content)


if __name__ == "__main__":
    main()
