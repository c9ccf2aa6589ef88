"""ColumnMask, its builders and its algebra in Python."""

import pickle

import numpy as np
import pytest

import heddle
from heddle import ColumnMask, masks
from oracle import visible_by_columns

# Figure 1 of arXiv 2410.01359, N = 10: causal or not, the paper's columns, and the builder's mask.
FIGURE_1 = {
    "sliding window": (True, [[3, 4, 5, 6, 7, 8, 9, 10, 10, 10]], masks.sliding_window(10, 3)),
    "causal document": (True, [[4] * 4 + [7] * 3 + [10] * 3], masks.causal_document([4, 3, 3])),
    "document": (
        False,
        [[4] * 4 + [7] * 3 + [10] * 3, [0] * 4 + [4] * 3 + [7] * 3],
        masks.document([4, 3, 3]),
    ),
    "share question": (
        True,
        [[10] * 4 + [7] * 3 + [10] * 3],
        masks.shared_question([(4, [3, 3])]),
    ),
    "global + sliding": (
        False,
        [
            [10, 10, 4, 5, 6, 7, 8, 9, 10, 10],
            [10] * 10,
            [0] * 2 + [2] * 8,
            [0] * 2 + [2, 2, 3, 4, 5, 6, 7, 8],
        ],
        masks.global_sliding(10, 2, 1, 1),
    ),
    "causal blockwise": (
        True,
        [[4] * 4 + [10] * 6, [7] * 4 + [10] * 6],
        masks.causal_blockwise([4, 3, 3]),
    ),
    "prefix-LM document": (
        False,
        [[3, 3, 3, 5, 5] + [10] * 5, [0, 0, 2, 3, 3, 5, 5, 7, 8, 9]],
        masks.prefix_lm_document([(3, 2), (2, 2), (5, 2)]),
    ),
    "prefix-LM causal": (
        False,
        [[10] * 10, [0] * 5 + [5, 6, 7, 8, 9]],
        masks.prefix_lm_causal(10, 5),
    ),
    "QK-sparse": (
        True,
        [[10, 10, 2, 3, 4, 5, 6, 7, 10, 10], [10, 10, 5, 5, 5, 5, 8, 8, 10, 10]],
        masks.qk_sparse(10, [(2, 5), (6, 8)]),
    ),
    "hash-sparse": (
        False,
        [[2, 2, 4, 5, 5, 8, 8, 9, 10, 10], [0, 0, 1, 3, 4, 4, 5, 7, 8, 9]],
        masks.hash_sparse(10, [2, 2, 4, 5, 5, 8, 8, 9, 10, 10], [0, 0, 1, 3, 4, 4, 5, 7, 8, 9]),
    ),
    "random eviction": (True, [[10, 4, 8, 6, 10, 7, 10, 9, 10, 10]], None),
}


@pytest.mark.parametrize("name", FIGURE_1)
def test_figure_1(name):
    causal, columns, built = FIGURE_1[name]
    indices = np.array(columns, dtype=np.int32).T[None]  # [1, Sk, n]
    mask = masks.from_startend_row_indices(indices, 10, causal)
    names = ("lts", "lte") if causal else ("lts", "lte", "uts", "ute")
    for bound, column in zip(
        ("lts", "ute") if not causal and len(columns) == 2 else names, columns
    ):
        found = getattr(mask, bound)
        assert len(set(column)) == 1 if found is None else found.tolist() == [column]
    assert np.array_equal(mask.to_dense(), visible_by_columns(indices[None], 10, causal)[0])
    assert np.array_equal(
        masks.from_startend_row_indices(masks.to_startend_row_indices(mask), 10, causal).to_dense(),
        mask.to_dense(),
    )
    if built is not None:
        assert np.array_equal(mask.to_dense(), built.to_dense())


def random_mask(random, rows=13, keys=9, heads=1):
    points = np.sort(random.integers(0, rows + 1, (2, heads, keys, 2)).astype(np.int32), axis=-1)
    causal = bool(random.integers(2))
    return ColumnMask(
        rows,
        keys,
        heads,
        causal,
        int(random.integers(-2, 3)) if causal else 0,
        points[0, ..., 0],
        points[0, ..., 1],
        points[1, ..., 0],
        points[1, ..., 1],
    )


