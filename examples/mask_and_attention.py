"""The two C++ examples in Python: a mask of one's own, attention under it, and its gradient."""

import numpy as np

import heddle
from heddle import ColumnMask, masks


def sink_window(length: int, sinks: int, window: int) -> ColumnMask:
    """Row i sees keys j < sinks and the last `window` keys, itself included; causal."""
    keys = np.arange(length)
    # The column is hidden from row `lts` on; the rows before the diagonal are hidden by `causal`.
    lts = np.where(keys < sinks, length, np.minimum(keys + window, length))
    return ColumnMask(length, length, causal=True, lts=lts)


def main() -> None:
    mask = sink_window(16, sinks=2, window=4)
    print(mask, mask.picture(), sep="\n")
    packed = mask & masks.causal_document([10, 6])
    print(packed, packed.plan(4, 4), sep="\n")

    random = np.random.default_rng(1)
    query = random.standard_normal((1, 16, 4, 8))  # [B, S, H, D]
    key = random.standard_normal((1, 16, 2, 8))  # [B, Sk, K, D]
    value = random.standard_normal((1, 16, 2, 8))  # [B, Sk, K, Dv]
    out, lse = heddle.flashmask_attention(query, key, value, mask=packed, return_softmax_lse=True)
    # A row that sees one key alone takes that key's value: the first token of each document.
    print("first token of document 2: out - v =", np.abs(out[0, 10, 0] - value[0, 10, 0]).max())

    d_out = random.standard_normal(out.shape)
    _, d_key, _ = heddle.flashmask_attention_backward(
        d_out, query, key, value, out, lse, mask=packed
    )
    step = 1e-5
    moved = key.copy()
    moved[0, 3, 0, 0] += step
    after = heddle.flashmask_attention(query, moved, value, mask=packed)
    moved[0, 3, 0, 0] -= 2 * step
    before = heddle.flashmask_attention(query, moved, value, mask=packed)
    difference = ((after - before) * d_out).sum() / (2 * step)
    agrees = abs(difference - d_key[0, 3, 0, 0]) < 1e-6
    print(f"d_key by gradient {d_key[0, 3, 0, 0]:.6f}, by difference {difference:.6f}:", end=" ")
    print("agree" if agrees else "DIFFER")
    if not agrees:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
