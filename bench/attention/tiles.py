"""What the benchmark knows about a mask before anything runs: pairs, tiles, intervals.

All of it comes from the columns in O(S) time and memory a head, with numpy alone. The visible rows
of a key are a few intervals: what causality and the masked intervals leave over.
"""
import functools

import numpy as np


def column_gaps(mask, batch, head):
    """Visible rows of every key as sorted, disjoint intervals: begins and ends, [gaps, S] each.

    Some may be empty; there are as many gaps as all keys together need at most.
    """
    masked = _masked_rows(mask, batch, head)
    length, count = mask.length, len(masked)
    begins, ends = np.zeros((count + 1, length), np.int64), np.full((count + 1, length), length)
    if not masked:
        return begins, ends
    masked = np.stack([np.stack(m) for m in masked])  # [count, 2, S]
    masked = np.where(masked[:, :1] < masked[:, 1:], masked, length)
    masked = np.take_along_axis(masked, np.argsort(masked[:, :1], axis=0), axis=0)
    for gap in range(count):
        ends[gap] = np.maximum(begins[gap], masked[gap, 0])
        begins[gap + 1] = np.maximum(begins[gap], masked[gap, 1])
    return begins, ends


def _masked_rows(mask, batch, head):
    """Masked intervals of rows, (begin, end) with [S] each, in no order."""
    length = mask.length
    whole, none = np.full(length, length), np.zeros(length, np.int64)
    masked = [(none, np.arange(length))] if mask.causal else []
    if mask.columns is None:
        return masked
    columns = list(mask.columns[batch, head].astype(np.int64).T)  # [S] each
    if len(columns) == 1:
        return masked + [(columns[0], whole)]
    if len(columns) == 2 and not mask.causal:
        return masked + [(columns[0], whole), (none, columns[1])]
    return masked + list(zip(columns[::2], columns[1::2]))


def masks_of(mask):
    """The (batch, head) pairs of a mask's own axes."""
    return [(b, h) for b in range(mask.batches) for h in range(mask.heads)]


def visible_pairs(mask, batch, heads):
    """Pairs that attention with this many batch rows and query heads has to do."""
    if mask.columns is None:
        length = mask.length
        return batch * heads * (length * (length + 1) // 2 if mask.causal else length * length)
    total = 0
    for b, h in masks_of(mask):
        begins, ends = column_gaps(mask, b, h)
        total += int((ends - begins).sum())
    return total * (batch // mask.batches) * (heads // mask.heads)


@functools.lru_cache(maxsize=8)
def tile_classes(mask, rows, keys):
    """live and full tiles, bool [batches, heads, row tiles, key tiles] each.

    A tile is live when some pair is visible, full when it lies inside and all pairs are.
    """
    length = mask.length
    shape = (-(-length // rows), -(-length // keys))
    live = np.zeros((mask.batches, mask.heads, *shape), bool)
    full = np.zeros_like(live)
    for b, h in masks_of(mask):
        begins, ends = column_gaps(mask, b, h)
        live[b, h] = _touched(begins, ends, rows, keys, shape)
        full[b, h] = ~_touched(ends[:-1], begins[1:], rows, keys, shape)
    if length % rows:
        full[:, :, -1] = False
    if length % keys:
        full[:, :, :, -1] = False
    return live, full


def _touched(begins, ends, rows, keys, shape):
    """Tiles [row tiles, key tiles] that hold a pair of these intervals of rows, [n, S] each."""
    there = begins < ends
    key_tile = np.broadcast_to(np.arange(begins.shape[1]) // keys, begins.shape)[there]
    width = shape[0] + 1
    size = shape[1] * width
    edges = np.bincount(key_tile * width + begins[there] // rows, minlength=size)
    edges -= np.bincount(key_tile * width + (ends[there] - 1) // rows + 1, minlength=size)
    return (np.cumsum(edges.reshape(shape[1], width), axis=1)[:, :-1] > 0).T


def live_tile_pairs(mask, batch, heads, rows, keys):
    """Pairs in live tiles, over all batch rows and query heads: what a tiled kernel computes."""
    live, _ = tile_classes(mask, rows, keys)
    return int(live.sum()) * rows * keys * (batch // mask.batches) * (heads // mask.heads)


@functools.lru_cache(maxsize=8)
def row_intervals(mask, most=8):
    """Visible keys of every row as sorted intervals: int32 [batches, heads, S, count, 2].

    None when some row has more than `most` of them. Missing intervals are empty, at the end.
    """
    found = []
    for b, h in masks_of(mask):
        begins, ends = column_gaps(mask, b, h)
        starts = _changes(begins, ends, mask.length, most, opening=True)
        stops = _changes(begins, ends, mask.length, most, opening=False)
        if starts is None or stops is None:
            return None
        found.append((starts, stops))
    counts = [np.bincount(rows, minlength=mask.length) for (rows, _), _ in found]
    count = max(1, max(int(c.max()) for c in counts))
    if count > most:
        return None
    table = np.full((len(found), mask.length, count, 2), mask.length, np.int32)
    for at, ((start_rows, start_keys), (_, stop_keys)) in enumerate(found):
        first = np.concatenate([[0], np.cumsum(counts[at])])
        place = np.arange(len(start_rows)) - first[start_rows]
        table[at, start_rows, place, 0] = start_keys
        table[at, start_rows, place, 1] = stop_keys
    return table.reshape(mask.batches, mask.heads, mask.length, count, 2)


def _changes(begins, ends, length, most, opening):
    """(rows, keys) where a run of visible keys opens, or closes, sorted by row and key."""
    dark = np.full((len(begins), 1), length)  # keys before the first and after the last: unseen
    begins, ends = (np.concatenate([dark, side, dark], axis=1) for side in (begins, ends))
    seen, hidden = (slice(1, None), slice(None, -1)) if opening else (slice(None, -1),
                                                                    slice(1, None))
    key = np.arange(length + 1)
    low, high, keys = [], [], []
    hidden_begins = np.concatenate([np.zeros((1, length + 1), np.int64), ends[:, hidden]])
    hidden_ends = np.concatenate([begins[:, hidden], np.full((1, length + 1), length)])
    for seen_begin, seen_end in zip(begins[:, seen], ends[:, seen]):
        for hidden_begin, hidden_end in zip(hidden_begins, hidden_ends):
            begin, end = np.maximum(seen_begin, hidden_begin), np.minimum(seen_end, hidden_end)
            there = begin < end
            low.append(begin[there])
            high.append(end[there])
            keys.append(key[there])
    low, high, keys = (np.concatenate(x) for x in (low, high, keys))
    sizes = high - low
    if sizes.sum() > most * length:
        return None
    offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows, keys = np.repeat(low, sizes) + offsets, np.repeat(keys, sizes)
    order = np.lexsort((keys, rows))
    return rows[order], keys[order]
