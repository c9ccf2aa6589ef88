"""Lines with their offline translations, and client processes that ask for them."""

import json
import pathlib
import random
import subprocess
import sys

from harness import offline

CLIENT = pathlib.Path(__file__).with_name("load_client.py")
WORDS = """the cat sat on a mat and saw old hills far away when rain fell over this quiet town before
people could find their bread milk water fire house garden river stone road winter summer morning evening light dark
small large good bad new first last weaver loom thread cloth pattern color hand wheel ship letter book song child mother
friend king teacher doctor market bridge""".split()


def lines_of(count, seed, words=(4, 24)):
    """Distinct lines that end like sentences."""
    chance = random.Random(seed)
    return [
        f"{' '.join(chance.choice(WORDS) for _ in range(chance.randint(*words)))} {i}.".capitalize()
        for i in range(count)
    ]


class Load:
    """A text cut into requests, with what must come back."""

    def __init__(self, found, requests, lines_each, seed=1, words=(4, 24)):
        self.model = found.name
        lines = lines_of(requests * lines_each, seed, words)
        out = offline(found, lines)
        self.lines = lines
        cut = range(0, len(lines), lines_each)
        self.batches = [lines[i : i + lines_each] for i in cut]
        self.expected = [out[i : i + lines_each] for i in cut]

    def start(self, port, processes=2, seconds=1e9, rate=0.0, connections=8, leave=0.0, once=False):
        """Starts the clients; rate and connections are those of all together."""
        running = []
        for i in range(processes):
            plan = {
                "port": port,
                "seconds": seconds,
                "rate": rate / processes,
                "connections": max(1, connections // processes),
                "leave": leave,
                "once": once,
                "start": i,
                "step": processes,
                "model": self.model,
                "batches": self.batches,
                "expected": self.expected,
            }
            process = subprocess.Popen(
                [sys.executable, "-B", str(CLIENT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            process.stdin.write(json.dumps(plan))
            process.stdin.close()
            process.stdin = None
            running.append(process)
        return running

    def run(self, port, **settings):
        return self.gather(self.start(port, **settings))

    @staticmethod
    def gather(running):
        """The sum of what the clients saw."""
        total = {}
        for process in running:
            out, _ = process.communicate()
            assert process.returncode == 0, "a client process failed"
            for key, value in json.loads(out).items():
                if key == "seconds":
                    total[key] = max(total.get(key, 0), value)
                elif isinstance(value, dict):
                    total.setdefault(key, {}).update({k: total.get(key, {}).get(k, 0) + v for k, v in value.items()})
                else:
                    total[key] = total.get(key, type(value)()) + value
        return total


def clean(out, refusals=False):
    """Fails when a reply was lost, wrong, doubled or crossed."""
    assert (
        out["wrong"] == 0 and out["lost"] == 0 and not out["other"]
    ), f"wrong {out['wrong']}, lost {out['lost']}, other {out['other']}: {out['examples']}"
    assert out["no_retry_after"] == 0, f"{out['no_retry_after']} refusals without Retry-After"
    assert refusals or out["refused"] == 0, f"{out['refused']} refused"
