"""The torch operators: numbers, gradients, the checks of torch itself, and compilation."""

import numpy as np
import pytest

import heddle
from heddle import _core, masks
from oracle import inputs, random_indices

torch = pytest.importorskip("torch")
pytest.importorskip("torch._dynamo.testing")

from heddle import torch_op  # noqa: E402

FORMS = [(True, 1), (True, 2), (False, 2), (False, 4)]


def tensors(seed=0, lengths=(17, 23), heads=4, kv_heads=2, dim=8, dtype=torch.float64, batch=2):
    arrays = inputs(np.random.default_rng(seed), batch, *lengths, heads, kv_heads, dim)
    return [torch.tensor(array, dtype=dtype, requires_grad=True) for array in arrays]


def columns(seed, lengths, n, causal, heads=1, batch=1):
    random = np.random.default_rng(seed)
    return torch.tensor(random_indices(random, batch, heads, *lengths, n, causal))


def as_numpy(*all_tensors):
    return [tensor.detach().numpy() for tensor in all_tensors]


@pytest.mark.parametrize("causal, n", FORMS)
def test_the_same_bits_as_numpy(causal, n):
    arrays = tensors()
    indices = columns(1, (17, 23), n, causal, heads=2, batch=2)
    out, lse = heddle.flashmask_attention(*arrays, indices, causal=causal, return_softmax_lse=True)
    d_out = torch.ones_like(out) / 3
    out.backward(d_out)
    plain = as_numpy(*arrays)
    options = {"startend_row_indices": indices.numpy(), "causal": causal}
    expected = heddle.flashmask_attention(*plain, **options, return_softmax_lse=True)
    gradients = heddle.flashmask_attention_backward(d_out.numpy(), *plain, *expected, **options)
    assert isinstance(out, torch.Tensor) and not lse.requires_grad
    assert np.array_equal(out.detach().numpy(), expected[0])
    assert np.array_equal(lse.numpy(), expected[1])
    for array, gradient in zip(arrays, gradients):
        assert np.array_equal(array.grad.numpy(), gradient)


