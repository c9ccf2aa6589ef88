"""flashmask_attention: FlashMask's function on numpy arrays and torch tensors, and its gradient."""

from __future__ import annotations

import sys
from typing import Any, Sequence

import numpy as np

from heddle import _core, arguments, masks
from heddle.arguments import Lengths, Mask


def flashmask_attention(
    query: Any,
    key: Any,
    value: Any,
    startend_row_indices: Any = None,
    *,
    causal: bool = False,
    window_size: int | Sequence[int] | None = None,
    softmax_scale: float | None = None,
    return_softmax_lse: bool = False,
    deterministic: bool = False,
    mask: Mask | Sequence[Mask] | None = None,
) -> Any:
    """Exact attention under a column-wise sparse mask.

    query [B, S, H, D], key [B, Sk, K, D], value [B, Sk, K, Dv]: f64, f32, f16 or bf16 (f16 or bf16
    on a GPU), all alike, with dense last axes and any other strides; H is a multiple of K, query head h reads head
    h // (H / K). At most one of these says which pairs may look, besides `causal`:

    startend_row_indices  int32 [B or 1, mask_heads, Sk, n], mask_heads 1 or K, as in FlashMask:
        absolute, half-open intervals of query rows that may NOT look at the key. With causal n = 1
        is LTS and n = 2 is LTS, LTE; without, n = 2 is LTS, UTE and n = 4 is LTS, LTE, UTS, UTE.
    window_size  w or (left, right): row i sees keys i - left … i + right, its own included, so a
        causal window of w sees w + 1 keys.
    mask  a ColumnMask or MaskPlan, or a list of B of them; says all, causal too.

    causal      row i sees keys j <= i + Sk - S.
    softmax_scale  1 / sqrt(D) when not given.
    deterministic  gradients equal to the bit in every run; on the CPU they always are.

    Returns out [B, S, H, Dv] in the kind of array that came in; with return_softmax_lse also lse
    [B, H, S] (natural logarithm, f32; f64 for f64). A row that sees no key gets out 0 and lse -inf.
    torch tensors take part in autograd; for numpy there is flashmask_attention_backward.

    Raises ValueError with found and expected for whatever does not fit.
    """
    options = (startend_row_indices, causal, window_size, softmax_scale, mask)
    if _is_torch(query):
        from heddle import torch_op

        out, lse = torch_op.attention(query, key, value, *options, deterministic)
    else:
        query, key, value = _numpy(query, key, value)
        out, lse = _forward(query, key, value, *options)
    return (out, lse) if return_softmax_lse else out


def flashmask_attention_backward(
    d_out: Any,
    query: Any,
    key: Any,
    value: Any,
    out: Any,
    lse: Any,
    startend_row_indices: Any = None,
    *,
    causal: bool = False,
    window_size: int | Sequence[int] | None = None,
    softmax_scale: float | None = None,
    deterministic: bool = False,
    mask: Mask | Sequence[Mask] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients (d_query, d_key, d_value) of sum(out * d_out), for numpy arrays.

    out and lse are what flashmask_attention returned for the same arguments; d_out is like out.
    """
    query, key, value, d_out, out, lse = _numpy(query, key, value, d_out, out, lse)
    lengths = arguments.lengths_of(query, key, value)
    mask_list = _masks(lengths, startend_row_indices, causal, window_size, mask)
    gradients = (
        np.empty(query.shape, query.dtype),
        np.empty(key.shape, key.dtype),
        np.empty(value.shape, value.dtype),
    )
    arrays = (d_out, query, key, value, out, lse, *gradients)
    _core.attention_backward(
        *map(_bits, arrays), masks=mask_list, scale=softmax_scale, bfloat16=_is_bfloat16(query)
    )
    return gradients


def _forward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    startend_row_indices: Any,
    causal: bool,
    window_size: Any,
    softmax_scale: float | None,
    mask: Any,
) -> tuple[np.ndarray, np.ndarray]:
    lengths = arguments.lengths_of(query, key, value)
    mask_list = _masks(lengths, startend_row_indices, causal, window_size, mask)
    heads = query.shape[2]
    out = np.empty((lengths.batch, lengths.query, heads, value.shape[3]), query.dtype)
    lse_type = np.float64 if query.dtype == np.float64 else np.float32
    lse = np.empty((lengths.batch, heads, lengths.query), lse_type)
    _core.attention_forward(
        *map(_bits, (query, key, value, out, lse)),
        masks=mask_list,
        scale=softmax_scale,
        bfloat16=_is_bfloat16(query),
    )
    return out, lse


def _masks(
    lengths: Lengths, startend_row_indices: Any, causal: bool, window_size: Any, mask: Any
) -> list[Mask]:
    """The masks of a call on numpy arrays: 1 or B."""
    arguments.check_one_mask(startend_row_indices, causal, window_size, mask)
    if mask is not None:
        return arguments.mask_list(mask, lengths.batch)
    offset = lengths.key - lengths.query
    if startend_row_indices is not None:
        (indices,) = _numpy(startend_row_indices)
        arguments.check_indices(indices, lengths)
        return [masks.from_startend_row_indices(row, lengths.query, causal) for row in indices]
    if window_size is not None:
        pair = arguments.window_pair(window_size)
        columns = arguments.window_columns(pair, causal, lengths, np)
        return [arguments.column_mask(columns[0], lengths.query, causal, offset)]
    if causal:
        return [masks.causal_with_offset(lengths.query, lengths.key, offset)]
    return [masks.full(lengths.query, lengths.key)]


def _numpy(*arrays: Any) -> list[np.ndarray]:
    """numpy's views of DLPack arrays; numpy arrays as they are."""
    views = []
    for array in arrays:
        if not isinstance(array, np.ndarray):
            if not hasattr(array, "__dlpack__"):
                raise ValueError(
                    f"flashmask_attention: found {type(array).__name__}; expected numpy arrays, "
                    "CPU torch tensors, or other arrays with __dlpack__"
                )
            array = np.from_dlpack(array)
        views.append(array)
    return views


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _is_bfloat16(array: np.ndarray) -> bool:
    return array.dtype.name == "bfloat16"


def _bits(array: np.ndarray) -> np.ndarray:
    """bfloat16 of ml_dtypes as its bits: numpy cannot pass the type on."""
    return array.view(np.uint16) if _is_bfloat16(array) else array
