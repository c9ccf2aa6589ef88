"""flashmask_attention on a GPU: numbers, shapes, layouts, and what is refused."""

import pathlib
import sys

import pytest

import heddle
from heddle import masks
from oracle import visible_by_columns

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)

sys.path.append(str(pathlib.Path(__file__).parents[2] / "bench" / "attention"))
import families  # noqa: E402
import gpu  # noqa: E402
from gpu import assert_equal, indices_of, results, tensors  # noqa: E402
from heddle import torch_cuda  # noqa: E402

if not torch_cuda.BUILT:
    pytest.skip("this build has no CUDA kernels", allow_module_level=True)

FORMS = [(True, 1), (True, 2), (False, 2), (False, 4)]
BF16, F16 = torch.bfloat16, torch.float16


def visible_of(indices, query_length, causal):
    return torch.tensor(visible_by_columns(indices.cpu().numpy(), query_length, causal)).cuda()


def family(name, length, heads):
    """What makes a mask of the benchmark: the call's options and visible [1, heads, S, S]."""
    mask = families.random_mask(name, length, 1, heads)
    options = {"causal": mask.causal}
    row = torch.arange(length, device="cuda")[:, None]
    columns = None
    if mask.columns is not None:
        columns = torch.tensor(mask.columns, device="cuda")  # [1, heads, S, n]
        options["startend_row_indices"] = columns
        columns = columns[:, :, None].unbind(-1)
    visible = families.visible(mask.column_form, row, row.T, (), columns)
    return options, visible.expand(1, mask.heads, length, length)


