"""Checks of families.py and tiles.py against definitions written pair by pair. numpy only."""
import numpy as np

import families
import tiles

LENGTHS = (64, 65, 100, 128, 200, 255, 300)
# FlashMask's figure 1, ten tokens: family, parameters, columns
FIGURE = [
    ("sliding_window", {"window": 3}, [[3, 4, 5, 6, 7, 8, 9, 10, 10, 10]]),
    ("causal_document", {"documents": [4, 3, 3]}, [[4] * 4 + [7] * 3 + [10] * 3]),
    ("document", {"documents": [4, 3, 3]},
     [[4] * 4 + [7] * 3 + [10] * 3, [0] * 4 + [4] * 3 + [7] * 3]),
    ("shared_question", {"groups": [[4, [3, 3]]]}, [[10] * 4 + [7] * 3 + [10] * 3]),
    ("global_sliding", {"globals": 2, "window": 2},
     [[10, 10, 4, 5, 6, 7, 8, 9, 10, 10], [10] * 10, [0] * 4 + [2] * 6,
      [0] * 4 + [3, 4, 5, 6, 7, 8]]),
    ("causal_blockwise", {"documents": [4, 3, 3]},
     [[4] * 4 + [10] * 6, [7] * 4 + [10] * 6]),
    ("prefix_lm_document", {"documents": [3, 2, 5], "prefixes": [2, 2, 2]},
     [[3] * 3 + [5] * 2 + [10] * 5, [0, 0, 2, 3, 3, 5, 5, 7, 8, 9]]),
    ("prefix_lm_causal", {"prefix": 5}, [[10] * 10, [0] * 5 + [5, 6, 7, 8, 9]]),
    ("qk_sparse", {"documents": [2, 3, 1, 2, 2], "dropped": [1, 3]},
     [[10, 10, 2, 3, 4, 10, 6, 7, 10, 10], [10, 10, 5, 5, 5, 10, 8, 8, 10, 10]]),
]


def definition(family, length, parameters):
    """Which pairs are visible, bool [S, S], by the family's meaning; None where chance decides."""
    row, key = np.mgrid[:length, :length]
    if family == "full":
        return np.ones((length, length), bool)
    if family == "causal":
        return key <= row
    if family == "sliding_window":
        return (key <= row) & (row - key < parameters["window"])
    if family == "global_sliding":
        chosen = np.minimum(row, key) < parameters["globals"]
        return chosen | (abs(row - key) < parameters["window"])
    if family == "prefix_lm_causal":
        return (key <= row) | (key < parameters["prefix"])
    if family == "shared_question":
        return _shared_question(length, parameters["groups"])
    if family not in ("hash_sparse", "random_eviction"):
        return _with_documents(family, row, key, parameters)
    return None


def _shared_question(length, groups):
    document, part, token = np.zeros(length, int), np.zeros(length, int), 0
    for number, (question, answers) in enumerate(groups):
        for answer, size in enumerate([question, *answers]):
            document[token:token + size], part[token:token + size] = number, answer
            token += size
    row, key = np.mgrid[:length, :length]
    related = (part[key] == 0) | (part[key] == part[row])
    return (key <= row) & (document[key] == document[row]) & related


def _with_documents(family, row, key, parameters):
    lengths = parameters["documents"]
    document = np.repeat(np.arange(len(lengths)), lengths)
    place = np.concatenate([np.arange(n) for n in lengths])
    same = document[row] == document[key]
    if family == "document":
        return same
    if family == "causal_document":
        return same & (key <= row)
    if family == "causal_blockwise":
        return (key <= row) & (same | (document[row] == len(lengths) - 1))
    if family == "prefix_lm_document":
        prefix = np.asarray(parameters["prefixes"])[document]
        return same & ((key <= row) | (place[key] < prefix[key]))
    dropped = np.isin(document, parameters["dropped"])
    return (key <= row) & ~(same & dropped[key])


