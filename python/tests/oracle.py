"""Attention in plain numpy and float64: what the tests compare with."""

import numpy as np


def attention(query, key, value, visible, scale=None):
    """out [B, S, H, Dv] and lse [B, H, S]; visible is bool [B or 1, 1 or K, S, Sk]."""
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (query, key, value))
    group = q.shape[2] // k.shape[2]
    k, v = k.repeat(group, axis=2), v.repeat(group, axis=2)
    if visible.shape[1] > 1:
        visible = visible.repeat(group, axis=1)
    scale = q.shape[3] ** -0.5 if scale is None else scale
    x = np.einsum("bihd,bjhd->bhij", q, k) * scale
    x = np.where(visible, x, -np.inf)  # [B, H, S, Sk]
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.maximum(x.max(axis=-1, keepdims=True), -1e300)
        lse = largest[..., 0] + np.log(np.exp(x - largest).sum(axis=-1))
        weights = np.where(visible, np.exp(x - lse[..., None]), 0)
    return np.einsum("bhij,bjhd->bihd", weights, v), lse


def visible_by_columns(indices, query_length, causal):
    """FlashMask's tensor [B, heads, Sk, n] as bool [B, heads, S, Sk], by its definition."""
    batch, heads, keys, n = indices.shape
    rows = np.arange(query_length)[:, None]
    columns = [indices[..., None, :, c] for c in range(n)]  # each [B, heads, 1, Sk]
    if causal:
        lts, lte = columns[0], columns[1] if n == 2 else query_length
        masked = (rows >= lts) & (rows < lte)
        masked = masked | (rows < np.arange(keys) - (keys - query_length))
    elif n == 2:
        masked = (rows >= columns[0]) | (rows < columns[1])
    else:
        masked = ((rows >= columns[0]) & (rows < columns[1])) | (
            (rows >= columns[2]) & (rows < columns[3])
        )
    return ~masked


def random_indices(random, batch, heads, query_length, key_length, n, causal):
    """Random intervals for every column, some empty and some whole."""
    points = random.integers(0, query_length + 1, (batch, heads, key_length, 4)).astype(np.int32)
    points[:, :, ::7] = query_length
    lts, lte = np.minimum(points[..., 0], points[..., 1]), np.maximum(
        points[..., 0], points[..., 1]
    )
    uts, ute = np.minimum(points[..., 2], points[..., 3]), np.maximum(
        points[..., 2], points[..., 3]
    )
    if n == 1:
        return lts[..., None]
    if n == 4:
        return np.stack([lts, lte, uts, ute], axis=-1)
    return np.stack([lts, lte] if causal else [lte, uts], axis=-1)


def inputs(random, batch, query_length, key_length, heads, kv_heads, dim, value_dim=None):
    """Normal query [B, S, H, D], key [B, Sk, K, D] and value [B, Sk, K, Dv]."""
    return (
        random.standard_normal((batch, query_length, heads, dim)),
        random.standard_normal((batch, key_length, kv_heads, dim)),
        random.standard_normal((batch, key_length, kv_heads, value_dim or dim)),
    )