@pytest.mark.parametrize("window", [2, (3, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_window(window, causal):
    arrays = tensors(lengths=(17, 17))
    found = heddle.flashmask_attention(*arrays, causal=causal, window_size=window)
    expected = heddle.flashmask_attention(*as_numpy(*arrays), causal=causal, window_size=window)
    assert np.array_equal(found.detach().numpy(), expected)


def test_mask_argument():
    arrays = tensors(lengths=(20, 20))
    one, other = masks.causal_document([7, 13]), masks.document([7, 13])
    per_head = masks.random_eviction(20, 6, heads=2, seed=5)
    for mask in (one, other, masks.full(20, 20), one.plan(64, 64), (one, per_head), (one, other)):
        found = heddle.flashmask_attention(*arrays, mask=mask)
        expected = heddle.flashmask_attention(*as_numpy(*arrays), mask=mask)
        assert np.array_equal(found.detach().numpy(), expected)
    shifted = masks.causal_with_offset(20, 20, 4) & masks.valid_rows(20, 20, 15)
    assert torch.autograd.gradcheck(
        lambda *qkv: heddle.flashmask_attention(*qkv, mask=(shifted, other)), arrays, fast_mode=True
    )
    with pytest.raises(ValueError, match="mask is 9 × 9; expected S × Sk = 20 × 20"):
        heddle.flashmask_attention(*arrays, mask=masks.causal(9))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_types(dtype):
    exact = tensors(lengths=(40, 40))
    arrays = [tensor.detach().to(dtype).requires_grad_() for tensor in exact]
    out, lse = heddle.flashmask_attention(*arrays, causal=True, return_softmax_lse=True)
    assert out.dtype == dtype and lse.dtype == torch.float32
    exact_out = heddle.flashmask_attention(*exact, causal=True)
    tolerance = 20 * torch.finfo(dtype).eps
    torch.testing.assert_close(out.double(), exact_out, rtol=0, atol=tolerance)
    out.sum().backward()
    exact_out.sum().backward()
    for array, plain in zip(arrays, exact):
        torch.testing.assert_close(array.grad.double(), plain.grad, rtol=0, atol=5 * tolerance)


def test_tensors_are_read_where_they_lie():
    tensor = torch.zeros(2, 4, 8, 16, dtype=torch.bfloat16).transpose(1, 2)
    assert _core.address(tensor) == tensor.data_ptr()


def test_strides():
    expected = heddle.flashmask_attention(*tensors(), causal=True)
    for change in (
        lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
        lambda t: t.transpose(1, 3).contiguous().transpose(1, 3),  # a strided last axis
        lambda t: torch.cat([t, t], 3)[..., :8],
    ):
        arrays = [change(tensor.detach()).requires_grad_() for tensor in tensors()]
        out = heddle.flashmask_attention(*arrays, causal=True)
        assert torch.equal(out, expected)
        out.sum().backward()  # an expanded gradient, all strides 0
        assert all(tensor.grad.shape == tensor.shape for tensor in arrays)


@pytest.mark.parametrize("causal, n", FORMS)
def test_gradcheck(causal, n):
    arrays = tensors(lengths=(7, 9), dim=3)
    indices = columns(2, (7, 9), n, causal)
    assert torch.autograd.gradcheck(
        lambda *qkv: heddle.flashmask_attention(*qkv, indices, causal=causal), arrays
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("masked", [False, True])
def test_opcheck(dtype, masked):
    arrays = tensors(dtype=dtype)
    indices = columns(3, (17, 23), 2, False) if masked else None
    arguments = (*arrays, indices, None, False, 6, None, False)
    torch.library.opcheck(torch_op.flashmask_op, arguments)
    plain = [tensor.detach() for tensor in arrays]
    out, lse = torch_op.flashmask_op(*plain, *arguments[3:])
    torch.library.opcheck(
        torch_op.flashmask_backward_op, (torch.ones_like(out), *plain, out, lse, *arguments[3:])
    )


class Block(torch.nn.Module):
    """One attention layer over packed documents."""

    def __init__(self, width=32, heads=4):
        super().__init__()
        self.heads = heads
        self.inner = torch.nn.Linear(width, 3 * width)
        self.outer = torch.nn.Linear(width, width)

    def forward(self, x, indices):
        batch, length, width = x.shape
        q, k, v = self.inner(x).view(batch, length, 3, self.heads, width // self.heads).unbind(2)
        out = heddle.flashmask_attention(q, k, v, indices, causal=True)
        return x + self.outer(out.reshape(batch, length, width))


class Transformer(torch.nn.Module):
    def __init__(self, **shape):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(**shape), Block(**shape)])

    def forward(self, x, indices):
        for block in self.blocks:
            x = block(x, indices)
        return x


def document_indices(lengths):
    return torch.tensor(masks.to_startend_row_indices(masks.causal_document(lengths)))[None]


def test_compile_with_changing_lengths():
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = Transformer()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    for lengths in ([3, 5], [9, 4, 2], [20], [1, 30], [7, 7, 7]):
        x = torch.randn(2, sum(lengths), 32)
        indices = document_indices(lengths)
        torch.testing.assert_close(compiled(x, indices), model(x, indices))
        compiled(x, indices).sum().backward()
    assert counter.frame_count == 1


def test_compile_with_a_window():
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda q, k, v: heddle.flashmask_attention(q, k, v, causal=True, window_size=3),
        backend="aot_eager",
        fullgraph=True,
    )
    arrays = tensors()
    expected = heddle.flashmask_attention(*arrays, causal=True, window_size=3)
    assert torch.equal(compiled(*arrays), expected)


def test_compile_around_a_mask():
    torch._dynamo.reset()
    mask = masks.causal_document([7, 13])
    compiled = torch.compile(
        lambda q, k, v: heddle.flashmask_attention(q, k, v, mask=mask) * 2, backend="aot_eager"
    )
    arrays = tensors(lengths=(20, 20))
    assert torch.equal(compiled(*arrays), heddle.flashmask_attention(*arrays, mask=mask) * 2)


def test_errors():
    arrays = tensors()
    with pytest.raises(ValueError, match="found 4 columns; expected 1 or 2 with causal"):
        indices = columns(1, (17, 23), 4, False)
        heddle.flashmask_attention(*arrays, indices, causal=True)
    with pytest.raises(ValueError, match=r"k is f32 \[23, 2, 8\]; expected f64"):
        heddle.flashmask_attention(arrays[0], arrays[1].float(), arrays[2])
    with pytest.raises(ValueError, match="query is on meta; expected the CPU"):
        heddle.flashmask_attention(*(tensor.to("meta") for tensor in arrays))
