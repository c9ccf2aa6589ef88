"""Attention in fp32 by its definition, in chunks of rows, and how far a result is from it.

Two (batch row, key/value head) pairs are computed whole, with all gradients; of all other heads the
output of a few sampled rows.
"""
import torch

import families
from peer import bound_tables

CHUNK = 2**26  # scores held at a time
SAMPLED_ROWS = 16
# ‖x − ref‖ / ‖ref‖ of bf16 kernels is 2e-3 … 3e-3; a wrong row alone has an error near 1
LIMITS = {"relative": 1e-2, "row": 0.25}


class Reference:
    """Kept on the host between peers; case and inputs must be those it was made from."""

    def __init__(self, case, inputs):
        self.group = case.heads // case.kv_heads
        self.pairs = sorted({(0, 0), (case.batch - 1, case.kv_heads - 1)})
        self.whole = [{name: t.cpu() for name, t in _whole_heads(case, inputs, *at).items()}
                      for at in self.pairs]
        generator = torch.Generator().manual_seed(1)
        self.rows = torch.randperm(case.length, generator=generator)[:SAMPLED_ROWS].sort().values
        self.sampled = _sampled_rows(case, inputs, self.rows.to(inputs.q.device)).cpu()

    def errors(self, out, gradients):
        """Errors of out [B, S, H, D] and d_q, d_k, d_v: the worst relative ones, and wrong rows."""
        worst = {}
        for (b, kv), wanted in zip(self.pairs, self.whole):
            heads = slice(kv * self.group, (kv + 1) * self.group)
            d_q, d_k, d_v = gradients
            found = {"out": out[b, :, heads], "d_q": d_q[b, :, heads], "d_k": d_k[b, :, kv],
                     "d_v": d_v[b, :, kv]}
            seen = wanted["seen"].to(out.device)  # [S, group]
            for name, tensor in found.items():
                rows = seen if name in ("out", "d_q") else slice(None)
                _worst(worst, name, tensor.float()[rows], wanted[name].to(out.device)[rows])
        sampled = self.sampled.to(out.device)
        there = sampled.isfinite().all(-1)
        _worst(worst, "out", out[:, self.rows.to(out.device)].float()[there], sampled[there])
        return worst

    def unseen_rows_are_zero(self, out):
        """Whether rows that see no key are 0, as Heddle promises."""
        for (b, kv), wanted in zip(self.pairs, self.whole):
            heads = slice(kv * self.group, (kv + 1) * self.group)
            if bool((out[b, :, heads][~wanted["seen"].to(out.device)] != 0).any()):
                return False
        return True


def is_wrong(errors):
    """Which of them is beyond its limit; empty when the result stands. NaN is beyond."""
    return [name for name, e in errors.items() if not all(e[k] <= LIMITS[k] for k in LIMITS)]


def _worst(worst, name, found, wanted):
    """Keeps the larger relative error over all, and of one row against the usual row."""
    difference = found - wanted
    usual = wanted.square().sum(-1).mean().sqrt()
    rows = difference.norm(dim=-1) / torch.maximum(wanted.norm(dim=-1), usual)
    errors = {"relative": float(difference.norm() / wanted.norm()), "row": float(rows.max())}
    before = worst.setdefault(name, errors)
    for kind, error in errors.items():
        if not error <= before[kind]:
            before[kind] = error


def _tables(case, device):
    return [] if case.mask.columns is None else bound_tables(case, device)


def _bounds(tables, b, head):
    """Of one query head: [S] a column."""
    return [t[b % t.shape[0], head % t.shape[1]] for t in tables]


def _scores(case, q, k, rows, bounds, key):
    """Masked scores of some rows [n, S], fp32."""
    scores = (q @ k.T) * case.head_dim**-0.5
    seen = families.visible(case.mask.form, rows[:, None], key[None], case.mask.scalars,
                            [t[None] for t in bounds])
    return scores.masked_fill(~seen, float("-inf"))


def _softmax(scores):
    """0 for rows that see nothing."""
    top = scores.amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).min)
    weights = torch.exp(scores - top)
    return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def _whole_heads(case, inputs, b, kv):
    """out, d_q, seen [S, group, ...] and d_k, d_v [S, D] of one key/value head."""
    device, length, group = inputs.q.device, case.length, case.heads // case.kv_heads
    key = torch.arange(length, device=device)
    k, v = (t[b, :, kv].float() for t in (inputs.k, inputs.v))
    d_k, d_v = torch.zeros_like(k), torch.zeros_like(v)
    out, d_q = (torch.zeros((length, group, case.head_dim), device=device) for _ in range(2))
    seen = torch.zeros((length, group), dtype=torch.bool, device=device)
    step = max(1, CHUNK // length)
    tables = _tables(case, device)
    for at in range(group):
        bounds = _bounds(tables, b, kv * group + at)
        for first in range(0, length, step):
            rows = key[first:first + step]
            q, d_out = (t[b, rows, kv * group + at].float() for t in (inputs.q, inputs.d_out))
            scores = _scores(case, q, k, rows, bounds, key)
            weights = _softmax(scores)  # [n, S]
            out[rows, at] = weights @ v
            seen[rows, at] = scores.amax(-1) > float("-inf")
            delta = (out[rows, at] * d_out).sum(-1, keepdim=True)
            d_scores = weights * (d_out @ v.T - delta) * case.head_dim**-0.5
            d_v += weights.T @ d_out
            d_q[rows, at] = d_scores @ k
            d_k += d_scores.T @ q
    return {"out": out, "d_q": d_q, "d_k": d_k, "d_v": d_v, "seen": seen}


def _sampled_rows(case, inputs, rows):
    """out of these rows for all heads [B, n, H, D]; NaN where a row sees nothing."""
    group = case.heads // case.kv_heads
    key = torch.arange(case.length, device=rows.device)
    out = torch.empty((case.batch, len(rows), case.heads, case.head_dim), device=rows.device)
    tables = _tables(case, rows.device)
    for b in range(case.batch):
        for head in range(case.heads):
            k, v = (t[b, :, head // group].float() for t in (inputs.k, inputs.v))
            bounds = _bounds(tables, b, head)
            scores = _scores(case, inputs.q[b, rows, head].float(), k, rows, bounds, key)
            out[b, :, head] = _softmax(scores) @ v
            out[b, scores.amax(-1) == float("-inf"), head] = float("nan")
    return out