def from_columns(mask, batch, head):
    """Which pairs are visible, bool [S, S], from the columns' own meaning."""
    length = mask.length
    row, key = np.mgrid[:length, :length]
    seen = (key <= row) if mask.causal else np.ones((length, length), bool)
    if mask.columns is None:
        return seen
    c = mask.columns[batch, head].T  # [n, S]
    if len(c) == 1:
        return seen & (row < c[0][key])
    if len(c) == 2 and not mask.causal:
        return seen & (row < c[0][key]) & (row >= c[1][key])
    for at in range(0, len(c), 2):
        seen &= ~((c[at][key] <= row) & (row < c[at + 1][key]))
    return seen


def from_test(mask, form, batch, head):
    """Which pairs are visible, bool [S, S], from the element test that other libraries get."""
    row, key = np.mgrid[:mask.length, :mask.length]
    bounds = () if mask.columns is None else [c[key] for c in mask.columns[batch, head].T]
    return np.asarray(families.visible(form, row, key, mask.scalars, bounds))


def from_intervals(mask, batch, head, most):
    """Which pairs are visible from tiles.row_intervals; None where it gives up."""
    table = tiles.row_intervals(mask, most)
    if table is None:
        return None
    key = np.arange(mask.length)
    table = table[batch, head][:, :, :, None]  # [S, count, 2, 1]
    return ((table[:, :, 0] <= key) & (key < table[:, :, 1])).any(1)


def check(mask, context):
    """All forms of one mask agree."""
    pairs = 0
    for batch, head in tiles.masks_of(mask):
        dense = from_columns(mask, batch, head)
        pairs += int(dense.sum())
        wanted = definition(mask.family, mask.length, mask.parameters[batch])
        assert wanted is None or (dense == wanted).all(), f"{context}: columns"
        for form in {mask.form, mask.column_form}:
            seen = from_test(mask, form, batch, head)
            assert (dense == seen).all(), f"{context}: element test {form}"
        assert dense.any(1).all() or mask.family == "hash_sparse", f"{context}: an empty row"
        runs = from_intervals(mask, batch, head, mask.length)
        assert (dense == runs).all(), f"{context}: row intervals"
        for rows, keys in ((128, 128), (64, 128), (16, 8)):
            classes = [c[batch, head] for c in tiles.tile_classes(mask, rows, keys)]
            _check_tiles(dense, classes, (rows, keys), context)
    found = tiles.visible_pairs(mask, mask.batches, mask.heads)
    assert found == pairs, f"{context}: {found} pairs; expected {pairs}"


def _check_tiles(dense, classes, shape, context):
    (live, full), (rows, keys) = classes, shape
    for m in range(live.shape[0]):
        for n in range(live.shape[1]):
            tile = dense[m * rows:(m + 1) * rows, n * keys:(n + 1) * keys]
            whole = tile.shape == (rows, keys) and tile.all()
            assert live[m, n] == tile.any() and full[m, n] == whole, f"{context}: tile {m}, {n}"


def check_eviction(mask):
    """Every row sees min(row + 1, budget) keys."""
    for head in range(mask.heads):
        seen = from_columns(mask, 0, head).sum(1)
        wanted = np.minimum(np.arange(mask.length) + 1, mask.parameters[0]["budget"])
        assert (seen == wanted).all(), "random_eviction: budget"


def run():
    count = 0
    for family, parameters, wanted in FIGURE:
        mask = families.build(family, 10, [parameters])
        columns = mask.columns[0, 0].T.tolist()
        assert columns == wanted, f"figure 1, {family}: {columns}"
        check(mask, f"figure 1, {family}")
    for length in LENGTHS:
        for family in families.FAMILIES:
            masks = [families.paper_mask(family, length, seed=length, heads=2)]
            masks += [families.random_mask(family, length, seed, heads=2, batches=1 + seed % 2)
                      for seed in range(6)]
            for seed, mask in enumerate(masks):
                check(mask, f"{family}, S = {length}, mask {seed}")
                count += 1
                if family == "random_eviction":
                    check_eviction(mask)
                if family == "hash_sparse":
                    columns = mask.columns[0, 0]
                    assert (np.diff(columns, axis=0) >= 0).all(), "hash_sparse: columns fall"
    print(f"families: {len(FIGURE)} figures and {count} masks agree")
