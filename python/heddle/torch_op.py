"""The torch operators heddle::flashmask_attention and heddle::flashmask_attention_backward.

A mask travels as a tensor of columns [B or 1, mask_heads, Sk, n] in FlashMask's order with the
causal bit and the offset of the diagonal beside it, so that torch.compile sees tensors and numbers alone.
Another device adds a kernel to the two operators with register_kernel; shapes and autograd stay.
"""

from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from heddle import _core, arguments
from heddle.arguments import Lengths


@torch.library.custom_op("heddle::flashmask_attention", mutates_args=(), device_types="cpu")
def flashmask_op(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    columns: Optional[Tensor],
    causal: bool,
    offset: int,
    softmax_scale: Optional[float],
    deterministic: bool,
) -> Tuple[Tensor, Tensor]:
    """out [B, S, H, Dv] and lse [B, H, S] of query [B, S, H, D], key and value [B, Sk, K, …]."""
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


@flashmask_op.register_fake
def _(query, key, value, columns, causal, offset, softmax_scale, deterministic):  # type: ignore
    return _empty_results(query, value)


@flashmask_backward_op.register_fake
def _(d_out, query, key, value, *rest):  # type: ignore
    return _empty_gradients(query, key, value)


def _save(ctx: Any, inputs: Tuple[Any, ...], output: Tuple[Tensor, Tensor]) -> None:
    query, key, value, columns, *ctx.options = inputs
    ctx.save_for_backward(query, key, value, *output, columns)


def _backward(ctx: Any, d_out: Tensor, d_lse: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
    gradients = flashmask_backward_op(d_out, *ctx.saved_tensors, *ctx.options)
    return (*gradients, None, *(None for _ in ctx.options))


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
    if query.device.type != "cpu":
        raise ValueError(
            f"flashmask_attention: query is on {query.device}; expected the CPU, for which alone "
            "this build has kernels"
        )
    lengths = arguments.lengths_of(query, key, value)
    if mask is not None:
        return _under_masks(query, key, value, lengths, softmax_scale, deterministic, mask)
    columns = startend_row_indices
    if columns is not None:
        _check_columns(columns, causal, lengths)
    elif window_size is not None:
        device = {"device": query.device}
        columns = arguments.window_columns(window_size, causal, lengths, torch, **device)
    offset = lengths.key - lengths.query
    out, lse = flashmask_op(
        query, key, value, columns, causal, offset, softmax_scale, deterministic
    )
    return out, lse.detach()


def _under_masks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Lengths,
    softmax_scale: Optional[float],
    deterministic: bool,
    mask: Any,
) -> Tuple[Tensor, Tensor]:
    """One call where all masks agree on the diagonal, else one a batch row."""
    masks = [_plain(m) for m in arguments.mask_list(mask, lengths.batch)]
    options = (softmax_scale, deterministic)
    if len({(m.causal, m.offset) for m in masks}) == 1:
        columns = _columns(masks).to(query.device) if any(map(_has_bounds, masks)) else None
        _check_lengths(masks, lengths)
        out, lse = flashmask_op(
            query, key, value, columns, masks[0].causal, masks[0].offset, *options
        )
        return out, lse.detach()
    outs, lses = [], []
    for b, one in enumerate(masks):
        q, k, v = (tensor[b : b + 1] for tensor in (query, key, value))
        out, lse = _under_masks(q, k, v, lengths._replace(batch=1), *options, one)
        outs.append(out)
        lses.append(lse)
    return torch.cat(outs), torch.cat(lses)


def _check_columns(columns: Tensor, causal: bool, lengths: Lengths) -> None:
    """What the operator would otherwise take as another form of mask."""
    arguments.check_indices(columns, lengths)
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
