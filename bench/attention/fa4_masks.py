"""The element tests of families.visible for FlashAttention-4's kernels.

Columns come as aux_tensors, int32 [B, H, S]; the numbers of closed forms as aux_scalars, so that a
new window or length compiles nothing.
"""
import cutlass
import cutlass.cute as cute
from flash_attn.cute.utils import scalar_to_ssa

scalar = cutlass.Int32


@cute.jit
def _bound(table, batch, head, key):
    value = cute.make_rmem_tensor(1, cutlass.Int32)
    value[0] = table[batch[0], head[0], key[0]]
    return value.load()


@cute.jit
def _number(value):
    return scalar_to_ssa(value, cutlass.Int32)


@cute.jit
def causal(batch, head, row, key, lengths, tables):
    return row >= key


@cute.jit
def sliding_window(batch, head, row, key, lengths, tables, numbers):
    return (row >= key) & (row < key + _number(numbers[0]))


@cute.jit
def global_sliding(batch, head, row, key, lengths, tables, numbers):
    window = _number(numbers[1])
    near = (row - key < window) & (key - row < window)
    return (row < _number(numbers[0])) | (key < _number(numbers[0])) | near


@cute.jit
def prefix_lm_causal(batch, head, row, key, lengths, tables, numbers):
    return (row >= key) | (key < _number(numbers[0]))


@cute.jit
def causal_1(batch, head, row, key, lengths, tables):
    return (row >= key) & (row < _bound(tables[0], batch, head, key))


@cute.jit
def causal_2(batch, head, row, key, lengths, tables):
    above = row < _bound(tables[0], batch, head, key)
    return (row >= key) & (above | (row >= _bound(tables[1], batch, head, key)))


@cute.jit
def both_2(batch, head, row, key, lengths, tables):
    above = row < _bound(tables[0], batch, head, key)
    return above & (row >= _bound(tables[1], batch, head, key))
