"""Two programs that do the same, timed in turn in one process.

A busy machine slows both; what counts is the ratio of the medians.
"""

from __future__ import annotations

import contextlib
import gc
import io
import statistics
import time
from collections.abc import Callable


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes; what it prints is swallowed."""
    gc.collect()  # what the other side left is not this one's to clear away
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        call()
    return time.perf_counter() - start


def compare(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> float:
    """Print the medians of both sides and their ratio, and return the ratio."""
    pairs = [(timed(ours), timed(theirs)) for _ in range(repeats)]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{name:42} {mine:8.3f} s {other:8.3f} s {other / mine:7.1f} x")
    return other / mine
