"""``mmbench score`` as a whole process: start, read, score with intervals, print.

    python tests/bench/bench_score_command.py [--images 1000] [--references 5] [--repeats 5]

Beside it, in turn, a process that scores the same COCO files with pycocoevalcap as its own demo
does (from texts only where Java is there), and one that only imports numpy, below which no such
command can be. Seconds of the wall and, as a busy machine stretches those, of the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_captions import METRICS, captions

#: The target: seconds of the wall on a machine that has nothing else to do.
LIMIT = 1.0

THEIRS = """
import contextlib, io, json, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
said = {row["image_id"]: [row] for row in json.load(open("said.json"))}
true = {}
for row in json.load(open("true.json"))["annotations"]:
    true.setdefault(row["image_id"], []).append(row)
with contextlib.redirect_stdout(io.StringIO()):
    if sys.argv[1] == "java":
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
        said, true = (PTBTokenizer().tokenize(side) for side in (said, true))
    else:
        said, true = (
            {i: [row["caption"].lower() for row in rows] for i, rows in side.items()}
            for side in (said, true)
        )
    scores = [m.compute_score(true, said)[0] for m in (Bleu(4), Cider(), Rouge())]
print(scores)
"""


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds of wall and processor that a process takes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    quiet = subprocess.DEVNULL
    subprocess.run(command, cwd=folder, check=True, stdout=quiet, stderr=quiet)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write(folder: Path, images: int, references: int) -> None:
    """Write captions as COCO's files, and as JSON Lines."""
    predictions, truth = captions(images, references)
    said = [{"image_id": i, "caption": text} for i, text in enumerate(predictions)]
    annotations = [
        {"image_id": i, "id": i * references + k, "caption": text}
        for i, texts in enumerate(truth)
        for k, text in enumerate(texts)
    ]
    content = {"images": [{"id": i} for i in range(images)], "annotations": annotations}
    (folder / "said.json").write_text(json.dumps(said))
    (folder / "true.json").write_text(json.dumps(content))
    (folder / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))


def main() -> None:
    """Print a line a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    os.environ["PYTHONPATH"] = str(root)
    score = [sys.executable, "-m", "mmbench", "score", "--metrics", ",".join(METRICS)]
    commands = {
        "mmbench score, COCO files": [*score, "said.json", "--references", "true.json"],
        "mmbench score, JSON Lines": [*score, "said.jsonl", "--references", "true.json"],
        "pycocoevalcap, split at blanks": [sys.executable, "-c", THEIRS, "blanks"],
        "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
    }
    if shutil.which("java"):
        commands["pycocoevalcap, its own tokeniser"] = [sys.executable, "-c", THEIRS, "java"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # As where it is installed: byte code is kept, whatever this shell says.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        write(folder, given.images, given.references)
        for command in commands.values():  # byte code and the disk's cache
            measured(command, folder)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(given.repeats):
            for name, command in commands.items():
                times[name].append(measured(command, folder))
    print(f"{given.images} images x {given.references} references, {len(METRICS)} metrics")
    print(f"{'medians of ' + str(given.repeats):34} {'wall':>9} {'processor':>11}")
    ours = 0.0
    for name, pairs in times.items():
        wall, cpu = (statistics.median(side) for side in zip(*pairs, strict=True))
        ours = ours or wall
        print(f"{name:34} {wall:7.2f} s {cpu:9.2f} s {wall / ours:8.1f} x")
    print(f"limit {LIMIT} s: {'kept' if ours <= LIMIT else 'passed, or the machine is busy'}")


if __name__ == "__main__":
    main()
