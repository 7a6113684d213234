"""``mmbench compare`` as a whole process: two models of made-up records.

    python tests/bench/bench_compare.py [--items 1000 10000 100000] [--repeats 5] [--keep FOLDER]

Two models with five seeds each, two metrics. Beside it, in turn, the same on ten items, below which
no number of items can be: that is its start. What should be kept: 10,000 items in 1 second of the
wall after the start, and growth no faster than that of the items.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from _made_up import Size, write
from _whole import median, run

ROOT = Path(__file__).resolve().parents[2]
SEEDS, START = 5, 10
#: Seconds of the wall after the start, for 10,000 items.
LIMIT, ITEMS = 1.0, 10_000


def main() -> None:
    """Print a line for each number of items."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[1000, ITEMS, 100_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the records there, once for all times")
    given = parser.parse_args()
    counts = [START, *given.items]
    command = [sys.executable, "-m", "mmbench", "compare", "model000", "model001", "--results"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        for items in counts:
            if not (folder / str(items)).exists():
                write(folder / str(items), Size(1, 2, SEEDS, items))
        calls = [[*command, str(folder / str(items))] for items in counts]
        for call in calls:  # byte code and the disk's cache
            run(call, environment)
        rounds = [[run(call, environment) for call in calls] for _ in range(given.repeats)]
    start, *spent = (median([one[place] for one in rounds]) for place in range(len(calls)))
    print(f"2 models x {SEEDS} seeds; start {start.wall:.2f} s, processor {start.processor:.2f} s")
    print(f"{'items':>8} {'above the start':>17} {'processor':>11} {'memory':>9}")
    for items, one in zip(given.items, spent, strict=True):
        above, processor = one.wall - start.wall, one.processor - start.processor
        print(
            f"{items:8,} {above:15.2f} s {processor:9.2f} s {one.memory / 2**20:5.0f} MiB   "
            f"{processor / items * 1e6:5.1f} us of the processor an item"
        )
        if items == ITEMS:
            told = "kept" if above <= LIMIT else "passed, or the machine is busy"
            print(f"{'':8} limit {LIMIT} s: {told}")


if __name__ == "__main__":
    main()
