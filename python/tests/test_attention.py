"""flashmask_attention on numpy arrays, against attention in plain numpy and float64."""

import numpy as np
import pytest

import heddle
from heddle import masks
from oracle import attention, inputs, random_indices, visible_by_columns

FORMS = [(True, 1), (True, 2), (False, 2), (False, 4)]
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5, np.float16: 4e-3}


def assert_close(found, expected, tolerance):
    out, lse = found
    expected_out, expected_lse = expected
    np.testing.assert_allclose(np.asarray(out, np.float64), expected_out, rtol=0, atol=tolerance)
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=max(tolerance / 10, 1e-12))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("causal, n", FORMS)
@pytest.mark.parametrize(
    "heads, kv_heads, mask_heads", [(2, 2, 1), (4, 2, 2), (4, 1, 1), (8, 2, 1)]
)
def test_startend_row_indices(dtype, causal, n, heads, kv_heads, mask_heads):
    random = np.random.default_rng(heads + n)
    for query_length, key_length, mask_batch in [(17, 17, 1), (33, 70, 2), (40, 9, 2), (1, 5, 1)]:
        arrays = [
            x.astype(dtype)
            for x in inputs(random, 2, query_length, key_length, heads, kv_heads, 16)
        ]
        indices = random_indices(
            random, mask_batch, mask_heads, query_length, key_length, n, causal
        )
        found = heddle.flashmask_attention(*arrays, indices, causal=causal, return_softmax_lse=True)
        visible = visible_by_columns(indices, query_length, causal)
        assert found[0].dtype == dtype and found[0].shape == (2, query_length, heads, 16)
        assert found[1].shape == (2, heads, query_length)
        assert found[1].dtype == (np.float64 if dtype == np.float64 else np.float32)
        assert_close(found, attention(*arrays, visible), TOLERANCE[dtype])


@pytest.mark.parametrize("causal", [False, True])
def test_without_a_mask(causal):
    arrays = inputs(np.random.default_rng(1), 2, 5, 8, 4, 2, 16, value_dim=24)
    row, key = np.arange(5)[:, None], np.arange(8)
    visible = np.broadcast_to((key <= row + 3) | (not causal), (1, 1, 5, 8))
    found = heddle.flashmask_attention(
        *arrays, causal=causal, return_softmax_lse=True, softmax_scale=0.3
    )
    assert_close(found, attention(*arrays, visible, scale=0.3), 1e-12)
    assert np.array_equal(
        found[0], heddle.flashmask_attention(*arrays, causal=causal, softmax_scale=0.3)
    )


@pytest.mark.parametrize("key_length", [12, 17])
@pytest.mark.parametrize("window", [0, 3, (2, 4), [30, 0]])
@pytest.mark.parametrize("causal", [False, True])
def test_window_sees_one_more_than_its_size(key_length, window, causal):
    arrays = inputs(np.random.default_rng(2), 1, 12, key_length, 2, 2, 16)
    left, right = (window, window) if isinstance(window, int) else window
    row, key = np.arange(12)[:, None] + key_length - 12, np.arange(key_length)
    visible = (key >= row - left) & (key <= row + (0 if causal else right))
    found = heddle.flashmask_attention(
        *arrays, causal=causal, window_size=window, return_softmax_lse=True
    )
    assert_close(found, attention(*arrays, visible[None, None]), 1e-12)
    if causal and key_length == 12:
        mask = masks.sliding_window(12, left + 1)
        assert np.array_equal(found[0], heddle.flashmask_attention(*arrays, mask=mask))


def test_mask_argument():
    random = np.random.default_rng(3)
    arrays = inputs(random, 2, 20, 20, 4, 2, 16)
    one, other = masks.causal_document([7, 13]), masks.random_eviction(20, 6, heads=2, seed=5)
    visible = [np.broadcast_to(m.to_dense(), (2, 20, 20)) for m in (one, other)]
    cases = {
        one: np.stack([visible[0], visible[0]]),
        one.plan(16, 16): np.stack([visible[0], visible[0]]),
        (one, other): np.stack(visible),
        (other.plan(64, 64), one): np.stack(visible[::-1]),
    }
    for mask, dense in cases.items():
        found = heddle.flashmask_attention(*arrays, mask=mask, return_softmax_lse=True)
        assert_close(found, attention(*arrays, dense), 1e-12)


def test_rows_that_see_nothing():
    arrays = inputs(np.random.default_rng(4), 1, 8, 8, 2, 1, 16)
    mask = masks.valid_rows(8, 8, 5)
    out, lse = heddle.flashmask_attention(*arrays, mask=mask, return_softmax_lse=True)
    assert (out[:, 5:] == 0).all() and (lse[:, :, 5:] == -np.inf).all()
    d_q, d_k, d_v = heddle.flashmask_attention_backward(
        np.ones_like(out), *arrays, out, lse, mask=mask
    )
    assert (d_q[:, 5:] == 0).all() and np.isfinite(d_k).all() and np.isfinite(d_v).all()


def test_what_the_mask_hides_does_not_leak():
    query, key, value = inputs(np.random.default_rng(5), 1, 150, 150, 2, 2, 16)
    mask = masks.document([100, 50])
    clean = heddle.flashmask_attention(query, key, value, mask=mask)
    key[:, 100:], value[:, 100:] = 1e4, -1e4
    poisoned = heddle.flashmask_attention(query, key, value, mask=mask)
    assert np.array_equal(clean[:, :100], poisoned[:, :100])


