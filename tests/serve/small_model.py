"""A model of a few kilobytes with random weights: the CTranslate2 fixture, and letters as vocabulary."""

import json
import pathlib
import shutil
import struct

FIXTURE = pathlib.Path(__file__).resolve().parents[1] / "data" / "formats" / "ct2_glu_i16"


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text, kind=1):
    score = varint(2 << 3 | 5) + struct.pack("<f", -float(len(text)))
    return field(1, field(1, text.encode()) + score + field(3, kind))


def write(folder):
    """Makes `folder` a model directory; returns its path."""
    folder = pathlib.Path(folder)
    shutil.copytree(FIXTURE, folder)
    vocabulary = json.loads((folder / "shared_vocabulary.json").read_text())
    vocabulary[-1] = "\u2581"  # so that text has spaces
    (folder / "shared_vocabulary.json").write_text(json.dumps(vocabulary))
    special = {"<unk>": 2, "<s>": 3, "</s>": 3}
    pieces = b"".join(
        piece(token, special.get(token, 1)) for token in sorted(vocabulary, key=lambda t: t not in special)
    )
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(pieces + field(2, field(3, 1)))
    return str(folder)
