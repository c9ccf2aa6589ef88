#!/usr/bin/env python3
"""`heddle translate --device cuda` from raw text to raw text, its ideas off in turn, and CTranslate2.

  gpu.py --heddle build/release/bin/heddle --model MODEL --text lines.en [--beam 4] [--ablation] \\
         [--ctranslate2 FOLDER --python venv/bin/python]

MODEL is an encoder–decoder that writes real ends of sentences: one that was trained. FOLDER is the same
model, `heddle convert MODEL FOLDER --format ctranslate2`; --python has ctranslate2 and sentencepiece.
CTranslate2 gets all lines at once, sorts them by length and takes the batch size, in tokens, that does
best of --batches; tokenising and putting together use all processors, and count as they do for Heddle.
Prints a Markdown table: words a second of wall time with start-up (medians), the GPU memory of the
process at its most, and the share of lines that are those of the first row."""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time

VARIANTS = {
    "no CUDA graphs": ["--no-graphs"],
    "choice not fused with the projection": ["--unfused-choice"],
    "static batches: no refill before all rows are done": ["--refill-rows", "{rows}"],
    "one thread that decodes": ["--decoders", "1"],
    "text by one thread": ["--serial-text"],
    "256 rows": ["--rows", "256", "--refill-rows", "16"],
    "1024 rows": ["--rows", "1024", "--refill-rows", "64"],
}

PEER = """import json, sys, time
start = time.perf_counter()
import ctranslate2, sentencepiece
folder, vocabulary, text, out, beam, batch = sys.argv[1:]
lines = open(text, encoding="utf-8").read().split("\\n")[:-1]
translator = ctranslate2.Translator(folder, device="cuda", compute_type="float16")
pieces = sentencepiece.SentencePieceProcessor(model_file=vocabulary)
loaded = time.perf_counter()
sources = pieces.encode(lines, out_type=str, num_threads=-1)  # it adds the ends
tokenised = time.perf_counter()
results = translator.translate_batch(sources, beam_size=int(beam), max_batch_size=int(batch), batch_type="tokens",
                                     max_input_length=256, max_decoding_length=256)
translated = time.perf_counter()
texts = pieces.decode([result.hypotheses[0] for result in results], num_threads=-1)
open(out, "w", encoding="utf-8").write("".join(text + "\\n" for text in texts))
end = time.perf_counter()
print(json.dumps({"load": loaded - start, "tokenise": tokenised - loaded, "translate": translated - tokenised,
                  "join": end - translated}))
"""


class Memory:
    """MiB of the GPU in use beyond what was before, at the most."""

    def __enter__(self):
        self.before = self.most = self.now()
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()

    def watch(self):
        while not self.ends.wait(0.1):
            self.most = max(self.most, self.now())

    @staticmethod
    def now():
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])

    def mib(self):
        return self.most - self.before


def timed(command, out):
    """A record of a whole process: seconds, GPU memory, its output's lines, what it printed."""
    start = time.perf_counter()
    with Memory() as memory:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    with open(out, encoding="utf-8") as file:
        lines = file.read().split("\n")[:-1]
    return {"seconds": seconds, "mib": memory.mib(), "lines": lines, "said": done.stdout}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heddle", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--options", default="", help="more for every run of heddle")
    parser.add_argument("--ctranslate2")
    parser.add_argument("--python", default="python3")
    parser.add_argument("--batches", default="16384,65536", help="CTranslate2's, in tokens")
    options = parser.parse_args()
    with open(options.text, encoding="utf-8") as file:
        words = sum(len(line.split()) for line in file)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        rows = "4096"
        given = options.options.split()
        if "--rows" in given:
            rows = given[given.index("--rows") + 1]
        heddle = [options.heddle, "translate", "--device", "cuda", "--model", options.model, "--in", options.text,
                  "--out", out, "--restart", "--quiet", "--beam", str(options.beam), *given]
        commands = {"Heddle": heddle}
        if options.ablation:
            for name, more in VARIANTS.items():
                commands["… " + name] = heddle + [word.format(rows=rows) for word in more]
        if options.ctranslate2:
            for batch in options.batches.split(","):
                commands[f"CTranslate2, float16, batches of {batch} tokens"] = [
                    options.python, "-c", PEER, options.ctranslate2, os.path.join(options.model, "source.spm"),
                    options.text, out, str(options.beam), batch]
        records = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                records[name].append(timed(command, out))
    first = records["Heddle"][0]["lines"]
    base = statistics.median(record["seconds"] for record in records["Heddle"])
    print(f"{len(first):,} lines, {words:,} words, beam {options.beam}\n")
    print("| | words/s | time × | GPU memory, MiB | same lines |")
    print("|---|---|---|---|---|")
    for name, mine in records.items():
        seconds = statistics.median(record["seconds"] for record in mine)
        same = sum(a == b for a, b in zip(first, mine[0]["lines"])) / max(len(first), 1)
        print(f"| {name} | {words / seconds:,.0f} | {seconds / base:.2f} | {max(r['mib'] for r in mine):,} "
              f"| {100 * same:.2f} % |")
    for name, mine in records.items():
        if name.startswith("CTranslate2"):
            print(f"\n{name}, seconds: {json.dumps(json.loads(mine[-1]['said']))}")


if __name__ == "__main__":
    main()
