"""Exact attention under column-wise sparse masks.

    import heddle, numpy as np
    mask = heddle.masks.causal_document([3, 5])          # two packed documents
    q = k = v = np.random.rand(1, 8, 4, 64)              # [B, S, H, D]
    out = heddle.flashmask_attention(q, k, v, mask=mask)

and translation with a model from a directory:

    heddle.Translator("model").translate(["The disk is full."])

Arrays are numpy arrays, torch tensors of the CPU or a GPU, or anything else on the CPU that speaks
DLPack; torch is imported only when its tensors come in. Whatever is refused raises ValueError with what was found and
what was expected.
"""

from heddle import masks
from heddle._core import ColumnMask, MaskPlan, get_num_threads, set_num_threads
from heddle.attention import flashmask_attention, flashmask_attention_backward
from heddle.translator import Translator

__all__ = [
    "ColumnMask",
    "MaskPlan",
    "Translator",
    "flashmask_attention",
    "flashmask_attention_backward",
    "get_num_threads",
    "masks",
    "set_num_threads",
]
