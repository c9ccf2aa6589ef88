#!/usr/bin/env python3
"""The mask families of the attention benchmark, each defined once.

A mask is FlashMask's startend_row_indices: int32 columns [batches, heads, S, n], half-open
intervals of query rows that may NOT see the key (LTS | LTS, LTE | LTS, UTE | LTS, LTE, UTS, UTE),
or nothing for `full` and `causal`. Beside it stand the forms that other libraries want: the element
test (`visible`, closed where arithmetic alone says it), document lengths and the window.

  families.py --self-test       columns, element test and definition agree for S = 64 ... 300
  families.py --list            families and their parameters at 8K, 32K and 128K
"""
import argparse
import json
from dataclasses import dataclass, field

import numpy as np

FAMILIES = (
    "full", "causal", "sliding_window", "causal_document", "document", "shared_question",
    "global_sliding", "causal_blockwise", "prefix_lm_document", "prefix_lm_causal", "qk_sparse",
    "hash_sparse", "random_eviction",
)
CAUSAL = {"causal", "sliding_window", "causal_document", "shared_question", "causal_blockwise",
          "qk_sparse", "random_eviction"}
CLOSED = {"full", "causal", "sliding_window", "global_sliding", "prefix_lm_causal"}


@dataclass(frozen=True, eq=False)
class Mask:
    """One mask of S × S pairs, shared by the batch and the heads where its axes are 1."""

    family: str
    length: int
    columns: np.ndarray | None  # [batches, heads, S, n]
    scalars: tuple = ()  # of a closed form
    documents: list | None = None  # lengths of each batch row, where varlen attention is this mask
    parameters: list = field(default_factory=list)  # of each batch row

    @property
    def causal(self):
        return self.family in CAUSAL

    @property
    def batches(self):
        return 1 if self.columns is None else self.columns.shape[0]

    @property
    def heads(self):
        return 1 if self.columns is None else self.columns.shape[1]

    @property
    def form(self):
        """The name of the element test: a closed form, or which columns it reads."""
        return self.family if self.family in CLOSED else self.column_form

    @property
    def column_form(self):
        if self.columns is None:
            return self.family
        return f"{'causal' if self.causal else 'both'}_{self.columns.shape[3]}"


def visible(form, row, key, scalars=(), bounds=()):
    """Whether row sees key, on numbers, numpy arrays and torch tensors alike.

    scalars are those of a closed form; bounds are the columns' values at the key.
    """
    if form == "causal":
        return row >= key
    if form == "sliding_window":
        (window,) = scalars
        return (row >= key) & (row < key + window)
    if form == "global_sliding":
        globals_, window = scalars
        near = (row - key < window) & (key - row < window)
        return (row < globals_) | (key < globals_) | near
    if form == "prefix_lm_causal":
        (prefix,) = scalars
        return (row >= key) | (key < prefix)
    if form == "causal_1":
        return (row >= key) & (row < bounds[0])
    if form == "causal_2":
        return (row >= key) & ((row < bounds[0]) | (row >= bounds[1]))
    if form == "both_2":
        return (row < bounds[0]) & (row >= bounds[1])
    if form == "both_4":
        lower = (row < bounds[0]) | (row >= bounds[1])
        return lower & ((row < bounds[2]) | (row >= bounds[3]))
    if form == "full":
        return (row >= 0) & (key >= 0)
    raise ValueError(f"visible: form is '{form}'; expected a closed form or causal_1 ... both_4")


def build(family, length, parameters):
    """The mask of one list of parameters for each batch row, or of a single one for all."""
    rows = [_columns(family, length, p) for p in parameters]
    documents = None
    if family in ("causal_document", "document"):
        documents = [p["documents"] for p in parameters]
    scalars = tuple(parameters[0][name] for name in ("globals", "window", "prefix")
                    if name in parameters[0]) if family in CLOSED else ()
    columns = None if rows[0] is None else np.stack(rows).astype(np.int32)
    return Mask(family, length, columns, scalars, documents, list(parameters))


