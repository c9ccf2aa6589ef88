"""Inputs on a GPU, attention by its definition in double and in their type, FlashAttention's rule."""

import numpy as np
import torch

import heddle
from oracle import random_indices


def tensors(lengths, dim=64, heads=(2, 2), batch=2, dtype=torch.bfloat16, value_dim=None, seed=0):
    torch.manual_seed(seed)
    shapes = [
        (batch, lengths[0], heads[0], dim),
        (batch, lengths[1], heads[1], dim),
        (batch, lengths[1], heads[1], value_dim or dim),
    ]
    return [torch.randn(shape, device="cuda").to(dtype) for shape in shapes]


def indices_of(lengths, n, causal, heads=1, batch=1, seed=0):
    random = np.random.default_rng(seed)
    return torch.tensor(random_indices(random, batch, heads, *lengths, n, causal), device="cuda")


def attention(query, key, value, visible, scale=None):
    """out [B, S, H, Dv] and lse [B, H, S] in the inputs' type; visible [B or 1, 1 or K, S, Sk]."""
    group = query.shape[2] // key.shape[2]
    key, value = (array.repeat_interleave(group, 2) for array in (key, value))
    if visible.shape[1] > 1:
        visible = visible.repeat_interleave(group, 1)
    scale = query.shape[3] ** -0.5 if scale is None else scale
    scores = torch.einsum("bihd,bjhd->bhij", query * scale, key)
    scores = scores.masked_fill(~visible, float("-inf"))  # [B, H, S, Sk]
    lse = scores.detach().double().logsumexp(-1)
    weights = scores.softmax(-1).masked_fill(~visible, 0)
    return torch.einsum("bhij,bjhd->bihd", weights.to(value.dtype), value), lse


def with_gradients(function, arrays, d_out):
    """out, lse and the gradients of the three arrays, all detached."""
    arrays = [array.detach().requires_grad_() for array in arrays]
    out, lse = function(*arrays)
    gradients = torch.autograd.grad(out, arrays, d_out.to(out.dtype))
    return [out.detach(), lse, *gradients]


def check(function, arrays, visible, scale=None):
    """Every result within twice the error of plain attention in the input's type."""
    d_out = torch.randn(*arrays[0].shape[:3], arrays[2].shape[3], device="cuda").to(arrays[0].dtype)
    found = with_gradients(function, arrays, d_out)
    exact = with_gradients(
        lambda *qkv: attention(*qkv, visible, scale), [array.double() for array in arrays], d_out
    )
    plain = with_gradients(lambda *qkv: attention(*qkv, visible, scale), arrays, d_out)
    names = ("out", "lse", "d_query", "d_key", "d_value")
    for name, ours, wanted, usual in zip(names, found, exact, plain):
        if name == "lse":
            assert torch.equal(ours.isinf(), wanted.isinf()), name
            seen = wanted.isfinite()
            torch.testing.assert_close(ours[seen].double(), wanted[seen], rtol=1e-5, atol=1e-3)
            continue
        assert ours.dtype == arrays[0].dtype and ours.shape == wanted.shape, name
        assert ours.isfinite().all(), name
        usual = usual.double().nan_to_num()
        near = wanted.to(ours.dtype)
        rounding = (near + 0.3 - 0.3 - near).abs().max().double()
        limit = 2 * (usual - wanted).abs().max() + 2 * rounding
        assert (ours.double() - wanted).abs().max() <= limit, name


def results(*arrays, d_out=None, **options):
    """out and the gradients of copies of the arrays."""
    arrays = [array.detach().requires_grad_() for array in arrays]
    out = heddle.flashmask_attention(*arrays, **options)
    d_out = torch.ones_like(out) if d_out is None else d_out
    return [out.detach(), *torch.autograd.grad(out, arrays, d_out)]


def assert_equal(found, wanted):
    for ours, theirs in zip(found, wanted):
        assert torch.equal(ours, theirs)
