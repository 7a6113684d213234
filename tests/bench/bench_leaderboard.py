"""``mmbench leaderboard`` as a whole process, over thousands of made-up records.

    python tests/bench/bench_leaderboard.py [--seeds 1 5 10] [--repeats 3] [--keep FOLDER]

20 tasks x 50 models x that many seeds, 1,000 items each, two metrics. Beside it, in turn, the same
command on eight records, which takes all of its parts: that is its start. Seconds of the wall and,
as a busy machine stretches those, of the processor; memory of the largest process at its peak. What
should be kept: 10,000 records in 5 seconds of the wall and 1 GiB on two cores, 1,000 in 1 second
after the start, and as many seconds a record for many as for few.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from _made_up import Size, write
from _whole import Spent, median, run

ROOT = Path(__file__).resolve().parents[2]
TASKS, MODELS, ITEMS = 20, 50, 1000
#: Records -> seconds of the wall (of 1,000: after the start), and bytes.
LIMITS = {1000: 1.0, 10_000: 5.0}
MEMORY = 2**30


def main() -> None:
    """Print a line for each number of records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="make the records there, once for all times")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        sizes = [Size(2, 2, 2, ITEMS), *(Size(TASKS, MODELS, n, ITEMS) for n in given.seeds)]
        for size in sizes:
            if not (folder / str(size.records)).exists():
                write(folder / str(size.records), size)
        print(f"{TASKS} tasks x {MODELS} models x {given.seeds} seeds, {ITEMS:,} items")
        print(f"{'records':>8} {'wall':>9} {'processor':>11} {'above the start':>17} {'memory':>9}")
        spent = measured(folder, sizes, given.repeats)
    start = spent[0]
    for size, one in zip(sizes, spent, strict=True):
        each = (one.processor - start.processor) / size.records * 1e6
        print(
            f"{size.records:8,} {one.wall:7.2f} s {one.processor:9.2f} s "
            f"{one.wall - start.wall:15.2f} s {one.memory / 2**20:5.0f} MiB"
            + f"   {each:4.0f} us of the processor a record"
            * (size is not sizes[0])
        )
        if size.records in LIMITS:
            wall = one.wall - (start.wall if size.records == 1000 else 0.0)
            kept = wall <= LIMITS[size.records] and one.memory <= MEMORY
            told = "kept" if kept else "passed, or the machine is busy"
            print(f"{'':8} limit {LIMITS[size.records]} s, {MEMORY / 2**30:.0f} GiB: {told}")


def measured(folder: Path, sizes: list[Size], repeats: int) -> list[Spent]:
    """Return what the command takes for each number of records, measured in turn."""
    command = [sys.executable, "-m", "mmbench", "leaderboard", "--format", "json"]
    calls = [[*command, "--results", str(folder / str(size.records))] for size in sizes]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for call in calls:  # byte code and the disk's cache
        run(call, environment)
    rounds = [[run(call, environment) for call in calls] for _ in range(repeats)]
    return [median([one[place] for one in rounds]) for place in range(len(sizes))]


if __name__ == "__main__":
    main()
