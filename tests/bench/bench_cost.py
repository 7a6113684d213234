"""What it costs to measure what a run costs: smoke runs with and without, in turn.

    python tests/bench/bench_cost.py [--tasks sentiment captioning] [--model early] [--repeats 5]

Both count operations; what is measured beside them is the peak of memory, the energy where a driver
reports it, and single items, which take nearly all of it: a twentieth of the run within 0.4 and 2
seconds. What should be kept: half a second more for a smoke run, or a tenth where that is more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from _side_by_side import timed

from mmbench import catalog, run
from mmbench.cost.meter import Meter
from mmbench.predict import flops_per_item
from mmbench.run import Run, Settings, execute


class Watcher:
    """Watches nothing."""

    def phase(self, name: str) -> None:
        """See `mmbench.run.Watcher`."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """See `mmbench.train.Progress`."""

    def items(self, done: int, total: int) -> None:
        """See `mmbench.run.Watcher`."""


class Blind:
    """Counts operations and measures nothing."""

    def __init__(self, device: str) -> None:
        self.how: dict[str, str] = {}

    def stop(self, items: int, seconds: float) -> None:
        """See `mmbench.cost.meter.Meter`."""

    def cost(self, model: Any, split: Any, *arguments: Any) -> dict[str, Any]:
        """See `mmbench.cost.meter.Meter`."""
        return {"flops_per_item": flops_per_item(model, split)}


def main() -> int:
    """Print a line a task; return how many take longer than they may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["sentiment", "captioning"])
    parser.add_argument("--model", default="early")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    slow = 0
    print(f"{'a smoke run of':28} {'with':>9} {'without':>9} {'ratio':>7} {'more':>8}")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(results=Path(folder), device="cpu", threads=1)
        for name in given.tasks:
            task = catalog.task(name)
            one = Run(
                task, run.sized(catalog.model(given.model, (), task), task), "smoke", 0, settings
            )
            sides: dict[type, list[float]] = {Meter: [], Blind: []}
            execute(one, Watcher())  # prepares the data, and loads what is loaded once
            for _ in range(given.repeats):
                for kind, seconds in sides.items():
                    run.Meter = kind  # type: ignore[misc, assignment]
                    seconds.append(timed(lambda one=one: execute(one, Watcher())))  # type: ignore[misc]
            run.Meter = Meter  # type: ignore[misc]
            ours, bare = (statistics.median(side) for side in sides.values())
            told = f"{name}, {given.model}"
            print(f"{told:28} {ours:7.2f} s {bare:7.2f} s {ours / bare:6.2f}x {ours - bare:6.2f} s")
            slow += ours - bare > max(0.5, 0.1 * bare)
    if slow:
        print(f"beyond what should be kept: {slow}, or the machine is busy")
    return slow


if __name__ == "__main__":
    sys.exit(main())
