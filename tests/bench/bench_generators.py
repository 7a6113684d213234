"""Making the built-in data: items a second, and whether ten times as many take ten times as long.

Run it: ``python tests/bench/bench_generators.py [--large] [TASK ...]``. Every task whose data are
generated is measured, whichever dataset it is of; tasks that differ only in their outputs or sizes
are measured once. ``--large`` makes 100,000 items, too. Seconds are those of the processor, which
a busy machine hardly changes; what is written to the cache counts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mmbench import catalog, registry
from mmbench.data import _load
from mmbench.data._contract import Request
from mmbench.spec import TaskSpec

SIZES, LARGE = (1_000, 10_000), 100_000
#: Ten times the items in at most so many times the seconds.
BAR = 15.0


def generated() -> list[str]:
    """Return the shipped tasks whose data lie on no disk, one for each way to make some."""
    seen: set[Any] = set()
    found = []
    for name in catalog.task_names(shipped=True):
        task = catalog.task(name)
        if _load.needs_data(task) or _load.source_digest(task):
            continue
        params = {k: v for k, v in task.dataset.params.items() if k not in ("splits", "output")}
        key = (task.dataset.name, repr(sorted(params.items())))
        if key not in seen:
            seen.add(key)
            found.append(name)
    return found


def seconds(task: TaskSpec, items: int) -> float:
    """Return how long the processor takes to make a training split; all others have one item."""
    build = registry.load("dataset", task.dataset.name)
    splits = {name: items if name == "train" else 1 for name in task.splits}
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            task=task.name,
            version=task.dataset.version,
            seed=task.dataset.seed,
            params=task.dataset.params,
            splits=splits,
            root=None,
            cache=Path(folder),
            modalities=task.modalities,
            outputs=task.outputs,
        )
        begun = time.process_time()
        build(request)
        return time.process_time() - begun


def main(arguments: list[str]) -> int:
    """Print a line for each task; return how many grow faster than their items."""
    large = "--large" in arguments
    names = [name for name in arguments if name != "--large"] or generated()
    sizes = (*SIZES, LARGE) if large else SIZES
    grown = 0
    print(f"{'task':24}" + "".join(f"{size:>12,}" for size in sizes) + "   items/s   growth")
    for name in names:
        task = catalog.task(name)
        seconds(task, 50)  # tables that are made once, imports
        spent = [seconds(task, size) for size in sizes]
        growth = spent[1] / max(spent[0], 0.05)  # what is shorter is mostly noise
        grown += growth > BAR
        print(
            f"{name:24}" + "".join(f"{value:>10.2f} s" for value in spent)
            + f"{sizes[-1] / spent[-1]:>10,.0f}{growth:>8.1f} x",
            flush=True,
        )  # fmt: skip
    print(f"{grown} of {len(names)} took more than {BAR:.0f} x as long for 10 x the items")
    return int(grown > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
