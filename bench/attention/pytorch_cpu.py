#!/usr/bin/env python3
"""Heddle against PyTorch's scaled_dot_product_attention on the CPU, in one process.

    pytorch_cpu.py [--length 8192] [--heads 8] [--dim 64] [--threads 2] [--cases full] [--json FILE]

Each case runs both in turn, so that a change of the machine's speed meets both; the figure is the
median of the paired ratios. PyTorch gets what suits it best: no mask for full, is_causal for
causal, and for the rest the faster of a dense bool and a dense float mask, made before the clock starts.
Needs the package heddle and torch.
"""

import argparse
import json
import platform
import statistics
import time

import heddle
import torch
from heddle import masks
from torch.nn.functional import scaled_dot_product_attention

PASSES = ("forward", "forward+backward")


def cases(length):
    """Name, Heddle's mask, and PyTorch's keywords other than a dense mask (None: it needs one)."""
    yield "full", masks.full(length, length), {}
    yield "causal", masks.causal(length), {"is_causal": True}
    for documents in (5, 8):  # density 1 / (2 * documents)
        lengths = [length // documents] * documents
        lengths[-1] += length - sum(lengths)
        yield f"{documents} causal documents", masks.causal_document(lengths), None
    yield "window 1/16", masks.sliding_window(length, length // 16), None


def dense_options(mask):
    """The dense masks that PyTorch takes."""
    visible = torch.from_numpy(mask.to_dense())[None]  # [1, 1, T, T]
    yield {"attn_mask": visible}
    yield {"attn_mask": torch.zeros(visible.shape).masked_fill_(~visible, -torch.inf)}


def timed(call, inputs, d_out, backward):
    """Seconds of one call, and its result."""
    for tensor in inputs:
        tensor.grad = None
        tensor.requires_grad_(backward)
    begin = time.perf_counter()
    out = call(*inputs)
    if backward:
        out.backward(d_out)
    return time.perf_counter() - begin, out.detach()


def run_case(name, mask, options, inputs, arguments):
    """One row a pass: both times, their ratio, and the largest difference of the results."""

    def ours(q, k, v):
        return heddle.flashmask_attention(q, k, v, mask=mask)

    def theirs(choice):
        def call(q, k, v):
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # [B, H, T, D], a view
            return scaled_dot_product_attention(q, k, v, **choice).transpose(1, 2)

        return call

    d_out = torch.randn_like(inputs[0])
    choices = list(dense_options(mask)) if options is None else [options]
    for one_pass in PASSES:
        backward = one_pass != "forward"
        best = min(choices, key=lambda choice: timed(theirs(choice), inputs, d_out, backward)[0])
        _, expected = timed(theirs(best), inputs, d_out, backward)
        _, found = timed(ours, inputs, d_out, backward)
        pairs = [
            (
                timed(ours, inputs, d_out, backward)[0],
                timed(theirs(best), inputs, d_out, backward)[0],
            )
            for _ in range(arguments.repeat)
        ]
        yield {
            "case": name,
            "pass": one_pass,
            "density": mask.density,
            "heddle_s": statistics.median(pair[0] for pair in pairs),
            "torch_s": statistics.median(pair[1] for pair in pairs),
            "ratio": statistics.median(pair[1] / pair[0] for pair in pairs),
            "difference": (found - expected).abs().max().item(),
            "torch_mask": "none" if "attn_mask" not in best else str(best["attn_mask"].dtype),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", help="only those whose names begin so, separated by commas")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", help="write the rows to this file too")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    heddle.set_num_threads(arguments.threads)
    shape = (1, arguments.length, arguments.heads, arguments.dim)  # [B, T, H, D]
    inputs = [torch.randn(shape) for _ in range(3)]
    print(
        f"T {shape[1]}, {shape[2]} heads of {shape[3]}, f32, {arguments.threads} threads, "
        f"torch {torch.__version__}, {arguments.repeat} pairs a row"
    )
    print(
        f"{'case':20} {'pass':17} {'density':>7} {'Heddle s':>9} {'torch s':>9} {'ratio':>6} "
        f"{'difference':>10}  torch's mask"
    )
    rows = []
    wanted = tuple(arguments.cases.split(",")) if arguments.cases else ("",)
    for name, mask, options in cases(arguments.length):
        if not name.startswith(wanted):
            continue
        for row in run_case(name, mask, options, inputs, arguments):
            rows.append(row)
            print(
                f"{name:20} {row['pass']:17} {row['density']:7.3f} {row['heddle_s']:9.4f} "
                f"{row['torch_s']:9.4f} {row['ratio']:6.2f} {row['difference']:10.1e}  "
                f"{row['torch_mask']}",
                flush=True,
            )
    if arguments.json:
        report = {
            "arguments": vars(arguments),
            "torch": torch.__version__,
            "machine": platform.processor() or platform.machine(),
            "rows": rows,
        }
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
