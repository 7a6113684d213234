"""20 smoke runs with ``--jobs 2`` against one job: two whole commands, one after the other.

Each process computes with one thread, so two of them have two cores to themselves. What both pay
once (Python's start, torch's import, the plan) is counted.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import _whole

ROOT = Path(__file__).resolve().parents[2]
#: At least this many times as fast.
BAR = 1.6
REPEATS = 3


def main() -> int:
    """Print the seconds of both, and whether the bar is met."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mmbench", "run", "-t", "sentiment", "-m", "early,late"]
    command += ["--seeds", "10", "--budget", "smoke", "--threads", "1", "-q"]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        # The data are prepared, once for all that follows.
        _whole.run([*command, "--seeds", "1", "--results", f"{folder}/first"], environment)
        for repeat in range(REPEATS):
            spent = [
                _whole.run(
                    [*command, "--jobs", str(jobs), "--results", f"{folder}/{repeat}-{jobs}"],
                    environment,
                ).wall
                for jobs in (1, 2)
            ]
            ratios.append(spent[0] / spent[1])
            print(f"one job {spent[0]:6.1f} s   two jobs {spent[1]:6.1f} s   {ratios[-1]:.2f} x")
    ratio = statistics.median(ratios)
    print(f"{'20 smoke runs, two jobs':42} {ratio:.2f} x (bar {BAR} x)")
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
