#!/usr/bin/env python3
"""Times attention under column masks: Heddle and its peers, in one process on one GPU.

Every result is compared with a reference in fp32 first. A peer that is missing, fails, runs out of
memory or compiles for too long becomes a – with its reason and stops nothing; a wrong or failing
Heddle makes the exit code 1. Results are written as they come: a killed run goes on with --resume.

examples:
  peers.py --quick                              S = 8K, six masks, a few peers: under 3 minutes
  peers.py                                      32K tokens, 16 heads of 128, S = 8K, 32K, 13 masks
  peers.py --preset paper --time-limit 540      128K tokens, hidden 4096, S = 8K ... 128K, d 64, 128
  peers.py --families full --random 22 --seed 7 random parameters (full gives the floor)
  peers.py --peers heddle,fa4 --families full,causal --head-dims 256
  peers.py --device cpu --lengths 256 --tokens 512 --heads 2   checks the program itself
"""
import argparse
import gc
import os
import sys
import time

import numpy as np
import torch

import families
import precompile
import report
import timing
from peer import Case, Inputs, synchronize
from peer_cudnn import CudnnFlex
from peer_fa4 import Fa4, Fa4Varlen
from peer_heddle import Heddle
from peer_torch import Flex, FlexSm80, Sdpa, SdpaDense, Varlen
from reference import Reference, is_wrong
from results import Store, environment

QUICK_FAMILIES = ("full", "causal", "sliding_window", "causal_document", "shared_question",
                  "prefix_lm_document")
QUICK_PEERS = ("heddle", "fa4", "fa4_varlen", "flex")
EXTRA_PEERS = ("heddle_det", "heddle_sm80", "fa4_mask", "flex_flash", "flex_sm80")  # only when asked for by name
STOP_BEFORE = 20  # seconds kept for the tables when there is a time limit


def all_peers(options):
    prepared = options.heddle_mask == "prepared"
    return [
        Heddle(prepared), Fa4(), Fa4Varlen(), CudnnFlex(),
        Flex(options.flex_mode, compile_block_mask=options.compile_block_mask),
        Sdpa("CUDNN_ATTENTION"), Sdpa("FLASH_ATTENTION"), Varlen(), SdpaDense(),
        Heddle(prepared, deterministic=True), Heddle(prepared, family=80),
        Fa4(native=False), Flex(backend="FLASH"), FlexSm80(),
    ]


