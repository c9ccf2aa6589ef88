#!/usr/bin/env python3
"""Writes the hand-made seeds of fuzz/corpus/npy/: one small file for each form the reader knows."""
import pathlib
import struct

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "npy"
SIZES = {"f2": 2, "f4": 4, "f8": 8, "i1": 1, "i4": 4, "i8": 8, "u1": 1, "b1": 1}


def npy(header, data, version=1):
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def header(descr, shape, fortran=False):
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def seeds():
    for code, size in SIZES.items():
        sign = "|" if size == 1 else "<"
        yield code, npy(header(sign + code, (2, 3)), bytes(6 * size))
    yield "version_2", npy(header("<i4", (1,)), bytes(4), version=2)
    yield "version_3", npy(header("<i4", (1,)), bytes(4), version=3)
    yield "scalar", npy(header("<f8", ()), bytes(8))
    yield "empty_array", npy(header("<f4", (0, 7)), b"")
    yield "six_axes", npy(header("|u1", (1, 1, 1, 1, 1, 2)), bytes(2))
    yield "seven_axes", npy(header("|u1", (1,) * 7), bytes(1))
    yield "fortran", npy(header("<f4", (2, 2), fortran=True), bytes(16))
    yield "double_quotes", npy('{"shape":(1,),"descr":"|i1","fortran_order":False}\n', bytes(1))
    yield "big_endian", npy(header(">f4", (1,)), bytes(4))
    yield "objects", npy(header("|O", (1,)), bytes(8))
    yield "structured", npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}\n", b"")
    yield "huge_shape", npy(header("<f8", (2 ** 32, 2 ** 32)), bytes(8))
    yield "zero_times_huge", npy(header("<f8", (0, 2 ** 62, 2 ** 62)), b"")
    yield "bool_of_two", npy(header("|b1", (2,)), b"\x01\x02")
    yield "truncated", npy(header("<i4", (4,)), bytes(15))
    yield "trailing", npy(header("<i4", (4,)), bytes(17))
    yield "no_newline", npy(header("<i4", (1,))[:-1], bytes(4))
    yield "long_header", npy(header("<i4", (1,))[:-1] + " " * 4000 + "\n", bytes(4))
    yield "empty", b""


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (FOLDER / f"seed_{name}").write_bytes(content)


if __name__ == "__main__":
    main()