@pytest.mark.parametrize("causal, n", FORMS)
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_gradients_against_finite_differences(causal, n, kv_heads):
    random = np.random.default_rng(6)
    arrays = inputs(random, 2, 9, 11, 2, kv_heads, 4, value_dim=3)
    indices = random_indices(random, 1, kv_heads, 9, 11, n, causal)
    options = {"startend_row_indices": indices, "causal": causal, "softmax_scale": 0.7}
    out, lse = heddle.flashmask_attention(*arrays, **options, return_softmax_lse=True)
    d_out = random.standard_normal(out.shape)
    gradients = heddle.flashmask_attention_backward(d_out, *arrays, out, lse, **options)
    for array, gradient in zip(arrays, gradients):
        direction = random.standard_normal(array.shape)
        differences = []
        for step in (1e-5, -1e-5):
            moved = [x + step * direction if x is array else x for x in arrays]
            differences.append((heddle.flashmask_attention(*moved, **options) * d_out).sum())
        assert (differences[0] - differences[1]) / 2e-5 == pytest.approx(
            (gradient * direction).sum(), rel=1e-7
        )


def test_gradients_of_float32_and_16():
    random = np.random.default_rng(7)
    exact = inputs(random, 1, 70, 70, 4, 2, 32)
    mask = masks.causal_document([30, 40])
    d_out = random.standard_normal((1, 70, 4, 32))

    def gradients(dtype):
        arrays = [x.astype(dtype) for x in exact]
        out, lse = heddle.flashmask_attention(*arrays, mask=mask, return_softmax_lse=True)
        return heddle.flashmask_attention_backward(
            d_out.astype(dtype), *arrays, out, lse, mask=mask
        )

    for dtype, tolerance in [(np.float32, 1e-4), (np.float16, 0.05)]:
        for found, expected in zip(gradients(dtype), gradients(np.float64)):
            assert found.dtype == dtype
            np.testing.assert_allclose(found.astype(np.float64), expected, rtol=0, atol=tolerance)


Q = np.zeros((2, 8, 4, 16), np.float32)
I1 = np.full((1, 1, 8, 1), 8, np.int32)


@pytest.mark.parametrize(
    "arguments, options, text",
    [
        ((Q, Q, Q[0]), {}, "value [8, 4, 16]; expected [B, S, H, D]"),
        ((Q[:, :0], Q, Q), {}, "query [2, 0, 4, 16], key [2, 8, 4, 16]"),
        ((Q, Q[:1], Q), {}, "key [1, 8, 4, 16]"),
        (
            (Q, Q[:, :, :3], Q[:, :, :3]),
            {},
            "q has H=4 heads, k has K=3; expected H to be a multiple",
        ),
        ((Q, Q.astype(float), Q), {}, "k is f64 [8, 4, 16]; expected f32 [8, 4, 16]"),
        ((Q[..., ::2], Q, Q), {}, "attention: innermost stride of q is 2; expected 1"),
        ((Q.astype(np.int32),) * 3, {}, "attention: q is i32; expected f64, f32, f16 or bf16"),
        ((Q.astype(np.complex64),) * 3, {}, "query has elements of type"),
        (([[1.0]], Q, Q), {}, "found list; expected numpy arrays"),
        ((Q, Q, Q, I1), {}, "found 1 columns; expected 2 or 4 without causal"),
        (
            (Q, Q, Q, I1[:, :, :7]),
            {"causal": True},
            "found [1, 1, 7, 1]; expected [2 or 1, mask_heads, 8",
        ),
        ((Q, Q, Q, I1.repeat(3, 1)), {"causal": True}, "mask has 3 heads; expected 1 or K = 4"),
        ((Q, Q, Q, I1.astype(np.int64)), {"causal": True}, "found i64 [1, 8, 1]; expected i32"),
        ((Q, Q, Q, I1 + 1), {"causal": True}, "masks rows [lts=9, lte=8); expected 0 <= lts"),
        (
            (Q, Q, Q, I1),
            {"causal": True, "window_size": 2},
            "found startend_row_indices and window_size",
        ),
        ((Q, Q, Q), {"causal": True, "mask": masks.causal(8)}, "expected mask alone"),
        ((Q, Q, Q), {"mask": masks.causal(9)}, "mask is 9 × 9; expected Tq × Tk = 8 × 8"),
        ((Q, Q, Q), {"mask": [masks.causal(8)] * 3}, "found 3 masks; expected 1 or B = 2"),
        ((Q, Q, Q), {"mask": np.ones((8, 8), bool)}, "mask is ndarray; expected a ColumnMask"),
        ((Q, Q, Q), {"window_size": -1}, "window_size is -1; expected a number or a pair"),
        ((Q, Q, Q), {"window_size": (1, 2, 3)}, "window_size is (1, 2, 3)"),
        ((Q, Q, Q), {"softmax_scale": float("nan")}, "scale is nan; expected a finite number"),
    ],
)
def test_errors_say_found_and_expected(arguments, options, text):
    with pytest.raises(ValueError) as error:
        heddle.flashmask_attention(*arguments, **options)
    assert text in str(error.value)
