"""Arrays go in and out without copies, whatever their strides and their library."""

import gc

import numpy as np
import pytest

import heddle
from heddle import _core, masks
from oracle import inputs


class Producer:
    """An array of some other library: DLPack is all that it speaks."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def views(array):
    """The numbers of one [2, 8, 4, 16] array in other layouts."""
    yield array
    yield np.ascontiguousarray(array.swapaxes(1, 2)).swapaxes(1, 2)
    yield np.concatenate([array, array], axis=2)[:, :, 4:]
    yield np.ascontiguousarray(array[:, ::-1])[:, ::-1]
    frozen = array.copy()
    frozen.flags.writeable = False
    yield frozen


def test_arrays_are_read_where_they_lie():
    for array in views(np.random.default_rng(0).standard_normal((2, 8, 4, 16))):
        assert _core.address(array) == array.__array_interface__["data"][0]
    array = np.zeros((2, 3))
    assert _core.address(Producer(array)) == array.__array_interface__["data"][0]


def test_strides_do_not_change_a_bit():
    arrays = inputs(np.random.default_rng(1), 2, 8, 8, 4, 4, 16)
    expected = heddle.flashmask_attention(*arrays, causal=True)
    for strided in zip(*map(views, arrays)):
        assert np.array_equal(heddle.flashmask_attention(*strided, causal=True), expected)


def test_results_are_written_where_asked():
    arrays = inputs(np.random.default_rng(2), 1, 8, 8, 2, 2, 16)
    mask = masks.causal(8)
    around = np.full((1, 8, 4, 16), 7.0)
    lse = np.empty((1, 2, 8))
    _core.attention_forward(*arrays, around[:, :, 1:3], lse, masks=[mask], scale=None)
    assert np.array_equal(around[:, :, 1:3], heddle.flashmask_attention(*arrays, mask=mask))
    assert (around[:, :, ::3] == 7).all()


def test_other_libraries():
    arrays = inputs(np.random.default_rng(3), 1, 8, 8, 2, 2, 16)
    found = heddle.flashmask_attention(*map(Producer, arrays), causal=True)
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, heddle.flashmask_attention(*arrays, causal=True))


def test_bounds_are_views_that_keep_their_mask():
    mask = masks.causal_document([3, 5])
    first, second = mask.lts, mask.lts
    assert first.__array_interface__["data"][0] == second.__array_interface__["data"][0]
    assert not first.flags.owndata and not first.flags.writeable
    del mask
    gc.collect()
    assert first.tolist() == [[3] * 3 + [8] * 5]


def test_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    exact = [x.astype(bfloat16) for x in inputs(np.random.default_rng(4), 1, 40, 40, 4, 2, 16)]
    out, lse = heddle.flashmask_attention(*exact, causal=True, return_softmax_lse=True)
    plain = [x.astype(np.float64) for x in exact]
    expected, expected_lse = heddle.flashmask_attention(
        *plain, causal=True, return_softmax_lse=True
    )
    assert out.dtype == bfloat16 and lse.dtype == np.float32
    np.testing.assert_allclose(out.astype(np.float64), expected, rtol=0, atol=0.02)
    np.testing.assert_allclose(lse, expected_lse, rtol=0, atol=1e-5)
    gradients = heddle.flashmask_attention_backward(out, *exact, out, lse, causal=True)
    assert all(gradient.dtype == bfloat16 for gradient in gradients)


def test_sixteen_unsigned_bits_are_no_bfloat16():
    array = np.zeros((1, 4, 2, 16), np.uint16)
    with pytest.raises(ValueError, match="query has elements of type u16"):
        heddle.flashmask_attention(array, array, array)
