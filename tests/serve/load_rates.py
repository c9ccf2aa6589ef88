"""Load at and above capacity: goodput, refusals, memory, latency (LD-01, 05, 06, 12, 13)."""

import json
import statistics
import subprocess
import threading
import time

import wire
from harness import eventually, machine_noise, percentile, server_apart, warm
from load_plan import Load, clean


def queue_for(load, requests):
    """Flags for a queue of about that many requests; a token has at most four bytes, and at least one."""
    size = sum(len(line) for line in load.lines) / len(load.batches)
    return ("--queue-tokens", str(int(size * requests)))


class Probe:
    """Asks for a path a number of times a second, beside everything else."""

    def __init__(self, port, path, rate):
        self.times, self.failures, self.stop = [], 0, threading.Event()
        self.thread = threading.Thread(target=self.run, args=(port, path, 1 / rate))
        self.thread.start()

    def run(self, port, path, pause):
        with wire.Wire(port) as line:
            while not self.stop.is_set():
                started = time.monotonic()
                line.send(wire.request("GET", path))
                self.failures += line.reply().status != 200
                self.times.append(time.monotonic() - started)
                time.sleep(max(0, pause - self.times[-1]))

    def end(self):
        self.stop.set()
        self.thread.join()
        assert self.failures == 0, f"{self.failures} probes failed"
        return percentile(self.times, 0.99) * 1000


def capacity(load, server, seconds):
    """Requests a second that come back right when clients only wait for their replies."""
    out = load.run(server.port, seconds=seconds, connections=24)
    clean(out)
    return out["good"] / out["seconds"]


def at_rate(load, server, rate, seconds):
    """Open loop: what came back, the probes' 99 % in ms, and how memory drifted while the load was steady."""
    health, metrics = Probe(server.port, "/health", 20), Probe(server.port, "/metrics", 100)
    running = load.start(server.port, processes=4, seconds=seconds, rate=rate)
    time.sleep(seconds * 0.5)  # until there are as many connections as the queue makes clients hold
    memory = server.resident()
    time.sleep(seconds * 0.45)
    drift = server.resident() / memory - 1
    out = load.gather(running)
    clean(out, refusals=True)
    return out, (health.end(), metrics.end()), drift


def ld_01_open_loop(context):
    """Goodput keeps its height at any rate; refusals are quick; memory stays; probes answer (promise 12, LD-12).

    The peak is the mean of what was measured before and behind: machines are not equally fast from minute to minute.
    """
    seconds = context.options.seconds
    factors = (0.5, 0.9, 1.2, 3, 10) if seconds >= 5 else (0.9, 10)  # a quick look: below and far above
    load = Load(context.options, 400, 8)
    noise = machine_noise()
    with server_apart() as processors:
        server = context.fresh(*queue_for(load, 30), processors=processors)
        try:
            load.run(server.port, seconds=1, connections=8)
            before = capacity(load, server, seconds / 2)
            for factor in factors:
                out, probes, drift = at_rate(load, server, before * factor, seconds)
                after = capacity(load, server, seconds / 2)
                goodput, peak, before = out["good"] / max(out["seconds"], seconds), (before + after) / 2, after
                slowest = percentile(out["refused_times"], 0.99) * 1000
                print(
                    f"      {factor}×: {goodput:.1f}/s good of {peak:.1f}, {out['refused']} refused, 99 % {slowest:.1f} "
                    f"ms, /health {probes[0]:.1f} ms, /metrics {probes[1]:.1f} ms, memory {drift:+.2%}",
                    flush=True,
                )
        finally:
            server.stop()
    assert out["refused"] > 0, "nothing was refused at ten times the capacity"
    context.bar(drift <= 0.01, f"memory grew by {drift:.2%}")
    context.bar(goodput >= 0.9 * peak, f"goodput {goodput:.1f}/s of {peak:.1f}/s")
    context.bar(slowest <= 50 + noise, f"refusals take {slowest:.1f} ms, an empty reply {noise:.1f} ms (99 %)")
    context.bar(max(probes) <= 50 + noise, f"LD-12: /health and /metrics {probes} ms, an empty reply {noise:.1f} ms")
    return (
        f"peak {peak:.1f} requests/s, at 10× {goodput / peak:.0%}; "
        f"refusals 99 %: {slowest:.1f} ms; memory {drift:+.2%}"
    )


def ld_05_short_beside_long(context):
    """A short text waits little beside long ones."""
    server = context.server()
    short = Load(context.options, 40, 1, seed=3, words=(4, 6))
    long = Load(context.options, 8, 1, seed=4, words=(150, 200))
    rounds = max(1.0, context.options.seconds / 4)
    alone, beside, noise = [], [], machine_noise()
    for _ in range(3):
        out = short.run(server.port, processes=1, seconds=rounds, connections=1)
        clean(out)
        alone += out["good_times"]
        running = long.start(server.port, processes=1, seconds=rounds + 0.5, connections=2)
        time.sleep(0.3)
        out = short.run(server.port, processes=1, seconds=rounds, connections=1)
        clean(long.gather(running))
        clean(out)
        beside += out["good_times"]
    near, far = percentile(alone, 0.99) * 1000, percentile(beside, 0.99) * 1000
    context.bar(
        far <= 3 * near + noise, f"{near:.1f} ms alone, {far:.1f} ms beside long texts, an empty reply {noise:.1f} ms"
    )
    return f"99 %: {near:.1f} ms alone, {far:.1f} ms beside long texts"


