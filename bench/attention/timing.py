"""Times of device work, and limits on whatever takes too long.

Forward and backward are timed alike: the launch is captured into a CUDA graph and replayed back to
back between two events, so that Python's own time does not count; where capture fails, the launches
themselves run back to back, and the record says so. The backward is torch.autograd.grad on a graph
that is kept, not a difference of two times.
"""
import contextlib
import os
import signal
import statistics
import threading
import time

import torch

LONGEST = 2.0  # seconds for all windows of one launch, when two of them fit


class Clock:
    """Seconds of one launch: median over `repeats` windows of about `window` seconds each.

    Under load the GPU lowers its clock within milliseconds: `settle` seconds go before.
    """

    def __init__(self, device, repeats=5, window=0.03, settle=0.06):
        self.device = torch.device(device)
        self.repeats, self.window, self.settle = repeats, window, settle
        self.stream = torch.cuda.Stream() if self.device.type == "cuda" else None

    def on_stream(self):
        """Everything measured runs on the clock's own stream, the backward too."""
        return torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext()

    def time(self, launch):
        """{"seconds", "spread", "how"} of a launch that has run before."""
        if not self.stream:
            return self._median(launch, self._host_seconds, "host clock")
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.stream):
                launch()
        except Exception as error:  # noqa: BLE001: any library may refuse capture in its own way
            torch.cuda.synchronize()
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            return self._median(launch, self._event_seconds, "launches", capture=reason)
        return self._median(graph.replay, self._event_seconds, "graph")

    def _median(self, launch, seconds, how, **more):
        launch()
        once = seconds(launch, 1)
        count = max(1, min(500, round(self.window / max(once, 1e-6))))
        for _ in range(round(self.settle / (once * count)) if self.stream else 0):
            seconds(launch, count)  # until the GPU's clock is that of this load
        repeats = max(2, min(self.repeats, round(LONGEST / (once * count))))
        runs = [seconds(launch, count) for _ in range(repeats)]
        median = statistics.median(runs)
        return {"seconds": median, "spread": (max(runs) - min(runs)) / median, "how": how, **more}

    def _event_seconds(self, launch, count):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(count):
            launch()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / count

    @staticmethod
    def _host_seconds(launch, count):
        begin = time.perf_counter()
        for _ in range(count):
            launch()
        return (time.perf_counter() - begin) / count


class TooSlow(Exception):
    """A step went over its limit."""


@contextlib.contextmanager
def limit(seconds, what):
    """Raises TooSlow in the main thread after `seconds`, at the next line of Python it runs."""

    def ring(_signal, _frame):
        raise TooSlow(f"{what} took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Watchdog:
    """Calls on_hang from another thread when the main one is stuck, in a kernel for instance."""

    def __init__(self, seconds, on_hang):
        self.seconds, self.on_hang = seconds, on_hang
        self.due = None
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def watching(self):
        self.due = time.monotonic() + self.seconds
        try:
            yield
        finally:
            self.due = None

    def _watch(self):
        while True:
            time.sleep(1)
            if self.due is not None and time.monotonic() > self.due:
                self.due = None
                self.on_hang()


def device_is_lost():
    """Whether an earlier kernel broke this process's CUDA context for good."""
    if not torch.cuda.is_available():
        return False
    try:
        torch.cuda.synchronize()
        return not bool(torch.ones(1, device="cuda").item())
    except Exception:  # noqa: BLE001
        return True


def restart(arguments, most=5):
    """Replaces this process by a new one that resumes; false when that was done `most` times."""
    count = int(os.environ.get("HEDDLE_PEERS_RESTARTS", "0"))
    if count >= most:
        return False
    os.environ["HEDDLE_PEERS_RESTARTS"] = str(count + 1)
    os.execv(arguments[0], arguments)
