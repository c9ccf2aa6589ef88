"""Compiles what the peers need in several processes at once, into the caches they keep on disk.

One peer compiles for seconds a mask, on one processor. Each process takes a share of the cases,
runs both passes once and measures nothing; the run that measures then finds the kernels.
"""
import os
import subprocess
import sys
import time

import torch

from peer import Inputs

SHARE = "HEDDLE_PEERS_SHARE"  # "number/count" in a process that only compiles


def use_caches():
    """Before the peers are imported: the caches that are off by themselves."""
    os.environ["FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED"] = "1"


def share():
    """This process's share; None in one that measures."""
    text = os.environ.get(SHARE)
    return tuple(map(int, text.split("/"))) if text else None


def run(count, seconds):
    """Runs this program `count` times for its shares; what fails there fails again later."""
    began = time.perf_counter()
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, *sys.argv], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, env={**environment, SHARE: f"{i}/{count}"})
        for i in range(count)]
    for process in processes:
        try:
            process.wait(max(1, seconds - (time.perf_counter() - began)))
        except subprocess.TimeoutExpired:
            process.kill()
    print(f"compiled in {count} processes for {time.perf_counter() - began:.0f} s", flush=True)


def compile_share(cases, peers, device):
    """Both passes of this share's cases, each kernel once."""
    tasks = {}
    for peer in peers:
        for case in cases:
            key = peer.compile_key(case)
            if key is not None and not peer.why_not(case):
                tasks.setdefault((peer.name, key), (peer, case))
    number, count = share()
    for peer, case in list(tasks.values())[number::count]:
        try:
            call = peer.prepare(case, Inputs.draw(case, device))
            out = call.run(*call.inputs)
            torch.autograd.grad(out, call.inputs, call.d_out)
            torch.cuda.synchronize()
            del call, out
        except Exception:  # noqa: BLE001: the run that measures reports it
            pass
        torch.cuda.empty_cache()
