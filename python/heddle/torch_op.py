"""The torch operators heddle::flashmask_attention and heddle::flashmask_attention_backward.

A mask travels as a tensor of columns [B or 1, mask_heads, Sk, n] in FlashMask's order with the
causal bit and the offset of the diagonal beside it, on a GPU also as a plan (torch_cuda.py), so
that torch.compile sees tensors and numbers alone.
"""

from typing import Any, Callable, List, Optional, Tuple

import torch
import torch.nn.functional
from torch import Tensor

from heddle import _core, arguments, torch_cuda, torch_plans
from heddle.arguments import Lengths


@torch.library.custom_op("heddle::flashmask_attention", mutates_args=(), device_types="cpu")
def flashmask_op(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    columns: Optional[Tensor],
    plan: Optional[Tensor],
    causal: bool,
    offset: int,
    softmax_scale: Optional[float],
    deterministic: bool,
) -> Tuple[Tensor, Tensor]:
    """out [B, S, H, Dv] and lse [B, H, S] of query [B, S, H, D], key and value [B, Sk, K, …].

    On the CPU the mask is in columns, on a GPU in plan, or if there is none in columns.
    """
    query, key, value = _dense(query), _dense(key), _dense(value)
    out, lse = _empty_results(query, value)
    masks = _masks(columns, query, key, causal, offset)
    _core.attention_forward(query, key, value, out, lse, masks=masks, scale=softmax_scale)
    return out, lse


@torch.library.custom_op(
    "heddle::flashmask_attention_backward", mutates_args=(), device_types="cpu"
)
def flashmask_backward_op(
    d_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    columns: Optional[Tensor],
    plan: Optional[Tensor],
    causal: bool,
    offset: int,
    softmax_scale: Optional[float],
    deterministic: bool,
) -> Tuple[Tensor, Tensor, Tensor]:
    """The gradients of sum(out * d_out) by query, key and value."""
    masks = _masks(columns, query, key, causal, offset)
    gradients = _empty_gradients(query, key, value)
    arrays = [*map(_dense, (d_out, query, key, value, out, lse)), *gradients]
    _core.attention_backward(*arrays, masks=masks, scale=softmax_scale)
    return gradients


@flashmask_op.register_kernel("cuda")
def _(query, key, value, columns, plan, *options):  # type: ignore
    query, key, value = map(torch_cuda.readable, (query, key, value))
    out, lse = _empty_results(query, value)
    if plan is None:
        plan = _plan(columns, query, key, *options, backward=False)
    torch_cuda.forward((query, key, value, out, lse), plan, *options)
    return out, lse


@flashmask_backward_op.register_kernel("cuda")
def _(d_out, query, key, value, out, lse, columns, plan, *options):  # type: ignore
    gradients = _empty_gradients(query, key, value)
    if plan is None:
        plan = _plan(columns, query, key, *options, backward=True)
    d_out, query, key, value, out = map(torch_cuda.readable, (d_out, query, key, value, out))
    torch_cuda.backward((query, key, value, out, lse, d_out, *gradients), plan, *options)
    return gradients


@flashmask_op.register_fake
def _(query, key, value, *rest):  # type: ignore
    return _empty_results(query, value)


@flashmask_backward_op.register_fake
def _(d_out, query, key, value, *rest):  # type: ignore
    return _empty_gradients(query, key, value)


def _save(ctx: Any, inputs: Tuple[Any, ...], output: Tuple[Tensor, Tensor]) -> None:
    query, key, value, columns, plan, *ctx.options = inputs
    ctx.save_for_backward(query, key, value, *output, columns, plan)


