"""Results on disk: one JSON line for the run, one for each (case, peer), written as they come."""
import datetime
import json
import os
import platform
import subprocess
import sys

import torch

FILE = "results.jsonl"


class Store:
    """The lines of a folder. With resume, those already there count."""

    def __init__(self, folder, resume):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, FILE)
        self.runs, self.records = [], {}
        if resume and os.path.exists(self.path):
            self._load()
        else:
            open(self.path, "w", encoding="utf-8").close()

    def _load(self):
        with open(self.path, encoding="utf-8") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # the run was killed while it wrote
                    continue
                if "command" in entry:
                    self.runs.append(entry)
                else:
                    self.records[entry["case"], entry["peer"]] = entry

    def add_run(self, environment):
        self.runs.append(environment)
        self._append(environment)

    def add(self, record):
        record = {**record, "run": len(self.runs) - 1}
        self.records[record["case"], record["peer"]] = record
        self._append(record)

    def _append(self, entry):
        with open(self.path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")
            lines.flush()
            os.fsync(lines.fileno())


def environment(versions, device):
    """What a reader needs to repeat the run."""
    where = {"gpu": platform.processor() or platform.machine(), "driver": "-", "uuid": "-"}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        where = {"gpu": properties.name, "driver": _driver(), "uuid": str(properties.uuid)}
    return {
        "command": " ".join([os.path.basename(sys.executable), *sys.argv]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        **where,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "peers": versions,
    }


def _output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True,
                              cwd=os.path.dirname(__file__)).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _driver():
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return _output(*query).partition("\n")[0] or "-"


def _commit():
    """HEDDLE_COMMIT, or git's, marked when files differ from it."""
    if os.environ.get("HEDDLE_COMMIT"):
        return os.environ["HEDDLE_COMMIT"]
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    changed = commit and _output("git", "status", "--porcelain", "--untracked-files=no")
    return (commit or "-") + ("+changes" if changed else "")
