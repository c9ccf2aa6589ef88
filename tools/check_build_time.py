#!/usr/bin/env python3
"""Fails when a file of a built folder, or all together, took too long to compile.

  check_build_time.py build/dev [--each 20] [--total 350]

The folder's .ninja_log tells the seconds of each step. A machine with other work stretches them, so
where a budget looks broken the slowest files are compiled once more, alone, and their CPU seconds
decide.
"""
import argparse
import pathlib
import resource
import subprocess
import sys

COMPILED = (".o", ".gch", ".pch")


def step_seconds(folder):
    """{output: seconds} of the last build of each output that is still there."""
    seconds = {}
    for line in (folder / ".ninja_log").read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if line.startswith("#") or len(fields) != 5:
            continue
        if (folder / fields[3]).exists():
            seconds[fields[3]] = (int(fields[1]) - int(fields[0])) / 1000
    return seconds


def cpu_seconds(folder, output):
    """CPU seconds of the compile step that makes this output."""
    commands = subprocess.run(["ninja", "-C", str(folder), "-t", "commands", "-s", output],
                              capture_output=True, text=True, check=True).stdout.splitlines()
    command = next(line for line in reversed(commands) if not line.startswith("ninja:"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, shell=True, cwd=folder, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--each", type=float, default=20, help="seconds for one file")
    parser.add_argument("--total", type=float, default=350, help="seconds for the whole build")
    arguments = parser.parse_args()
    folder = arguments.folder
    if not (folder / ".ninja_log").exists():
        sys.exit(f"{folder}/.ninja_log is missing; expected a built folder")
    steps = step_seconds(folder)
    slowest = sorted((name for name in steps if name.endswith(COMPILED)), key=lambda n: -steps[n])
    if not slowest:
        sys.exit(f"{folder}/.ninja_log names no compiled file")
    total = sum(steps.values())
    suspects = [name for name in slowest if steps[name] > arguments.each]
    if total > arguments.total:
        suspects = slowest[:max(3, len(suspects))]
    cpu = {name: cpu_seconds(folder, name) for name in suspects}
    if total > arguments.total:
        total *= sum(cpu.values()) / sum(steps[name] for name in suspects)
    for name in slowest[:5]:
        print(f"{cpu.get(name, steps[name]):6.1f} s  {name}")
    print(f"{total:6.1f} s  all {len(steps)} steps (budget {arguments.total:g} s)")
    slow = [name for name in suspects if cpu[name] > arguments.each]
    for name in slow:
        print(f"{name}: {cpu[name]:.1f} CPU seconds; expected at most {arguments.each:g}")
    return 1 if slow or total > arguments.total else 0


if __name__ == "__main__":
    sys.exit(main())
