"""Builders of masks, masks from other forms, and new masks from old ones.

Rows are queries, columns are keys; every builder takes O(T) time and memory. Each returns a
heddle.ColumnMask and raises ValueError for what it refuses. docs/mask.md has the picture of each.
"""

from __future__ import annotations

import numpy as np

from heddle._core import (
    ColumnMask,
    causal,
    causal_blockwise,
    causal_document,
    causal_with_offset,
    cross_document,
    document,
    from_dense,
    from_startend_row_indices,
    full,
    global_sliding,
    hash_buckets,
    hash_sparse,
    image_prefix_window,
    intersect,
    local_window,
    prefix_lm_causal,
    prefix_lm_document,
    prefix_tree,
    qk_sparse,
    random_eviction,
    select_rows,
    shared_question,
    sliding_window,
    tree_positions,
    valid_rows,
)

__all__ = [
    "causal",
    "causal_blockwise",
    "causal_document",
    "causal_with_offset",
    "cross_document",
    "document",
    "from_dense",
    "from_startend_row_indices",
    "full",
    "global_sliding",
    "hash_buckets",
    "hash_sparse",
    "image_prefix_window",
    "intersect",
    "local_window",
    "prefix_lm_causal",
    "prefix_lm_document",
    "prefix_tree",
    "qk_sparse",
    "random_eviction",
    "select_rows",
    "shared_question",
    "sliding_window",
    "to_startend_row_indices",
    "tree_positions",
    "valid_rows",
]


def to_startend_row_indices(mask: ColumnMask) -> np.ndarray:
    """The mask as FlashMask's tensor of one batch row, int32 [heads, Tk, n]; give mask.causal too.

    n is 1 or 2 (LTS, LTE) with causal; without it 2 (LTS, UTE) or 4 (LTS, LTE, UTS, UTE).
    ValueError for a causal mask that FlashMask cannot say: a second interval, or a diagonal elsewhere than at
    the bottom right.
    """
    if mask.causal and (mask.ute is not None or mask.offset != mask.key_length - mask.query_length):
        raise ValueError(
            f"to_startend_row_indices: found {mask!r}; expected a causal mask with one interval a "
            "column and the diagonal at the bottom right. Hint: pass it as mask="
        )
    if mask.causal:
        names = ["lts"] if mask.lte is None else ["lts", "lte"]
    else:
        names = ["lts", "lte", "uts", "ute"]
        if mask.lte is None and mask.uts is None:
            names = ["lts", "ute"]
    indices = np.empty((mask.heads, mask.key_length, len(names)), np.int32)
    for at, name in enumerate(names):
        bound = getattr(mask, name)
        default = mask.query_length if name in ("lts", "lte") else 0
        indices[:, :, at] = default if bound is None else bound
    return indices
