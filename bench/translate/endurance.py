#!/usr/bin/env python3
"""Lines out = lines in, and memory stays flat, with hostile lines mixed in.

  endurance.py --heddle build/release/bin/heddle --model MODEL --text lines.en --lines 1000000 [-- OPTION...]

Takes the first lines of a text (plain or .zst), puts hostile ones at random places, translates the
file with --in and --out and looks at the process's memory all the time. Ordinary lines must give what
they give without the hostile ones (a sample is translated again alone). What stands behind -- goes to
heddle translate. Exit code 1 on any fault."""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

SAMPLE = 50


def hostile(rng):
    """One line of bytes that somebody might send."""
    kinds = [
        b"", b" " * rng.randint(1, 5000), b"\t\t", b"a\0b\0c", b"\r", b"x\ry",
        bytes(rng.randint(128, 255) for _ in range(rng.randint(1, 200))),
        bytes(b for b in (rng.randint(0, 255) for _ in range(300)) if b != 10),
        b"\xc0\xaf\xed\xa0\x80\xf5", b"caf\xc3", b"\xef\xbb\xbfmark", b"a\xe2\x80\xa8b\xc2\x85c\x0b\x0cd",
        ("e" + "\u0301" * rng.randint(1, 3000)).encode(), "\u202eabc\u2066".encode(),
        "\U0001f469\u200d\U0001f4bb".encode() * rng.randint(1, 50),
        b"word " * rng.randint(100, 1500), b"x" * rng.randint(1000, 20000),
        "漢字".encode() * rng.randint(1, 800), b"<s> </s> <unk> <pad>", b"%s%n{}\\n$(ls)",
        b"." * rng.randint(1, 3000), b"1 2 3 " * rng.randint(1, 300),
    ]
    return rng.choice(kinds)


def ordinary(path, count):
    if path.endswith(".zst"):
        with subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE) as process:
            for _, line in zip(range(count), process.stdout):
                yield line.rstrip(b"\n")
            process.kill()
    else:
        with open(path, "rb") as file:
            for _, line in zip(range(count), file):
                yield line.rstrip(b"\n")


def mix(options, target):
    """Writes the file; the numbers of all lines and a sample of ordinary ones {number: line}."""
    rng = random.Random(options.seed)
    places = set(rng.sample(range(options.lines), min(options.hostile, options.lines)))
    sample, number = {}, 0
    with open(target, "wb") as file:
        for index, line in enumerate(ordinary(options.text, options.lines)):
            if index in places:
                file.write(hostile(rng) + b"\n")
                number += 1
            if rng.random() < SAMPLE / options.lines:
                sample[number] = line
            file.write(line + b"\n")
            number += 1
    return number, sample


def resident(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def watch(process, seconds):
    """[(time, MB)] until the process ends."""
    start, seen = time.time(), []
    while process.poll() is None:
        now = resident(process.pid)
        if now:
            seen.append((time.time() - start, now))
        time.sleep(seconds)
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heddle", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--hostile", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("more", nargs="*")
    options = parser.parse_args()
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        source, target, summary = (os.path.join(folder, name) for name in ("in", "out", "json"))
        number, sample = mix(options, source)
        base = [options.heddle, "translate", "--model", options.model, "--threads",
                str(options.threads), *options.more]
        process = subprocess.Popen([*base, "--in", source, "--out", target, "--json", summary])
        seen = watch(process, 1.0)
        if process.returncode != 0:
            raise SystemExit(f"exit code {process.returncode}")
        with open(target, "rb") as file:
            out = file.read().split(b"\n")
        if len(out) - 1 != number:
            faults.append(f"{number} lines in, {len(out) - 1} out")
        alone = subprocess.run([*base, "--quiet"], input=b"\n".join(sample.values()) + b"\n",
                               stdout=subprocess.PIPE, check=True).stdout.split(b"\n")
        other = [n for n, line in zip(sample, alone) if out[n] != line]
        if other:
            faults.append(f"{len(other)} of {len(sample)} lines differ from those translated alone")
        if os.path.exists(target + ".progress"):
            faults.append("the progress file is still there")
        with open(summary, encoding="utf-8") as file:
            record = json.load(file)
    early = max((mb for at, mb in seen[:max(len(seen) // 4, 1)]), default=0)
    late = max((mb for at, mb in seen), default=0)
    if late > early * 1.1 + 8:
        faults.append(f"memory grew from {early:.0f} MB in the first quarter to {late:.0f} MB")
    print(f"{number} lines in and out, {record['seconds']:.0f} s, "
          f"{record['words_per_second']:.0f} words/s, {record['cut_lines']} cut, "
          f"{record['refused_lines']} refused; memory {early:.0f} MB in the first quarter, "
          f"{late:.0f} MB at most")
    for fault in faults:
        print("FAULT:", fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
