"""What a whole process takes: seconds of the wall and the processor, and memory at its peak."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Spent(NamedTuple):
    """What a process took: seconds, seconds, bytes."""

    wall: float
    processor: float
    memory: float


def run(command: Sequence[str], environment: Mapping[str, str]) -> Spent:
    """Run a command to its end, with what it prints thrown away."""
    # As where it is installed: byte code is kept, whatever this shell says.
    kept = {k: v for k, v in environment.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=kept, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    wall = time.perf_counter() - started
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def median(several: Sequence[Spent]) -> Spent:
    """Return the median of each."""
    return Spent(*(statistics.median(column) for column in zip(*several, strict=True)))