@pytest.mark.parametrize("seed", range(20))
def test_every_view_of_a_mask_agrees(seed):
    random = np.random.default_rng(seed)
    mask = random_mask(random, heads=1 + seed % 2)
    dense = mask.to_dense()
    assert dense.dtype == np.bool_ and dense.shape == (mask.heads, 13, 9)
    assert mask.visible_pairs == dense.sum()
    assert mask.density == pytest.approx(dense.mean())
    for head, row in np.ndindex(mask.heads, 13):
        keys = [key for b, e in mask.visible_ranges(head, row) for key in range(b, e)]
        assert keys == np.flatnonzero(dense[head, row]).tolist()
        assert [mask.allowed(head, row, key) for key in range(9)] == dense[head, row].tolist()
    assert np.array_equal(pickle.loads(pickle.dumps(mask)).to_dense(), dense)
    assert mask.nbytes == sum(
        bound.nbytes for bound in (mask.lts, mask.lte, mask.uts, mask.ute) if bound is not None
    )


@pytest.mark.parametrize("seed", range(20))
def test_algebra_is_that_of_dense_masks(seed):
    random = np.random.default_rng(seed)
    one = masks.causal_document([4, 9]) if seed % 2 else masks.sliding_window(13, 4)
    other = masks.valid_rows(13, 13, int(random.integers(14)))
    both = one & other
    assert np.array_equal(both.to_dense(), one.to_dense() & other.to_dense())
    assert np.array_equal(masks.intersect(one, other).to_dense(), both.to_dense())
    rows = np.flatnonzero(random.integers(2, size=13)).astype(np.int32)
    rows = rows if len(rows) else np.array([5], dtype=np.int32)
    for kept in (rows, rows.tolist(), rows.astype(np.int64)):
        assert np.array_equal(one.select_rows(kept).to_dense(), one.to_dense()[:, rows])
    assert np.array_equal(masks.select_rows(one, rows).to_dense(), one.to_dense()[:, rows])
    assert np.array_equal(masks.from_dense(one.to_dense()).to_dense(), one.to_dense())
    assert np.array_equal(masks.from_dense(one.to_dense()[0]).to_dense(), one.to_dense())


def test_plan_classifies_every_tile():
    mask = masks.shared_question([(20, [11, 7, 9]), (6, [5, 5])])
    plan = mask.plan(8, 4)
    dense = mask.to_dense()[0]
    live = {}
    for row_tile, key_tile in np.ndindex(plan.query_tiles, plan.key_tiles):
        tile = dense[8 * row_tile : 8 * row_tile + 8, 4 * key_tile : 4 * key_tile + 4]
        if tile.any():
            live[row_tile, key_tile] = bool(tile.all())
    found = {
        (tile, key): full
        for tile in range(plan.query_tiles)
        for first, count, full in plan.runs_of_query_tile(0, tile)
        for key in range(first, first + count)
    }
    transposed = {
        (row, tile): full
        for tile in range(plan.key_tiles)
        for first, count, full in plan.runs_of_key_tile(0, tile)
        for row in range(first, first + count)
    }
    assert found == live == transposed
    assert plan.full == sum(live.values()) and plan.partial == len(live) - plan.full
    assert plan.skipped == plan.query_tiles * plan.key_tiles - len(live)
    assert plan.nbytes > 0 and plan.tile == (8, 4) and plan.heads == 1
    assert repr(plan).startswith("<heddle.MaskPlan of 8 × 4 tiles")
    assert plan.mask.visible_pairs == mask.visible_pairs


