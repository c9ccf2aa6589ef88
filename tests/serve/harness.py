"""Starts `heddle serve` for a test, watches its process, and runs test cases by name."""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import small_model
import wire


def options(description, **extra):
    """The options that all test programs share; `extra` are further arguments of add_argument by name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("binary", help="the command heddle")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=DIR", help="default: a tiny random model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", metavar="TEXT", help="run the cases whose name contains TEXT")
    parser.add_argument("--strict", action="store_true", help="fail when a promise of time or speed is missed")
    for name, settings in extra.items():
        parser.add_argument("--" + name.replace("_", "-"), **settings)
    found = parser.parse_args()
    found.work = tempfile.mkdtemp(prefix="heddle-serve-")
    if not found.model:
        found.model = ["en-pt=" + small_model.write(found.work + "/model")]
    found.folders = dict(model.split("=", 1) for model in found.model)
    found.name = next(iter(found.folders))
    found.served = found.model[:1]  # most cases need one model, and then no request has to name it
    return found


@contextlib.contextmanager
def server_apart():
    """Processors for a server alone, half of all; what is started meanwhile has the others, as on another machine.

    None where there is only one processor.
    """
    mine = sorted(os.sched_getaffinity(0))
    half = len(mine) // 2
    try:
        os.sched_setaffinity(0, mine[half:])
        yield mine[:half] or None
    finally:
        os.sched_setaffinity(0, mine)


class Server:
    """A running `heddle serve`; its log is kept in memory."""

    def __init__(self, found, *flags, models=None, port=0, ready=True, processors=None):
        threads = found.threads if processors is None else len(processors)
        command = [found.binary, "serve", "--listen", f"127.0.0.1:{port}", "--threads", str(threads)]
        for model in models or found.served:
            command += ["--model", model]
        self.log = []
        self.port = None
        self.listening = threading.Event()
        self.process = subprocess.Popen(
            command + list(flags),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            preexec_fn=processors and (lambda: os.sched_setaffinity(0, processors)),
        )
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        if ready and (not self.listening.wait(60) or self.port is None):
            raise RuntimeError("the server did not start:\n" + b"\n".join(self.log).decode(errors="replace"))

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip(b"\n"))
            found = re.search(rb"listening on http://\S*:(\d+)", line)
            if found and self.port is None:
                self.port = int(found[1])
                self.listening.set()
        self.listening.set()

    def alive(self):
        return self.process.poll() is None

    def status(self, name):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1])

    def resident(self):
        """Resident memory in bytes."""
        return self.status("VmRSS") * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def processor_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metrics(self):
        """{name with labels: value} of /metrics."""
        text = wire.ask(self.port, "GET", "/metrics").body.decode()
        return {
            line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line and not line.startswith("#")
        }

    def total(self, name, **labels):
        """The sum of a metric over the label sets that have these labels."""
        return sum(
            value
            for key, value in self.metrics().items()
            if key.split("{")[0] == name and all(f'{label}="{wanted}"' in key for label, wanted in labels.items())
        )

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=60):
        return self.process.wait(seconds)

    def stop(self):
        if self.alive():
            self.signal()
            try:
                self.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.reader.join(5)
        found = [line for line in self.log if b"Sanitizer" in line]
        assert not found, "a sanitizer found something:\n" + b"\n".join(self.log[-200:]).decode(errors="replace")
        return self.process.returncode


class Context:
    """What a case gets: servers by flags (started once, shared by cases), and the options."""

    def __init__(self, found):
        self.options = found
        self.servers = {}

    def server(self, *flags):
        server = self.servers.get(flags)
        if server is None or not server.alive():
            server = self.servers[flags] = Server(self.options, *flags)
        return server

    def fresh(self, *flags, **settings):
        return Server(self.options, *flags, **settings)

    def bar(self, good, message):
        """A promise of time or speed: it fails with --strict, for a busy machine keeps none; else it is noted."""
        if not good and self.options.strict:
            raise AssertionError(message)
        if not good:
            print(f"note  missed, this machine may be busy: {message}", flush=True)

    def file(self, name, text):
        path = os.path.join(self.options.work, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


def eventually(condition, seconds=5.0, pause=0.02):
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def warm(server, work, rounds=8):
    """Does the work until memory has found its size: buffers grow with the largest batch so far."""
    before = 0
    for _ in range(rounds):
        work()
        if server.resident() <= before * 1.003:
            return
        before = server.resident()


def machine_noise(seconds=1.5):
    """What a reply of no work takes here (99 %, in ms): a machine busy with other things answers nobody at once."""
    echo = subprocess.Popen(
        [sys.executable, "-c", "import os\nwhile os.write(1, os.read(0, 1)): pass"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        echo.stdin.write(b"x")
        echo.stdout.read(1)
        times.append(time.monotonic() - started)
        time.sleep(0.002)
    echo.kill()
    echo.wait()
    return percentile(times, 0.99) * 1000


def offline(found, lines, name=None):
    """What `heddle translate` makes of these lines."""
    run = subprocess.run(
        [
            found.binary,
            "translate",
            "--quiet",
            "--model",
            found.folders[name or found.name],
            "--threads",
            str(found.threads),
        ],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    out = run.stdout.split("\n")
    assert len(out) == len(lines) + 1, "heddle translate lost lines"
    return out[:-1]


def run_cases(found, cases):
    """Runs (name, function) pairs; each must leave its servers alive. Exits with the number of failures."""
    context = Context(found)
    failures = []
    wanted = [(name, case) for name, case in cases if found.only in name]
    for name, case in wanted:
        started = time.monotonic()
        try:
            note = case(context)
            for flags, server in context.servers.items():
                assert server.alive(), f"the server with {flags} ended with {server.process.returncode}"
                assert wire.ask(server.port, "GET", "/health").status == 200, "not healthy afterwards"
            print(f"ok    {name}  {time.monotonic() - started:.1f} s  {note or ''}", flush=True)
        except Exception as error:
            failures.append(name)
            place = traceback.extract_tb(error.__traceback__)[-1]
            print(f"FAIL  {name}: {type(error).__name__}: {str(error)[:600]} ({place.name}:{place.lineno})", flush=True)
    for server in context.servers.values():
        code = server.stop()
        if code != 0:
            failures.append("exit")
            print(f"FAIL  exit: a server ended with {code}: {b' | '.join(server.log[-5:]).decode(errors='replace')}")
    shutil.rmtree(found.work, ignore_errors=True)
    print(f"{len(wanted) - len(set(failures) - {'exit'})} of {len(wanted)} cases pass")
    sys.exit(1 if failures else 0)


def cases_of(*modules, prefix):
    found = {name: value for module in modules for name, value in vars(module).items() if name.startswith(prefix)}
    return sorted(found.items())
