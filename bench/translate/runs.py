"""Runs of a translator as processes: pinned, in turn, each figure the median of its rounds."""
import json
import os
import statistics
import subprocess
import tempfile
import time


def read_pairs(path, lines=None):
    """Sources and references of a text of "source TAB reference" lines."""
    with open(path, encoding="utf-8") as file:
        pairs = [line.rstrip("\n").split("\t")[:2] for line in file]
    pairs = pairs[:lines]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def pinned(command, cores):
    return ["taskset", "-c", ",".join(map(str, cores)), *command]


def timed(command, cores, stdin=None):
    """Runs a command; its stdout, and CPU seconds of it and its children."""
    before = os.times()
    result = subprocess.run(pinned(command, cores), input=stdin, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, encoding="utf-8", check=False)
    after = os.times()
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{result.stderr[-2000:]}")
    cpu = (after.children_user - before.children_user
           + after.children_system - before.children_system)
    return result.stdout, cpu


class Heddle:
    """`heddle translate` with some options."""

    def __init__(self, binary, model, options=()):
        self.command = [binary, "translate", "--model", model, "--quiet", *options]

    def run(self, sources, cores, threads=1):
        with tempfile.TemporaryDirectory() as folder:
            summary = os.path.join(folder, "summary.json")
            command = [*self.command, "--threads", str(threads), "--json", summary]
            out, cpu = timed(command, cores, "\n".join(sources) + "\n")
            with open(summary, encoding="utf-8") as file:
                record = json.load(file)
        record["cpu"] = max(cpu - record["load_seconds"], 1e-9)
        record["output"] = out.split("\n")[:-1]
        return record

    def one_by_one(self, sources, cores):
        """Mean seconds of a sentence that is written when the one before has been read."""
        seconds = []
        command = pinned([*self.command, "--threads", "1"], cores)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              encoding="utf-8") as process:
            for source in [" ".join(sources)[:1000], *sources]:  # the first warms up
                start = time.perf_counter()
                process.stdin.write(source + "\n")
                process.stdin.flush()
                process.stdout.readline()
                seconds.append(time.perf_counter() - start)
            process.stdin.close()
        return statistics.mean(seconds[1:])


class Peer:
    """A peer's script (peer_*.py), which prints the same fields as `heddle translate --json`."""

    def __init__(self, python, script, options=()):
        here = os.path.dirname(os.path.abspath(__file__))
        self.command = [python, os.path.join(here, script), *options]

    def run(self, sources, cores, threads=1):
        command = [*self.command, "--threads", str(threads)]
        out, _ = timed(command, cores, "\n".join(sources) + "\n")
        return json.loads(out.splitlines()[-1])

    def one_by_one(self, sources, cores):
        out, _ = timed([*self.command, "--one-by-one"], cores, "\n".join(sources) + "\n")
        return json.loads(out.splitlines()[-1])["seconds"] / len(sources)


def rounds(translators, sources, cores, count, threads=1):
    """Every translator once a round, in turn, so that drift hits all: {name: [record, …]}."""
    records = {name: [] for name in translators}
    for _ in range(count):
        for name, translator in translators.items():
            records[name].append(translator.run(sources, cores, threads))
    return records


def median(records, field):
    return statistics.median(record[field] for record in records)


def ratios(ours, theirs, field):
    """Ours over theirs, pair by pair: least, median, most."""
    values = sorted(a[field] / b[field] for a, b in zip(ours, theirs))
    return values[0], statistics.median(values), values[-1]


def rate(record, words):
    """Words a CPU second: what other work on the machine disturbs least."""
    return words / record["cpu"]