def test_further_builders_against_their_rule():
    row, key = np.arange(12)[:, None], np.arange(12)
    cases = {
        masks.full(12, 12): row >= 0 * key,
        masks.causal_with_offset(12, 12, 3): key <= row + 3,
        masks.local_window(12, 2, 3): (key >= row - 2) & (key <= row + 3),
        masks.global_sliding(12, 2, 3, 1): (row < 2)
        | (key < 2)
        | ((key >= row - 3) & (key <= row + 1)),
        masks.image_prefix_window(12, 4, 3): (key < 4) | ((key <= row) & (key > row - 3)),
        masks.hash_buckets([5, 7], causal=False): (row < 5) == (key < 5),
        masks.hash_sparse(12, [5] * 5 + [12] * 7, [0] * 5 + [5] * 7): (row < 5) == (key < 5),
        masks.cross_document([5, 7], [5, 7]): (row < 5) == (key < 5),
        masks.prefix_tree([(-1, 5), (0, 3), (0, 4)]): (key <= row)
        & ((key < 5) | ((row < 8) == (key < 8))),
    }
    for mask, visible in cases.items():
        assert np.array_equal(mask.to_dense()[0], np.broadcast_to(visible, (12, 12)))
    assert masks.tree_positions([(-1, 3), (0, 2), (0, 1)]).tolist() == [0, 1, 2, 3, 4, 3]
    evicted = masks.random_eviction(12, 4, heads=2, seed=1)
    assert evicted.heads == 2 and (evicted.to_dense().sum(axis=2) <= 4).all()


def test_pictures(tmp_path):
    mask = masks.causal_document([3, 5])
    assert len(mask.picture(columns=40).splitlines()) >= 8
    assert "<svg" in mask._repr_svg_()
    mask.save_svg(tmp_path / "mask.svg", title="two documents")
    mask.save_png(str(tmp_path / "mask.png"))
    assert "two documents" in (tmp_path / "mask.svg").read_text()
    assert (tmp_path / "mask.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert repr(mask) == "<heddle.ColumnMask 8 × 8, causal, density 0.328125, 32 bytes>"
    with pytest.raises(ValueError, match="nowhere"):
        mask.save_svg(tmp_path / "nowhere" / "mask.svg")


def test_absurd_dense_masks_are_refused():
    with pytest.raises(ValueError, match="GiB; expected at most 2. Hint: .*select_rows"):
        masks.causal(1 << 20).to_dense()
    assert heddle.masks.causal(1 << 20).visible_pairs == (1 << 19) * ((1 << 20) + 1)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: masks.document([3, 0]), "document: length 1 is 0; expected at least 1"),
        (lambda: masks.document([3], total=4), "document: lengths add up to 3; expected 4"),
        (lambda: masks.causal(0), "mask: query length is 0; expected 1 … 1073741824"),
        (lambda: masks.sliding_window(4, 0), "sliding-window: window is 0"),
        (lambda: masks.causal(4) & masks.causal(5), "intersect: found 4 × 4 and 5 × 5"),
        (lambda: masks.causal(4).select_rows([2, 1]), "select_rows: found row 1 at place 1"),
        (lambda: masks.causal(4).allowed(0, 4, 0), "mask: row 4; expected below 4"),
        (lambda: masks.causal(4).plan(0, 1), "mask plan: tile is 0 × 1"),
        (lambda: ColumnMask(3, 3, lts=[1, 2]), "mask: lts has 2 values; expected none or 1 heads"),
        (lambda: ColumnMask(3, 2, lts=[1, 4]), "mask: column 1 of head 0 masks rows"),
        (lambda: ColumnMask(3, 2, lts=[1, 2**40]), "lts is neither an array nor a sequence"),
        (lambda: ColumnMask(3, 2, lts=np.array([1, 2**40])), "fit in 32 bits"),
        (lambda: ColumnMask(3, 2, lts=np.ones(2)), "lts is f64; expected i32 or i64"),
        (lambda: masks.from_dense(np.ones((2, 2))), "from_dense: found f64"),
        (lambda: masks.to_startend_row_indices(masks.causal_with_offset(4, 4, 2)), "bottom right"),
        (lambda: masks.from_dense(np.indices((8, 8)).sum(0) % 2 == 0), "from_dense: column 0"),
        (
            lambda: masks.from_startend_row_indices(np.ones((1, 4, 1), np.int32), 4, False),
            "expected 2 or 4 without causal",
        ),
    ],
)
def test_errors_say_found_and_expected(call, text):
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)