def all_cases(options):
    """Cases in the order in which they are measured."""
    cases = []
    for head_dim in options.head_dims:
        heads = options.heads or options.hidden // head_dim
        kv_heads = options.kv_heads or heads
        for length in options.lengths:
            batch = max(1, options.tokens // length)
            size = {"batch": batch, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim,
                    "dtype": options.dtype}
            cases += [Case(families.paper_mask(f, length, options.seed, kv_heads), origin="paper",
                           **size) for f in options.families]
            cases += _random_cases(options, length, size)
    return cases


def _random_cases(options, length, size):
    """A share of --random for this length: families in turn, half of them unlike in each row."""
    drawn = []
    sparse = [f for f in families.FAMILIES if f not in ("full", "causal")]
    for number in range(options.random):
        if options.lengths[number % len(options.lengths)] != length:
            continue
        seed = options.seed + number
        rng = np.random.default_rng(seed)
        family = sparse[(number // len(options.lengths)) % len(sparse)]
        batches = size["batch"] if rng.random() < 0.5 else 1
        mask = families.random_mask(family, length, seed, size["kv_heads"], batches)
        drawn.append(Case(mask, origin=f"random {seed}", **size))
    return drawn


class Bench:
    """Runs cases by peers, tier after tier, until the time is up."""

    def __init__(self, options, store, peers):
        self.options, self.store, self.peers = options, store, peers
        self.clock = timing.Clock(options.device, options.repeats, options.window_ms / 1e3)
        self.references, self.facts = {}, {}
        self.current = None  # (case, peer) while one is measured
        self.skipped = 0
        self.watchdog = timing.Watchdog(options.compile_limit + 180, self._on_hang)

    def run(self, cases):
        for tier in sorted({peer.tier for peer in self.peers}):
            peers = [peer for peer in self.peers if peer.tier == tier]
            for case in cases:
                todo = [p for p in peers if (case.key, p.name) not in self.store.records]
                if todo:
                    self._run_case(case, todo)

    def _run_case(self, case, peers):
        inputs = None
        for peer in peers:
            if time.time() > self.options.end - STOP_BEFORE:
                self.skipped += 1
                continue
            record = self._blank(case, peer)
            reason = peer.why_not(case)
            if reason:
                self._finish({**record, "status": "unsupported", "reason": reason})
                continue
            if inputs is None:
                inputs = Inputs.draw(case, self.options.device)
                if case.key not in self.references:
                    self.references[case.key] = Reference(case, inputs)
            self.current = record
            with self.watchdog.watching():
                self._finish(self._attempt(record, case, peer, inputs))
            self.current = None
            if timing.device_is_lost():
                self._restart()

    def _blank(self, case, peer):
        if case.key not in self.facts:
            self.facts[case.key] = case.facts()
        return {"case": case.key, "peer": peer.name, "family": case.mask.family,
                "size": case.size, "origin": case.origin, "head_dim": case.head_dim,
                "parameters": case.mask.parameters, "facts": self.facts[case.key]}

    def _finish(self, record):
        self.store.add(record)
        print(_line(record), flush=True)

    def _attempt(self, record, case, peer, inputs):
        """The record with what came of it; never raises but for Ctrl-C."""
        try:
            with self.clock.on_stream():
                return {**record, **self._measure(case, peer, inputs)}
        except NotImplementedError as error:
            return {**record, "status": "unsupported", "reason": _reason(error)}
        except timing.TooSlow as error:
            return {**record, "status": "slow", "reason": str(error)}
        except torch.cuda.OutOfMemoryError:
            return {**record, "status": "failed", "reason": "out of GPU memory"}
        except Exception as error:  # noqa: BLE001: a peer may fail in any way
            return {**record, "status": "failed", "reason": _reason(error)}
        finally:
            gc.collect()
            if self.clock.stream:
                torch.cuda.empty_cache()

    def _measure(self, case, peer, inputs):
        device = self.options.device
        synchronize(device)
        begin = time.perf_counter()
        with timing.limit(self.options.compile_limit, "the first call"):
            call = peer.prepare(case, inputs)
            out = call.run(*call.inputs)

            def backward():
                return torch.autograd.grad(out, call.inputs, call.d_out, retain_graph=True)

            gradients = backward()
            synchronize(device)
        first_seconds = time.perf_counter() - begin

        canonical = call.canonical(out.detach())
        reference = self.references[case.key]
        errors = reference.errors(canonical, [call.canonical(g) for g in gradients])
        wrong = is_wrong(errors)
        if peer.name.startswith("heddle") and not reference.unseen_rows_are_zero(canonical):
            wrong.append("rows that see nothing")
        del gradients, canonical
        found = {"status": "ok", "errors": errors, "first_seconds": first_seconds,
                 "mask_seconds": call.mask_seconds, "notes": call.notes}
        if wrong:
            found.update(status="wrong", reason=f"{', '.join(wrong)} beyond the limit")
        found["forward"] = self.clock.time(lambda: call.run(*call.inputs))
        found["backward"] = self.clock.time(backward)
        return found

    def _on_hang(self):
        self._finish({**self.current, "status": "failed",
                      "reason": f"no answer within {self.watchdog.seconds:g} s"})
        self._restart()

    def _restart(self):
        """A new process goes on after what broke this one's GPU context."""
        os.environ["HEDDLE_PEERS_END"] = str(self.options.end)
        arguments = [sys.executable, *sys.argv]
        print("the GPU context is lost: going on in a new process", flush=True)
        if not timing.restart(arguments + ([] if "--resume" in arguments else ["--resume"])):
            print("too many new processes; run again with --resume", flush=True)
            os._exit(2)


def _reason(error):
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _line(record):
    head = f"{record['peer']:12} {record['family']:20} {record['size']} {record['origin']}:"
    if "forward" not in record:
        return f"{head} – {record['status']}: {record['reason']}"
    flops = 4 * record["facts"]["pairs"] * record["head_dim"]
    times = [record[way]["seconds"] for way in ("forward", "backward")]
    rates = [flops / times[0] / 1e12, report.BACKWARD * flops / times[1] / 1e12]
    wrong = f" WRONG: {record['reason']}" if record["status"] == "wrong" else ""
    return (f"{head} {times[0] * 1e3:.3f} / {times[1] * 1e3:.3f} ms, {rates[0]:.0f} / "
            f"{rates[1]:.0f} TFLOP/s, first {record['first_seconds']:.1f} s{wrong}")


def available(peers):
    """Peers that are there, and every one's version or why it is missing."""
    there, versions = [], {}
    for peer in peers:
        try:
            versions[peer.name] = peer.version()
            there.append(peer)
        except Exception as error:  # noqa: BLE001: a broken install may raise anything
            versions[peer.name] = "missing"
            print(f"{peer.name} is missing: {_reason(error)}", flush=True)
    return there, versions


def comma(kind=str):
    return lambda text: [kind(part) for part in text.split(",") if part]


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", choices=("short", "paper"), default="short", help="sizes, see above")
    add("--quick", action="store_true", help="S = 8K, few masks, few peers")
    add("--lengths", type=comma(int), metavar="S,...")
    add("--tokens", type=int, help="in all; the batch is tokens / S")
    add("--heads", type=int, help="query heads")
    add("--hidden", type=int, help="heads × head dimension, instead of --heads")
    add("--kv-heads", type=int, help="key/value heads; default: as many as query heads")
    add("--head-dims", type=comma(int), metavar="D,...")
    add("--dtype", choices=("bfloat16", "float16"), default="bfloat16")
    add("--families", type=comma(), metavar="NAME,...", help=", ".join(families.FAMILIES))
    add("--random", type=int, default=0, metavar="N", help="cases with drawn parameters, besides")
    add("--seed", type=int, default=0)
    add("--peers", type=comma(), metavar="NAME,...", help="default: all but " +
        ", ".join(EXTRA_PEERS))
    add("--heddle-mask", choices=("tensor", "prepared"), default="prepared",
        help="how Heddle is given the mask: a ColumnMask, whose plan is made before, or "
        "startend_row_indices, from which a CUDA graph makes the plan at every replay")
    add("--flex-mode", help="torch.compile's mode for FlexAttention")
    add("--compile-block-mask", action="store_true", help="create_block_mask(_compile=True)")
    add("--repeats", type=int, help="windows whose median is reported")
    add("--window-ms", type=float, default=30, help="length of one such window")
    add("--compile-limit", type=float, default=60, metavar="SECONDS", help="for the first call")
    add("--precompile", type=int, default=0, metavar="N",
        help="compile for all cases in N processes first; first calls then cost little")
    add("--time-limit", type=float, metavar="SECONDS",
        help="then skip what is left, which are the least important peers, and write the tables")
    add("--bandwidth", type=float, default=4.3, help="TB/s of memory, for the floor")
    add("--peak", type=float, default=989, help="TFLOP/s of the GPU's matrix units")
    add("--output", default="build/peers", metavar="FOLDER")
    add("--resume", action="store_true", help="keep the results in FOLDER and add what is missing")
    add("--device", choices=("cuda", "cpu"), default="cuda")
    return _defaults(parser, parser.parse_args())


def _defaults(parser, options):
    paper, quick = options.preset == "paper", options.quick
    options.lengths = options.lengths or (
        [8192] if quick else [8192, 32768, 131072] if paper else [8192, 32768])
    options.tokens = options.tokens or (131072 if paper else 32768)
    options.head_dims = options.head_dims or ([64, 128] if paper and not quick else [128])
    options.hidden = options.hidden or (4096 if paper else 0)
    options.heads = options.heads or (0 if options.hidden else 16)
    options.families = options.families or list(QUICK_FAMILIES if quick else families.FAMILIES)
    options.repeats = options.repeats or (3 if quick else 5)
    unknown = set(options.families) - set(families.FAMILIES)
    if unknown:
        parser.error(f"families {sorted(unknown)}; expected some of {', '.join(families.FAMILIES)}")
    end = os.environ.get("HEDDLE_PEERS_END")
    limit = options.time_limit or 10**9
    options.end = float(end) if end else time.time() + limit
    options.end_is_set = bool(end)  # by the process that this one follows
    return options


def chosen_peers(options):
    peers = all_peers(options)
    names = [peer.name for peer in peers]
    wanted = options.peers or [n for n in (QUICK_PEERS if options.quick else names)
                               if n not in EXTRA_PEERS]
    unknown = set(wanted) - set(names)
    if unknown:
        sys.exit(f"peers.py: peers {sorted(unknown)}; expected some of {', '.join(names)}")
    return [peer for peer in peers if peer.name in wanted]


def main():
    options = parse()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("peers.py: found no CUDA device; expected one, or --device cpu to try the program")
    if options.precompile:
        precompile.use_caches()
    peers, versions = available(chosen_peers(options))
    if precompile.share():
        precompile.compile_share(all_cases(options), peers, options.device)
        return 0
    if options.precompile and not options.end_is_set:
        precompile.run(options.precompile, 3 * options.compile_limit)
    store = Store(options.output, options.resume)
    store.add_run(environment(versions, options.device))
    bench = Bench(options, store, peers)
    bench.run(all_cases(options))
    print(report.write(options.output, store.runs, store.records, options.bandwidth * 1e12,
                       options.peak * 1e12))
    if bench.skipped:
        print(f"{bench.skipped} measurements were left out: the time was up")
    bad = [r for r in store.records.values()
           if r["peer"].startswith("heddle") and r["status"] in ("wrong", "failed", "slow")]
    for record in bad:
        print(f"Heddle {record['status']}: {record['case']}: {record['reason']}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