def ld_06_soak(context):
    """Neither memory nor descriptors grow while requests come and go."""
    load = Load(context.options, 200, 4, seed=6)
    server = context.fresh(*queue_for(load, 64))
    try:
        warm(server, lambda: load.run(server.port, seconds=context.options.seconds / 2, connections=32))
        memory, descriptors = server.resident(), server.descriptors()
        out = load.run(server.port, seconds=context.options.seconds, connections=32)
        clean(out)
        drift = server.resident() / memory - 1
        assert drift <= 0.01, f"memory grew by {drift:.2%}"
        assert eventually(
            lambda: server.descriptors() <= descriptors + 1, 3
        ), f"{descriptors} descriptors before, {server.descriptors()} after"
    finally:
        server.stop()
    return f"{out['good']} requests, memory {drift:+.2%}"


def ld_13_no_crossed_replies(context):
    """Every line is another one; some clients leave; every reply is the line's own."""
    count = context.options.requests
    load = Load(context.options, count, 1, seed=13, words=(3, 9))
    server = context.server("--queue-tokens", "200000")
    out = load.run(server.port, processes=4, connections=96, leave=0.1, once=True)
    clean(out)
    assert out["good"] + out["left"] == count, f"{out['good']} good and {out['left']} left of {count}"
    return f"{out['good']} replies right, {out['left']} clients left"


def throughput(context):
    """The server translates about as fast as `heddle translate` does."""
    found = context.options
    load = Load(found, max(30, int(min(context.options.seconds, 15) * 8)), 64, seed=20)
    words = sum(len(line.split()) for line in load.lines)
    server = context.fresh("--queue-tokens", "400000")
    rates = []
    try:
        load.run(server.port, seconds=0.5, connections=8)
        for _ in range(5):
            summary = f"{found.work}/summary.json"
            subprocess.run(
                [
                    found.binary,
                    "translate",
                    "--quiet",
                    "--json",
                    summary,
                    "--model",
                    found.folders[found.name],
                    "--threads",
                    str(found.threads),
                ],
                input="\n".join(load.lines) + "\n",
                text=True,
                capture_output=True,
                check=True,
            )
            with open(summary, encoding="utf-8") as file:
                alone = json.load(file)["words_per_second"]
            out = load.run(server.port, processes=1, connections=8, once=True)
            clean(out)
            rates.append((words / out["seconds"], alone))
    finally:
        server.stop()
    share = statistics.median(served / alone for served, alone in rates)
    context.bar(share >= 0.9, f"{share:.0%} of heddle translate: {rates}")
    return f"{share:.0%} of heddle translate ({rates[0][0]:.0f} and {rates[0][1]:.0f} words/s)"


class SlowConnections:
    """Connections that send a byte of a header now and then, and come back when they are closed."""

    def __init__(self, port, count):
        self.port, self.count, self.stop = port, count, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        lines, turn = [], 0
        while not self.stop.is_set():
            while len(lines) < self.count and not self.stop.is_set():
                line = wire.Wire(self.port)
                line.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ")
                lines.append(line)
            for line in lines[turn::20]:
                if not line.send(b"a"):
                    line.socket.close()
                    lines.remove(line)
            turn = (turn + 1) % 20
            time.sleep(0.05)
        for line in lines:
            line.socket.close()

    def end(self):
        self.stop.set()
        self.thread.join()


def slow_connections(context):
    """A thousand connections that dawdle leave the others their speed (promise 14)."""
    server = context.server()
    load = Load(context.options, 100, 2, seed=30)
    seconds = max(1.5, context.options.seconds / 5)
    load.run(server.port, seconds=1, connections=4)
    ratios, times = [], []
    for _ in range(3):
        before = load.run(server.port, processes=1, seconds=seconds, connections=4)
        slow = SlowConnections(server.port, 1000)
        time.sleep(0.5)
        during = load.run(server.port, processes=1, seconds=seconds, connections=4)
        slow.end()
        clean(before)
        clean(during)
        near, far = (percentile(out["good_times"], 0.99) * 1000 for out in (before, during))
        ratios.append(far / near)
        times.append(f"{near:.1f}→{far:.1f} ms")
    ratio = min(ratios)
    context.bar(ratio <= 1.1, f"99 % is {ratio:.2f}× as long: {times}")
    return f"99 %: {ratio:.2f}× ({', '.join(times)})"