def _backward(ctx: Any, d_out: Tensor, d_lse: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
    gradients = flashmask_backward_op(d_out, *ctx.saved_tensors, *ctx.options)
    return (*gradients, None, None, *(None for _ in ctx.options))


flashmask_op.register_autograd(_backward, setup_context=_save)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    startend_row_indices: Optional[Tensor],
    causal: bool,
    window_size: Any,
    softmax_scale: Optional[float],
    mask: Any,
    deterministic: bool,
) -> Tuple[Tensor, Tensor]:
    """heddle.flashmask_attention on torch tensors: out, and lse, which carries no gradient."""
    arguments.check_one_mask(startend_row_indices, causal, window_size, mask)
    _check_device(query)
    lengths = arguments.lengths_of(query, key, value)
    arrays = (query, key, value)
    if mask is not None:
        return _under_masks(arrays, lengths, softmax_scale, deterministic, mask)
    columns = startend_row_indices
    if columns is not None:
        _check_columns(columns, causal, lengths, query.device)
    window = None if window_size is None else arguments.window_pair(window_size)
    options = (causal, lengths.key - lengths.query, softmax_scale, deterministic)
    if query.device.type == "cuda":
        return _on_gpu(arrays, options, _finder(columns, causal, window, lengths, query.device))
    if window is not None:
        columns = arguments.window_columns(window, causal, lengths, torch)
    out, lse = flashmask_op(*arrays, columns, None, *options)
    return out, lse.detach()


def _finder(
    columns: Optional[Tensor],
    causal: bool,
    window: Optional[Tuple[int, int]],
    lengths: Lengths,
    device: torch.device,
) -> Callable[[torch_plans.Wanted], Tensor]:
    """What finds or makes the plan of a mask. In compiled code the plan is a step of the graph."""

    def make() -> Tensor:
        if window is None:
            return torch.zeros((1, 1, lengths.key, 0), dtype=torch.int32, device=device)
        return arguments.window_columns(window, causal, lengths, torch, device=device)

    def find(wanted: torch_plans.Wanted) -> Tensor:
        if torch.compiler.is_compiling():
            return torch_cuda.plan_op(make() if columns is None else columns, *wanted)
        if columns is not None:
            return torch_plans.of_tensor(columns, wanted)
        return torch_plans.of_numbers((lengths.key, window), make, device, wanted)

    return find


def _on_gpu(
    arrays: Tuple[Tensor, Tensor, Tensor],
    options: Tuple[bool, int, Optional[float], bool],
    find: Callable[[torch_plans.Wanted], Tensor],
) -> Tuple[Tensor, Tensor]:
    """The kernels take head dimensions that are alike and multiples of 8: others are padded."""
    query, key, value = arrays
    causal, offset, scale, deterministic = options
    dim, value_dim = query.shape[3], value.shape[3]
    width = (max(dim, value_dim) + 7) // 8 * 8
    if dim != width or value_dim != width:
        scale = dim**-0.5 if scale is None else scale
        query, key, value = (
            torch.nn.functional.pad(array, (0, width - array.shape[3])) for array in arrays
        )
    backward = torch.is_grad_enabled() and any(array.requires_grad for array in arrays)
    wanted = torch_plans.Wanted(
        query.shape[1], causal, offset, width, backward, deterministic
    )
    out, lse = flashmask_op(
        query, key, value, None, find(wanted), causal, offset, scale, deterministic
    )
    return out if value_dim == width else out[..., :value_dim], lse.detach()


@torch.compiler.disable
def _under_masks(
    arrays: Tuple[Tensor, Tensor, Tensor],
    lengths: Lengths,
    softmax_scale: Optional[float],
    deterministic: bool,
    mask: Any,
) -> Tuple[Tensor, Tensor]:
    """One call where all masks agree on the diagonal, else one a batch row."""
    given = arguments.mask_list(mask, lengths.batch)
    masks = [_plain(m) for m in given]
    if len({(m.causal, m.offset) for m in masks}) > 1:
        results = [
            _under_masks(
                tuple(array[b : b + 1] for array in arrays),  # type: ignore[arg-type]
                lengths._replace(batch=1),
                softmax_scale,
                deterministic,
                one,
            )
            for b, one in enumerate(given)
        ]
        outs, lses = zip(*results)
        return torch.cat(outs), torch.cat(lses)
    _check_lengths(masks, lengths)
    options = (masks[0].causal, masks[0].offset, softmax_scale, deterministic)
    device = arrays[0].device
    if device.type == "cuda":

        def find(wanted: torch_plans.Wanted) -> Tensor:
            return torch_plans.of_masks(given, lambda: _columns(masks), device, wanted)

        return _on_gpu(arrays, options, find)
    columns = _columns(masks) if any(map(_has_bounds, masks)) else None
    out, lse = flashmask_op(*arrays, columns, None, *options)
    return out, lse.detach()


