"""From the start of the process to the first step, where an interrupted run is gone on with.

A run is killed (SIGKILL) once its first checkpoint is there. The same command is started again and
timed until it has taken a step. What `import torch` takes in a process of its own is taken off: it
is torch's, not ours. Both take turns, and the best times count, since whatever else a machine does
only adds to them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import _whole

ROOT = Path(__file__).resolve().parents[2]
#: Seconds at most.
BAR = 2.0
REPEATS = 5
RUN = ["run", "-t", "sentiment", "-m", "early", "--budget", "smoke", "--threads", "1", "-v"]


def started(results: Path, environment: Mapping[str, str], *more: str) -> subprocess.Popen[str]:
    """Start the run."""
    return subprocess.Popen(
        [sys.executable, "-m", "mmbench", *RUN, "--results", str(results), *more],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(results: Path, environment: Mapping[str, str]) -> None:
    """Kill a run once its first checkpoint is there."""
    with started(results, environment, "--checkpoint-every", "0") as process:
        while process.poll() is None:
            if any(results.glob("*/*/.*.checkpoint/current/state.json")):
                break
            time.sleep(0.001)
        process.kill()
    if any(results.glob("*/*/*/record.json")):
        raise SystemExit("the run was done before it could be killed")


def resumed(results: Path, environment: Mapping[str, str]) -> float:
    """Return the seconds until a run that is gone on with has taken a step."""
    begun = time.perf_counter()
    with started(results, environment) as process:
        assert process.stderr is not None
        went_on = False
        for line in process.stderr:
            if "goes on at step" in line:
                went_on = True
            elif ": step " in line:
                seconds = time.perf_counter() - begun
                process.kill()
                break
        else:
            raise SystemExit("the run ended before it took a step")
    if not went_on:
        raise SystemExit("the run began anew")
    return seconds


def main() -> int:
    """Print the seconds, and whether the bar is met."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as where it is installed
    whole, torch, python = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "kept")
        interrupted(kept, environment)
        for repeat in range(REPEATS):
            results = Path(folder, str(repeat))
            shutil.copytree(kept, results)
            whole.append(resumed(results, environment))
            torch.append(_whole.run([sys.executable, "-c", "import torch"], environment).wall)
            python.append(_whole.run([sys.executable, "-c", "pass"], environment).wall)
    imported = min(torch) - min(python)
    seconds = min(whole) - imported
    print(f"{'start to first step, all of it':42} {min(whole):6.2f} s")
    print(f"{'import torch':42} {imported:6.2f} s")
    print(f"{'resumed: start to first step, torch aside':42} {seconds:6.2f} s (bar {BAR} s)")
    return 0 if seconds < BAR else 1


if __name__ == "__main__":
    sys.exit(main())
