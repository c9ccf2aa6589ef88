#!/usr/bin/env python3
"""Writes the hand-made seeds of fuzz/corpus/shortlist/: small files, whole and damaged."""
import pathlib
import struct

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "shortlist"
MAGIC, MASK = 0xF11A48D5013417F5, (1 << 64) - 1


def checksum(body):
    total = 0
    for (word,) in struct.iter_unpack("<Q", body[:len(body) // 8 * 8]):
        total ^= (word + 0x9E3779B9 + (total << 6 & MASK) + (total >> 2)) & MASK
    return total


def shortlist(lists, first=3, magic=MAGIC, offsets=None, count=None, ids=None):
    starts = [0]
    for entries in lists:
        starts.append(starts[-1] + len(entries))
    flat = [entry for entries in lists for entry in entries]
    body = struct.pack("<QQQQ", first, 50, len(starts) if count is None else count,
                       len(flat) if ids is None else ids)
    body += struct.pack(f"<{len(starts)}Q", *(offsets or starts))
    body += struct.pack(f"<{len(flat)}I", *flat)
    return struct.pack("<QQ", magic, checksum(body)) + body


def seeds():
    lists = [[], [5, 40, 41], [], [2, 63], [7]]
    whole = shortlist(lists)
    yield "small", whole
    yield "no_lists", shortlist([])
    yield "no_tokens", shortlist([[], []])
    yield "all_first", shortlist(lists, first=64)
    yield "first_too_many", shortlist(lists, first=65)
    yield "other_magic", shortlist(lists, magic=1)
    yield "id_too_large", shortlist([[64]])
    yield "falling_offsets", shortlist(lists, offsets=[0, 0, 3, 2, 5, 6])
    yield "offset_outside", shortlist(lists, offsets=[0, 0, 3, 3, 5, 7])
    yield "offsets_wrap", shortlist(lists, count=1 << 61)
    yield "ids_wrap", shortlist(lists, ids=(1 << 62) + 6)
    yield "no_offsets", shortlist(lists, count=0)
    yield "truncated", whole[:-3]
    yield "header_alone", whole[:48]
    yield "wrong_checksum", whole[:8] + bytes(8) + whole[16:]
    yield "empty", b""


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (FOLDER / f"seed_{name}").write_bytes(data)


if __name__ == "__main__":
    main()
