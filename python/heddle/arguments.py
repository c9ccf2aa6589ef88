"""The arguments that numpy and torch calls share: lengths, and the many ways to say which mask.

Arrays here are numpy arrays or torch tensors alike; `library` is the module that makes new ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence, Union

from heddle._core import ColumnMask, MaskPlan

Mask = Union[ColumnMask, MaskPlan]


class Lengths(NamedTuple):
    """Of query [B, S, H, D], key [B, Sk, K, D] and value [B, Sk, K, Dv]."""

    batch: int
    query: int
    key: int


def lengths_of(query: Any, key: Any, value: Any) -> Lengths:
    """Checks that the three have four axes, none empty, and one batch size."""
    shapes = [tuple(query.shape), tuple(key.shape), tuple(value.shape)]
    if any(len(shape) != 4 or 0 in shape or shape[0] != shapes[0][0] for shape in shapes):
        found = ", ".join(f"{name} {list(s)}" for name, s in zip(("query", "key", "value"), shapes))
        raise ValueError(
            f"flashmask_attention: found {found}; expected [B, S, H, D], [B, Sk, K, D], "
            "[B, Sk, K, Dv] with no axis of length 0"
        )
    return Lengths(shapes[0][0], shapes[0][1], shapes[1][1])


def check_one_mask(startend_row_indices: Any, causal: bool, window_size: Any, mask: Any) -> None:
    """Refuses two descriptions of one mask."""
    if startend_row_indices is not None and window_size is not None:
        raise ValueError(
            "flashmask_attention: found startend_row_indices and window_size; expected one of them"
        )
    if mask is not None and (startend_row_indices is not None or causal or window_size is not None):
        raise ValueError(
            "flashmask_attention: found mask beside startend_row_indices, causal or window_size; "
            "expected mask alone, which says all of it"
        )


def mask_list(mask: Mask | Sequence[Mask], batch: int) -> list[Mask]:
    """`mask=` as a list of 1 or B."""
    masks: list[Any] = list(mask) if isinstance(mask, (list, tuple)) else [mask]
    if len(masks) not in (1, batch):
        raise ValueError(
            f"flashmask_attention: found {len(masks)} masks; expected 1 or B = {batch}"
        )
    for one in masks:
        if not isinstance(one, (ColumnMask, MaskPlan)):
            raise ValueError(
                f"flashmask_attention: mask is {type(one).__name__}; expected a ColumnMask, a "
                "MaskPlan, or a list of B of them. Hint: heddle.masks.from_dense takes dense masks"
            )
    return masks


def check_indices(indices: Any, lengths: Lengths) -> None:
    """startend_row_indices is [B or 1, mask_heads, Sk, n]; the rest is checked with its mask."""
    shape = tuple(indices.shape)
    if len(shape) != 4 or shape[0] not in (1, lengths.batch) or shape[2] != lengths.key:
        raise ValueError(
            f"startend_row_indices: found {list(shape)}; expected [{lengths.batch} or 1, "
            f"mask_heads, {lengths.key}, 1, 2 or 4]"
        )


def window_pair(window_size: int | Sequence[int]) -> tuple[int, int]:
    """FlashMask's window as (left, right)."""
    pair = (window_size, window_size) if isinstance(window_size, int) else tuple(window_size)
    if len(pair) != 2 or pair[0] < 0 or pair[1] < 0:
        raise ValueError(
            f"flashmask_attention: window_size is {window_size}; expected a number or a pair "
            "(left, right), 0 or more"
        )
    return pair


def window_columns(
    pair: tuple[int, int], causal: bool, lengths: Lengths, library: Any, **device: Any
) -> Any:
    """FlashMask's window as its columns [1, 1, Sk, n]: row i sees keys i - left … i + right.

    Both ends are included and the row's own key comes on top, so a window of w sees w + 1 keys;
    with `causal` right is 0. Rows are counted from the bottom right, which FlashMask leaves open.
    """
    row = library.arange(lengths.key, dtype=library.int32, **device) - (lengths.key - lengths.query)
    columns = [row + (pair[0] + 1)] if causal else [row + (pair[0] + 1), row - pair[1]]
    return library.stack(columns, -1).clip(0, lengths.query)[None, None]


def column_mask(columns: Any, query_length: int, causal: bool, offset: int) -> ColumnMask:
    """A mask from columns [mask_heads, Sk, n] in FlashMask's order, the diagonal anywhere.

    Beyond FlashMask's forms, four columns may go with causal.
    """
    heads, keys, n = columns.shape
    order = {1: ["lts"], 2: ["lts", "lte" if causal else "ute"], 4: ["lts", "lte", "uts", "ute"]}
    bounds = {name: columns[:, :, at] for at, name in enumerate(order[n])}
    return ColumnMask(query_length, keys, heads, causal, offset, **bounds)
