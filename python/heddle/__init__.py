"""Exact attention under column-wise sparse masks.

    import heddle, numpy as np
    mask = heddle.masks.causal_document([3, 5])          # two packed documents
    q = k = v = np.random.rand(1, 8, 4, 64)              # [B, S, H, D]
    out = heddle.flashmask_attention(q, k, v, mask=mask)

Arrays are numpy arrays, CPU torch tensors, or anything else that speaks DLPack; torch is imported
only when its tensors come in. Whatever is refused raises ValueError with what was found and
what was expected.
"""

from heddle import masks
from heddle._core import ColumnMask, MaskPlan, get_num_threads, set_num_threads
from heddle.attention import flashmask_attention, flashmask_attention_backward

__all__ = [
    "ColumnMask",
    "MaskPlan",
    "flashmask_attention",
    "flashmask_attention_backward",
    "get_num_threads",
    "masks",
    "set_num_threads",
]
