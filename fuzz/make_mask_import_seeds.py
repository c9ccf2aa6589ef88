#!/usr/bin/env python3
"""Writes the hand-made seeds of fuzz/corpus/mask_import/, laid out as the target reads them."""
import pathlib
import struct

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "mask_import"


def indices(causal, rows, columns):
    """Kind 0: one head; columns is a list of tuples of bounds, one for each key."""
    head = bytes([0, causal, rows, 1, len(columns), len(columns[0])])
    return head + bytes(bound for column in columns for bound in column) + bytes([3, 3])


def picture(rows):
    """Kind 1: rows are texts of 0 and 1."""
    bits = "".join(rows)
    packed = bytes(int(bits[at:at + 8][::-1], 2) for at in range(0, len(bits), 8))
    return bytes([1, 0, len(rows), len(rows[0])]) + packed + bytes([3, 3])


def parts(rows, keys, heads, causal, offset, bounds):
    """Kind 2: bounds are lts, lte, uts, ute, each a list or None."""
    present = sum(1 << bit for bit, bound in enumerate(bounds) if bound is not None)
    values = bytes(value for bound in bounds if bound for value in bound)
    return bytes([2, rows, keys, heads, causal, offset, 0, present]) + values + bytes([3, 3])


def seeds():
    causal = [(10,)] * 10
    document = [(4, 0)] * 4 + [(7, 4)] * 3 + [(10, 7)] * 3
    global_sliding = list(zip([10, 10, 4, 5, 6, 7, 8, 9, 10, 10], [10] * 10,
                              [0] * 4 + [2] * 6, [0] * 4 + [3, 4, 5, 6, 7, 8]))
    blockwise = [(4, 7)] * 4 + [(10, 10)] * 6
    select = bytes([0, 5, 9, 1, 9, 2, 9, 3, 9, 1])  # then select_rows: 5 rows
    yield "causal", indices(1, 10, causal) + select
    yield "causal_blockwise", indices(1, 10, blockwise) + select
    yield "document", indices(0, 10, document) + select
    yield "global_sliding", indices(0, 10, global_sliding) + bytes([1]) + indices(1, 10, causal)
    yield "reversed_bounds", indices(1, 10, [(7, 4)] * 10)
    yield "picture", picture(["10000000", "11000000", "11100000", "00010000", "00011000",
                              "00011100", "00011110", "00011111"]) + select
    yield "picture_three_gaps", picture(["10101010"[i % 2:] + "0" * (i % 2) for i in range(8)])
    yield "parts", parts(8, 8, 2, 1, 0, [[8] * 16, None, None, [0] * 16]) + select
    yield "huge_length", bytes([0, 1, 255]) + struct.pack("<q", 2 ** 31) + bytes([1, 4, 1])
    yield "huge_heads", bytes([2, 4, 4, 255]) + struct.pack("<q", 2 ** 62) + bytes([1, 0, 0, 1])
    yield "empty", b""


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (FOLDER / f"seed_{name}").write_bytes(content)


if __name__ == "__main__":
    main()