def _columns(family, length, p):
    """Columns [heads, S, n] of one batch row."""
    key = np.arange(length)
    if family in ("full", "causal"):
        return None
    if family == "sliding_window":
        return np.minimum(key + p["window"], length)[None, :, None]
    if family == "global_sliding":
        return _global_sliding(length, p["globals"], p["window"])
    if family == "prefix_lm_causal":
        return _stack(np.full(length, length), np.where(key < p["prefix"], 0, key))
    if family == "shared_question":
        return _shared_question(length, p["groups"])
    if family == "hash_sparse":
        return _hash_sparse(length, p["buckets"], p["seed"])
    if family == "random_eviction":
        return _random_eviction(length, p["budget"], p["heads"], p["seed"])
    start, end, number = _document_bounds(p["documents"])
    if family == "causal_document":
        return end[None, :, None]
    if family == "document":
        return _stack(end, start)
    if family == "causal_blockwise":
        last = number == len(p["documents"]) - 1
        own = last | (end == start[-1])  # up to the last document nothing lies between
        return _stack(np.where(own, length, end), np.where(own, length, start[-1]))
    if family == "prefix_lm_document":
        prefix = start + np.asarray(p["prefixes"])[number]
        return _stack(end, np.where(key < prefix, start, key))
    if family == "qk_sparse":
        dropped = np.isin(number, p["dropped"])
        return _stack(np.where(dropped, key, length), np.where(dropped, end, length))
    raise ValueError(f"families: family is '{family}'; expected one of {', '.join(FAMILIES)}")


def _stack(*columns):
    return np.stack(columns, -1)[None]


def _document_bounds(lengths):
    """Start, end and number of each token's document, [S] each."""
    ends = np.cumsum(lengths)
    number = np.repeat(np.arange(len(lengths)), lengths)
    return (ends - lengths)[number], ends[number], number


def _global_sliding(length, globals_, window):
    key = np.arange(length)
    is_global = key < globals_
    lts = np.where(is_global, length, np.minimum(key + window, length))
    first = np.maximum(key - window + 1, 0)  # of the rows that see the key by the window
    above = ~is_global & (first > globals_)
    return _stack(lts, np.full(length, length), np.where(above, globals_, 0),
                  np.where(above, first, 0))


def _shared_question(length, groups):
    lts = []
    for question, answers in groups:
        begin = len(lts)
        end = begin + question + sum(answers)
        lts += [end] * question
        for answer in answers:
            lts += [len(lts) + answer] * answer
        assert len(lts) == end
    return np.asarray(lts)[None, :, None]


def _hash_sparse(length, buckets, seed):
    """Queries and keys, each sorted by its own hash and then by place; causal in place.

    The first key of a bucket is seen by the whole bucket, so that no row is left without a key.
    """
    rng = np.random.default_rng(seed)
    shared = rng.integers(buckets, size=length)
    row_hash, key_hash = ((np.where(rng.random(length) < 0.9, shared,
                                    rng.integers(buckets, size=length))) for _ in range(2))
    lts, ute = np.zeros(length, np.int64), np.zeros(length, np.int64)
    row_at = key_at = 0
    for bucket in range(buckets):
        rows, keys = np.flatnonzero(row_hash == bucket), np.flatnonzero(key_hash == bucket)
        here = slice(key_at, key_at + len(keys))
        lts[here] = row_at + len(rows)
        ute[here] = row_at + np.searchsorted(rows, keys)
        if len(keys):
            ute[key_at] = row_at
        row_at, key_at = row_at + len(rows), key_at + len(keys)
    return _stack(lts, ute)


def _random_eviction(length, budget, heads, seed):
    """From row `budget` on, each row evicts one older key of those still held, for each head."""
    rng = np.random.default_rng(seed)
    lts = np.full((heads, length), length)
    held = np.tile(np.arange(budget), (heads, 1))
    head = np.arange(heads)
    places = rng.integers(budget, size=(length - budget, heads))
    for row, place in zip(range(budget, length), places):
        lts[head, held[head, place]] = row
        held[head, place] = row
    return lts[:, :, None]


def _partition(rng, total, parts, least=1):
    """Random lengths, `least` or more each, that sum to total."""
    cuts = np.sort(rng.integers(0, total - parts * least + 1, size=parts - 1))
    edges = np.concatenate([[0], cuts, [total - parts * least]])
    return (np.diff(edges) + least).tolist()