def _check_device(query: Tensor) -> None:
    kind = query.device.type
    if kind != "cpu" and not (kind == "cuda" and torch_cuda.BUILT):
        raise ValueError(
            f"flashmask_attention: query is on {query.device}; expected the CPU"
            + (" or a CUDA GPU" if torch_cuda.BUILT else ", for which alone this build has kernels")
        )


def _check_columns(
    columns: Tensor, causal: bool, lengths: Lengths, device: torch.device
) -> None:
    """What the operator would otherwise take as another form of mask."""
    arguments.check_indices(columns, lengths)
    if columns.device != device:
        raise ValueError(
            f"startend_row_indices: found it on {columns.device}; expected {device}, as query"
        )
    n = columns.shape[3]
    if n not in ((1, 2) if causal else (2, 4)):
        expected = "1 or 2 with causal" if causal else "2 or 4 without causal"
        raise ValueError(f"startend_row_indices: found {n} columns; expected {expected}")


def _check_lengths(masks: List[_core.ColumnMask], lengths: Lengths) -> None:
    for mask in masks:
        if (mask.query_length, mask.key_length) != (lengths.query, lengths.key):
            raise ValueError(
                f"flashmask_attention: mask is {mask.query_length} × {mask.key_length}; expected "
                f"S × Sk = {lengths.query} × {lengths.key}"
            )


def _plain(mask: arguments.Mask) -> _core.ColumnMask:
    return mask.mask if isinstance(mask, _core.MaskPlan) else mask


def _has_bounds(mask: _core.ColumnMask) -> bool:
    return mask.nbytes > 0


def _columns(masks: List[_core.ColumnMask]) -> Tensor:
    """All four bounds of every mask, int32 [masks, heads, Sk, 4]."""
    heads = max(mask.heads for mask in masks)
    columns = torch.empty((len(masks), heads, masks[0].key_length, 4), dtype=torch.int32)
    for b, mask in enumerate(masks):
        for n, name in enumerate(("lts", "lte", "uts", "ute")):
            bound = getattr(mask, name)
            default = mask.query_length if n < 2 else 0
            columns[b, :, :, n] = default if bound is None else torch.tensor(bound)
    return columns


def _masks(
    columns: Optional[Tensor], query: Tensor, key: Tensor, causal: bool, offset: int
) -> List[_core.ColumnMask]:
    """The masks of a call as the library takes them: 1 or B."""
    query_length, key_length = query.shape[1], key.shape[1]
    if columns is None:
        return [_core.ColumnMask(query_length, key_length, causal=causal, offset=offset)]
    return [arguments.column_mask(row, query_length, causal, offset) for row in columns]


def _plan(
    columns: Optional[Tensor],
    query: Tensor,
    key: Tensor,
    causal: bool,
    offset: int,
    softmax_scale: Optional[float],
    deterministic: bool,
    backward: bool,
) -> Tensor:
    """A plan for this call alone."""
    if columns is None:
        columns = torch_cuda.no_columns(query, key.shape[1])
    length, head_dim = query.shape[1], query.shape[3]
    return torch_cuda.plan_op(columns, length, causal, offset, head_dim, backward, deterministic)


def _dense(tensor: Tensor) -> Tensor:
    """A tensor that the library can read: outside autograd, with a dense last axis."""
    tensor = tensor.detach()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _empty_results(query: Tensor, value: Tensor) -> Tuple[Tensor, Tensor]:
    batch, length, heads, _ = query.shape
    out = query.new_empty((batch, length, heads, value.shape[3]))
    lse_type = torch.float64 if query.dtype == torch.float64 else torch.float32
    return out, query.new_empty((batch, heads, length), dtype=lse_type)


def _empty_gradients(query: Tensor, key: Tensor, value: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    return (
        query.new_empty(query.shape),
        key.new_empty(key.shape),
        value.new_empty(value.shape),
    )
