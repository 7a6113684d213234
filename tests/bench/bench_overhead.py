"""What a run takes beside training and testing: alone, and each further one of a sweep.

Of a whole command's time the training and the testing that its records tell are taken off; what is
left for ten seeds beyond what is left for one is what nine further runs cost.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import _whole

from mmbench import store

ROOT = Path(__file__).resolve().parents[2]
#: Seconds at most.
ALONE, FURTHER = 3.0, 0.3
SEEDS = 10
REPEATS = 3


def beside(seeds: int, folder: Path, environment: dict[str, str]) -> float:
    """Return the seconds of a command that are neither training nor testing."""
    command = [sys.executable, "-m", "mmbench", "run", "-t", "sentiment", "-m", "early"]
    command += ["--seeds", str(seeds), "--budget", "smoke", "--threads", "1", "-q"]
    started = time.perf_counter()
    _whole.run([*command, "--results", str(folder)], environment)
    wall = time.perf_counter() - started
    costs = [stored.record.cost for stored in store.scan(folder)[0]]
    assert len(costs) == seeds
    return wall - sum(cost["train_seconds"] + cost["test_seconds"] for cost in costs)


def main() -> int:
    """Print both overheads, and whether the bars are met."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        places = iter(Path(folder, str(number)) for number in range(99))
        beside(1, next(places), environment)  # the data are prepared, once for all that follows
        pairs = [
            (beside(1, next(places), environment), beside(SEEDS, next(places), environment))
            for _ in range(REPEATS)
        ]
    alone = statistics.median(one for one, _ in pairs)
    further = statistics.median((many - one) / (SEEDS - 1) for one, many in pairs)
    print(f"{'a run alone':42} {alone:6.2f} s (bar {ALONE} s)")
    print(f"{'each further run of a sweep':42} {further:6.2f} s (bar {FURTHER} s)")
    return 0 if alone < ALONE and further < FURTHER else 1


if __name__ == "__main__":
    sys.exit(main())
