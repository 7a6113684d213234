"""Samples/s of a CNN on images read from the disk, beside the same images in memory.

    python tests/bench/bench_streaming.py [--memory 64] [--times 10] [--batch 64] [--repeats 5]

Images of 3 x 64 x 64 pixels lie in a file as the cache of prepared data lays them, `times` as large
as what data may take (`memory` MiB). The same training (`mmbench.train`, one thread) runs with
that allowance and with one that takes all, in turn, from the same seed; both have to end in the
same weights. Before each streamed run the system is asked to forget the file, and what it then
really read from the disk is told; where it does not forget, the bench says that it ran warm.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from mmbench import catalog
from mmbench.models.build import build
from mmbench.references import LabelReferences
from mmbench.room import Allowance
from mmbench.spec import BudgetSpec, ObjectiveSpec, RecipeSpec, StageSpec, TaskSpec, parse_task
from mmbench.train import Engine, Trained, train
from mmbench.types import Modality, Output, Signature, Split

SHAPE = (3, 64, 64)
CLASSES = tuple(f"class {k}" for k in range(10))
SIGNATURE = Signature(
    {"image": Modality("image", SHAPE)}, {"label": Output("label", len(CLASSES), CLASSES)}
)
#: What streaming has to reach of the samples/s in memory.
BAR = 0.7
MIB = 2**20


class Nobody:
    """Watches nothing."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Take note of nothing."""


def promised() -> TaskSpec:
    """Return a task of such images."""
    return parse_task(
        {
            "schema": 1,
            "name": "bench",
            "version": 1,
            "summary": "for this bench",
            "dataset": {"name": "scenecap", "version": 1},
            "modalities": {"image": {"kind": "image", "shape": list(SHAPE)}},
            "outputs": {"label": {"kind": "label", "classes": list(CLASSES)}},
            "splits": {"train": 8, "val": 4, "test": 4},
            "metrics": {"main": "accuracy"},
            "budgets": {"small": {"items": 8, "steps": 4}},
        },
        "bench",
    )


def draw(path: Path, count: int) -> None:
    """Write images, a thousand at a time."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, *SHAPE))
    generator = np.random.default_rng(0)
    for start in range(0, count, 1000):
        part = array[start : start + 1000]
        part[:] = generator.integers(0, 256, part.shape, dtype=np.uint8)
    array.flush()


def opened(path: Path) -> Split:
    """Return the images as a split that nobody has mapped before."""
    images = np.load(path, mmap_mode="r")
    labels = np.arange(len(images), dtype=np.int64) % len(CLASSES)
    ids = [str(k) for k in range(len(images))]
    return Split(
        ids, {"image": images}, {"label": labels}, {"label": LabelReferences(labels, CLASSES)}
    )


def forget(path: Path) -> None:
    """Ask the system to drop the file from its memory."""
    if hasattr(os, "posix_fadvise"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def from_disk() -> int | None:
    """Return the bytes that this process had read from a disk so far; None where nobody says."""
    try:
        rows = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return int(dict(row.split(": ") for row in rows)["read_bytes"])


def learn(
    split: Split, steps: int, batch: int, memory: Allowance
) -> tuple[Trained, dict[str, torch.Tensor]]:
    """Train a CNN on the split; return what training left, and the weights."""
    spec = catalog.model("image_only", (), promised())
    torch.manual_seed(0)
    model = build(spec, SIGNATURE)
    stage = StageSpec(objectives=(ObjectiveSpec("supervised"),), keep="last")
    recipe = RecipeSpec(batch_size=batch, stages=(stage,))
    budget = BudgetSpec(items=len(split), steps=steps, validations=1)
    splits = {"train": split, "val": split}
    trained = train(
        model, splits, recipe, budget, 0, lambda _: 0.0, Nobody(), Engine(memory=memory)
    )
    return trained, dict(model.state_dict())


def main() -> int:
    """Print samples/s of both sides and their ratio; return 1 if it is below the bar."""
    options = argparse.ArgumentParser()
    for name, value in (("memory", 64), ("times", 10), ("batch", 64), ("steps", 60)):
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--folder", type=Path, help="Where the images are written.")
    given = options.parse_args()
    torch.set_num_threads(1)
    allowed = Allowance(size=given.memory * MIB)
    count = given.times * given.memory * MIB // int(np.prod(SHAPE))
    speeds: dict[str, list[float]] = {"streamed": [], "in memory": []}
    shares = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder, "image.npy")
        draw(path, count)
        for _ in range(given.repeats):
            split = opened(path)
            np.asarray(split.inputs["image"]).max()  # in memory it shall be
            trained, weights = learn(split, given.steps, given.batch, Allowance(size=2**60))
            speeds["in memory"].append(trained.items / trained.seconds)
            del split
            gc.collect()  # what is mapped cannot be forgotten
            forget(path)
            before = from_disk()
            trained, same = learn(opened(path), given.steps, given.batch, allowed)
            speeds["streamed"].append(trained.items / trained.seconds)
            if before is not None:
                read = (from_disk() or 0) - before
                shares.append(read / (trained.items * int(np.prod(SHAPE))))
            if any(not torch.equal(weights[name], same[name]) for name in weights):
                print("streaming ended in other weights")
                return 1
    mine, other = (statistics.median(speeds[side]) for side in ("streamed", "in memory"))
    share = statistics.median(shares) if shares else 0.0
    cache = f"cold: {min(share, 1.0):.0%} came from the disk" if share > 0.5 else "warm"
    size = f"{count * int(np.prod(SHAPE)) / MIB:.0f} MiB, {given.memory} allowed"
    print(f"CNN, batches of {given.batch}, {size}; the system's cache was {cache}")
    print(f"streamed {mine:,.0f} samples/s, in memory {other:,.0f}: {mine / other:.2f} (bar {BAR})")
    return int(mine / other < BAR)


if __name__ == "__main__":
    sys.exit(main())