# length, head dimension, query and key/value heads, type
SHAPES = [
    (127, 64, (2, 2), BF16),
    (1000, 80, (4, 1), F16),
    (1025, 128, (8, 1), BF16),
    (513, 256, (2, 2), BF16),
    (301, 60, (4, 2), F16),
    (2048, 128, (4, 4), F16),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", families.FAMILIES)
def test_families(name, shape):
    length, dim, heads, dtype = shape
    options, visible = family(name, length, heads[1])
    gpu.check(
        lambda *qkv: heddle.flashmask_attention(*qkv, return_softmax_lse=True, **options),
        tensors((length, length), dim, heads, dtype=dtype),
        visible,
    )


@pytest.mark.parametrize("lengths", [(1, 1), (1, 333), (333, 1), (65, 400), (700, 129), (511, 512)])
@pytest.mark.parametrize("causal, n", FORMS)
def test_columns(causal, n, lengths):
    for at, (dim, heads, mask_heads, batch) in enumerate(
        [(64, (2, 2), 1, 1), (128, (4, 2), 2, 2), (72, (8, 2), 1, 2), (256, (2, 1), 1, 1)]
    ):
        indices = indices_of(lengths, n, causal, mask_heads, batch, seed=at)
        gpu.check(
            lambda *qkv: heddle.flashmask_attention(
                *qkv, indices, causal=causal, return_softmax_lse=True
            ),
            tensors(lengths, dim, heads, dtype=F16 if at % 2 else BF16),
            visible_of(indices, lengths[0], causal),
        )


@pytest.mark.parametrize("name", families.FAMILIES)
def test_long(name):
    length = 16384 if name in ("causal_document", "global_sliding") else 8192
    options, visible = family(name, length, 1)
    gpu.check(
        lambda *qkv: heddle.flashmask_attention(*qkv, return_softmax_lse=True, **options),
        tensors((length, length), 128, (1, 1), batch=1),
        visible,
    )


@pytest.mark.parametrize("capability", [80, 86, 100])
@pytest.mark.parametrize("dim", [64, 128, 256])
@pytest.mark.parametrize("deterministic", [False, True])
def test_kernels_of_other_gpus(monkeypatch, capability, dim, deterministic):
    """Those of family 80, with 163, 99 and 227 KB of shared memory a block."""
    monkeypatch.setattr(torch_cuda, "COMPUTE_CAPABILITY", capability)
    for name, heads in (("document", (4, 2)), ("causal_blockwise", (2, 2)), ("full", (2, 1))):
        options, visible = family(name, 777, heads[1])
        gpu.check(
            lambda *qkv: heddle.flashmask_attention(
                *qkv, return_softmax_lse=True, deterministic=deterministic, **options
            ),
            tensors((777, 777), dim, heads, dtype=F16 if dim == 128 else BF16),
            visible,
        )


@pytest.mark.parametrize("dim, value_dim", [(64, 128), (192, 128), (33, 7)])
def test_head_dimensions_that_differ(dim, value_dim):
    arrays = tensors((200, 200), dim, (4, 2), value_dim=value_dim)
    visible = torch.ones(200, 200, dtype=torch.bool, device="cuda").tril()[None, None]
    gpu.check(
        lambda *qkv: heddle.flashmask_attention(*qkv, causal=True, return_softmax_lse=True),
        arrays,
        visible,
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [0, 5, (70, 3)])
@pytest.mark.parametrize("lengths", [(150, 150), (90, 150)])
def test_window_sees_one_key_more(lengths, window, causal):
    left, right = (window, window) if isinstance(window, int) else window
    shift = lengths[1] - lengths[0]
    row = torch.arange(lengths[0], device="cuda")[:, None] + shift
    key = torch.arange(lengths[1], device="cuda")
    visible = (key >= row - left) & (key <= row + (0 if causal else right))
    gpu.check(
        lambda *qkv: heddle.flashmask_attention(
            *qkv, causal=causal, window_size=window, return_softmax_lse=True
        ),
        tensors(lengths),
        visible[None, None],
    )


LAYOUTS = {
    "heads first": lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
    "strided last axis": lambda t: t.transpose(1, 3).contiguous().transpose(1, 3),
    "part of a wider tensor": lambda t: torch.cat([t, t], 3)[..., : t.shape[3]],
    "rows off 16 bytes": lambda t: torch.cat([t[..., :3], t], 3)[..., 3:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    arrays = tensors((130, 130), heads=(4, 2))
    options = {"causal": True, "deterministic": True}
    expected = results(*arrays, **options)
    assert_equal(results(*map(LAYOUTS[layout], arrays), **options), expected)
    d_out = torch.ones((), dtype=BF16, device="cuda").expand(arrays[0].shape)  # all strides 0
    assert_equal(results(*arrays, d_out=d_out, **options), expected)


def test_deterministic():
    arrays = tensors((2000, 2000), 128, (8, 2))
    indices = indices_of((2000, 2000), 2, False)
    runs = [results(*arrays, startend_row_indices=indices, deterministic=True) for _ in range(3)]
    for other in runs[1:]:
        assert_equal(other, runs[0])
    assert_equal(results(*arrays, startend_row_indices=indices)[:1], runs[0])


def test_lists_of_masks():
    arrays = tensors((300, 300), heads=(4, 2), batch=3)
    documents = [masks.causal_document(lengths) for lengths in ([300], [100, 200], [7, 13, 280])]
    apart = [
        results(*(array[b : b + 1] for array in arrays), mask=mask, deterministic=True)
        for b, mask in enumerate(documents)
    ]
    together = results(*arrays, mask=documents, deterministic=True)
    assert_equal(together, [torch.cat(parts) for parts in zip(*apart)])
    unlike = [documents[0], masks.document([40, 260]), documents[2].plan(64, 64)]
    assert_equal(results(*arrays, mask=unlike, deterministic=True)[0][::2], together[0][::2])


def test_hidden_numbers_do_not_leak():
    arrays = tensors((800, 800))
    mask = masks.causal_document([384, 416])  # at the edge of every tile
    expected = results(*arrays, mask=mask, deterministic=True)
    for array in arrays[1:]:
        array[:, :384] = float("nan")
    found = results(*arrays, mask=mask, deterministic=True)
    assert_equal([array[:, 384:] for array in found], [array[:, 384:] for array in expected])


def test_errors():
    arrays = tensors((20, 20))
    with pytest.raises(ValueError, match="q is f32; expected bf16 or f16"):
        heddle.flashmask_attention(*(array.float() for array in arrays))
    with pytest.raises(ValueError, match="found it on cpu; expected cuda:0, as query"):
        heddle.flashmask_attention(*arrays, torch.zeros(1, 1, 20, 1, dtype=torch.int32), causal=True)
    with pytest.raises(ValueError, match="expected a multiple of 8 up to 256"):
        heddle.flashmask_attention(*tensors((20, 20), 264))
    with pytest.raises(ValueError, match="mask is 9 × 9; expected S × Sk = 20 × 20"):
        heddle.flashmask_attention(*arrays, mask=masks.causal(9))
    with pytest.raises(ValueError, match="expected H to be a multiple of K"):
        heddle.flashmask_attention(*tensors((20, 20), heads=(3, 2)))
