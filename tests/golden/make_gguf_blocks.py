#!/usr/bin/env python3
"""Writes tests/golden/gguf_blocks.gguf: random blocks of every type that src/io/gguf_blocks.h reads, each
beside the floats that the `gguf` package makes of it (`TYPE` and `TYPE.floats`), and metadata of every type.

  make_gguf_blocks.py [FOLDER]     needs pip install gguf==0.19.0
"""
import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type, GGUFValueType as Value

ROWS, WIDTH = 3, 512
SEED = 20260301
# Where the f16 numbers of a block lie.
SCALES = {Type.Q8_0: [0], Type.Q5_0: [0], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}


def blocks_of(type_, random):
    """Random bytes with finite scales, some of them subnormal, zero and the largest."""
    values, size = gguf.GGML_QUANT_SIZES[type_]
    blocks = random.integers(0, 256, (ROWS * WIDTH // values, size), dtype=np.uint8)
    for at in SCALES[type_]:
        scales = random.normal(0, 0.05, len(blocks)).astype(np.float16)
        scales[:4] = [0, 6e-8, -65504, 1]
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


def halves(random):
    """Every kind of f16 but NaN: zeros, subnormals, infinities, the rest at random."""
    bits = random.integers(0, 65536, ROWS * WIDTH, dtype=np.uint16)
    bits[:8] = [0, 0x8000, 1, 0x83FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00]
    values = bits.view(np.float16)
    values[np.isnan(values)] = 1
    return values.reshape(ROWS, WIDTH)


def write(path):
    random = np.random.default_rng(SEED)
    writer = gguf.GGUFWriter(path, "golden")
    writer.add_custom_alignment(64)
    for type_, value in [(Value.UINT8, 255), (Value.INT8, -128), (Value.UINT16, 65535), (Value.INT16, -32768),
                         (Value.UINT32, 2**32 - 1), (Value.INT32, -2**31), (Value.UINT64, 2**64 - 1),
                         (Value.INT64, -2**63), (Value.FLOAT32, 0.5), (Value.FLOAT64, 0.1), (Value.BOOL, True),
                         (Value.STRING, "größer")]:
        writer.add_key_value(f"value.{type_.name.lower()}", value, type_)
    writer.add_array("array.string", ["a", "", "ccc"])
    writer.add_array("array.int32", [-1, 2**31 - 1])
    writer.add_array("array.float32", [0.5, -1.25])
    writer.add_array("array.bool", [True, False])
    for type_ in SCALES:
        blocks = blocks_of(type_, random)
        name = type_.name.lower()
        writer.add_tensor(name, blocks, raw_dtype=type_)
        writer.add_tensor(name + ".floats", gguf.dequantize(blocks, type_))
    f16 = halves(random)
    writer.add_tensor("f16", f16)
    writer.add_tensor("f16.floats", f16.astype(np.float32))
    words = random.integers(0, 65536, (ROWS, WIDTH), dtype=np.uint16) & 0xFF7F  # no NaN
    bf16 = words.view(np.uint8).reshape(ROWS, -1)
    writer.add_tensor("bf16", bf16, raw_dtype=Type.BF16)
    writer.add_tensor("bf16.floats", gguf.dequantize(bf16, Type.BF16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    write(folder / "gguf_blocks.gguf")