def _documents(rng, length, fewest, most):
    parts = min(int(rng.integers(fewest, most + 1)), max(2, length // 16))
    return _partition(rng, length, parts, max(1, length // (8 * parts)))


def _groups(rng, documents, fewest=2, most=6):
    """Each document as a question and answers of about equal length."""
    groups = []
    for length in documents:
        answers = min(int(rng.integers(fewest, most + 1)), length - 1)
        part = length // (answers + 1)
        groups.append([length - part * answers, [part] * answers])
    return groups


def _some_documents(rng, documents, share):
    """Indices of about that share of the documents, the first never among them."""
    count = max(1, round(share * len(documents)))
    return sorted(int(i) for i in 1 + rng.permutation(len(documents) - 1)[:count])


def paper_parameters(family, length, rng, heads):
    """The paper's: windows of S / 16, 16 global tokens, 3-7, 10-14 or 11-15 documents."""
    fewest, most = (3, 7) if length <= 8192 else (10, 14) if length <= 32768 else (11, 15)
    documents = _documents(rng, length, fewest, most)
    seed = int(rng.integers(2**31))
    return {
        "sliding_window": {"window": max(1, length // 16)},
        "causal_document": {"documents": documents},
        "document": {"documents": documents},
        "shared_question": {"groups": _groups(rng, documents)},
        "global_sliding": {"globals": min(16, length // 4), "window": max(1, length // 16)},
        "causal_blockwise": {"documents": documents},
        "prefix_lm_document": {"documents": documents,
                               "prefixes": [max(1, d // 2) for d in documents]},
        "prefix_lm_causal": {"prefix": length // 2},
        "qk_sparse": {"documents": documents, "dropped": _some_documents(rng, documents, 1 / 3)},
        "hash_sparse": {"buckets": 16, "seed": seed},
        "random_eviction": {"budget": length // 2, "heads": heads, "seed": seed},
    }.get(family, {})


def random_parameters(family, length, rng, heads):
    """Anything a user may come with: 2 ... 64 documents, windows of 1 ... S / 2 and so on."""
    documents = _documents(rng, length, 2, 64)
    window = int(np.exp(rng.uniform(np.log(min(64, length / 4)), np.log(length / 2))))
    seed = int(rng.integers(2**31))
    return {
        "sliding_window": {"window": window},
        "causal_document": {"documents": documents},
        "document": {"documents": documents},
        "shared_question": {"groups": _groups(rng, documents, 1, 16)},
        "global_sliding": {"globals": int(rng.integers(1, min(257, length // 4))),
                           "window": window},
        "causal_blockwise": {"documents": documents},
        "prefix_lm_document": {"documents": documents,
                               "prefixes": [int(rng.integers(d + 1)) for d in documents]},
        "prefix_lm_causal": {"prefix": int(rng.integers(length + 1))},
        "qk_sparse": {"documents": documents,
                      "dropped": _some_documents(rng, documents, rng.uniform(0.05, 0.9))},
        "hash_sparse": {"buckets": int(rng.integers(2, 65)), "seed": seed},
        "random_eviction": {"budget": int(rng.integers(max(1, length // 8), length)),
                            "heads": heads, "seed": seed},
    }.get(family, {})


def paper_mask(family, length, seed=0, heads=1):
    """The mask of the paper's table, the same for every batch row."""
    rng = np.random.default_rng([seed, length, FAMILIES.index(family)])
    return build(family, length, [paper_parameters(family, length, rng, heads)])


def random_mask(family, length, seed, heads=1, batches=1):
    """A mask with drawn parameters; with batches > 1 another one for each batch row.

    Closed forms have one mask for all: their scalars are no tensors.
    """
    rng = np.random.default_rng([seed, length, FAMILIES.index(family), 1])
    rows = 1 if family in CLOSED else batches
    return build(family, length,
                 [random_parameters(family, length, rng, heads) for _ in range(rows)])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        import families_check

        families_check.run()
    elif arguments.list:
        for length in (8192, 32768, 131072):
            for family in FAMILIES:
                print(length, family, json.dumps(paper_mask(family, length).parameters))
    else:
        parser.print_help()


if __name__ == "__main__":
    main()
