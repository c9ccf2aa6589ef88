"""The GPU's kernels of the torch operators, and the operator heddle::flashmask_plan.

A plan is one int32 tensor [mask batches, mask heads, size]: the bounds of every key column, then
for each pass which tiles are live. Being a tensor, it is saved for the backward, captured into
CUDA graphs and shared between layers by torch.compile like any other.
"""

import functools
from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from heddle import _core

BUILT = _core.cuda_built()  # whether this build has kernels for GPUs

# Another GPU's kernels and tiles, for tests: its compute capability, as 86. 0: those of the GPU.
COMPUTE_CAPABILITY = 0

TYPES = {
    torch.float64: "f64",
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int32: "i32",
}


@torch.library.custom_op("heddle::flashmask_plan", mutates_args=(), device_types="cuda")
def plan_op(
    columns: Tensor,
    query_length: int,
    causal: bool,
    offset: int,
    head_dim: int,
    backward: bool,
    deterministic: bool,
) -> Tensor:
    """The plan of columns [B or 1, mask_heads, Sk, n]; n = 0 where causality says all."""
    key_length = columns.shape[2]
    planned = _core.Planned(
        query_length,
        key_length,
        causal,
        offset,
        head_dim,
        backward,
        deterministic,
        COMPUTE_CAPABILITY,
    )
    plan = _empty_plan(columns, query_length, head_dim, backward, deterministic)
    columns = columns.to(torch.int32).contiguous()
    stream, empty = _stream(columns.device)
    _core.cuda_plan(planned, _described(plan), _described(columns), stream, empty)
    return plan


@plan_op.register_fake
def _(columns, query_length, causal, offset, head_dim, backward, deterministic):  # type: ignore
    return _empty_plan(columns, query_length, head_dim, backward, deterministic)


def no_columns(like: Tensor, key_length: int) -> Tensor:
    """Columns of a mask without intervals."""
    return like.new_zeros((1, 1, key_length, 0), dtype=torch.int32)


def tile_plans(
    device: torch.device, head_dim: int, backward: bool, deterministic: bool
) -> Tuple[Tuple[bool, int, int], ...]:
    """(along queries, rows, keys) of the plans that kernels ask for on this GPU."""
    return _tile_plans(
        _index(device), int(head_dim), backward, deterministic, COMPUTE_CAPABILITY
    )


def forward(
    arrays: Sequence[Tensor],
    plan: Tensor,
    causal: bool,
    offset: int,
    scale: Optional[float],
    deterministic: bool,
) -> None:
    """Fills out and lse from query, key and value, all five in `arrays`."""
    _run(_core.cuda_forward, arrays, plan, causal, offset, scale, False, deterministic)


def backward(
    arrays: Sequence[Tensor],
    plan: Tensor,
    causal: bool,
    offset: int,
    scale: Optional[float],
    deterministic: bool,
) -> None:
    """Fills the last three of query, key, value, out, lse, d_out and the three gradients."""
    _run(_core.cuda_backward, arrays, plan, causal, offset, scale, True, deterministic)


def readable(tensor: Tensor) -> Tensor:
    """The tensor, or a copy where its rows do not begin at multiples of 16 bytes."""
    tensor = tensor.detach()
    strides = zip(tensor.shape, tensor.stride())
    *outer, (width, innermost) = strides
    dense = innermost == 1 or width == 1
    aligned = all(stride * tensor.element_size() % 16 == 0 for n, stride in outer if n > 1)
    if dense and aligned and tensor.data_ptr() % 16 == 0:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def _run(
    kernel: Any,
    arrays: Sequence[Tensor],
    plan: Tensor,
    causal: bool,
    offset: int,
    scale: Optional[float],
    with_backward: bool,
    deterministic: bool,
) -> None:
    query, key = arrays[0], arrays[1]
    planned = _core.Planned(
        query.shape[1],
        key.shape[1],
        causal,
        offset,
        query.shape[3],
        with_backward,
        deterministic,
        COMPUTE_CAPABILITY,
    )
    stream, empty = _stream(query.device)
    kernel(planned, [_described(array) for array in arrays], _described(plan), scale, stream, empty)


def _empty_plan(
    columns: Tensor, query_length: int, head_dim: int, backward: bool, deterministic: bool
) -> Tensor:
    batches, heads, key_length, _ = columns.shape
    size = 4 * key_length
    for along_queries, rows, keys in tile_plans(
        columns.device, head_dim, backward, deterministic
    ):
        tiles, others = (query_length - 1) // rows + 1, (key_length - 1) // keys + 1
        if not along_queries:
            tiles, others = others, tiles
        size = size + tiles * (2 * ((others - 1) // 32 + 1) + 2)
    return columns.new_empty((batches, heads, size), dtype=torch.int32)


@functools.lru_cache(maxsize=None)
def _tile_plans(
    index: int, head_dim: int, backward: bool, deterministic: bool, compute_capability: int
) -> Tuple[Tuple[bool, int, int], ...]:
    options = (head_dim, backward, deterministic, compute_capability)
    return tuple(_core.cuda_tile_plans(index, *options))


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def _stream(device: torch.device) -> Tuple[int, Any]:
    """The caller's stream, and what makes scratch memory on it."""
    empty = functools.partial(torch.empty, dtype=torch.uint8, device=device)
    return torch.cuda.current_stream(device).cuda_stream, empty


def _described(tensor: Tensor) -> Tuple[int, List[int], List[int], str, int]:
    name = TYPES.get(tensor.dtype, str(tensor.dtype))
    return (
        tensor.data_ptr(), list(tensor.shape), list(tensor.stride()), name, tensor.device.index
    )
