"""Finds out what works here and what does not, and says what to do about it.

Prints nothing, never raises, leaves nothing behind on the disk. What is looked at: `installation`,
`machine`, `places`, `shell`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mmbench.doctor import installation, machine, places, shell
from mmbench.doctor.check import Check, Found, Status
from mmbench.errors import MmbenchError

__all__ = ["Check", "Status", "examine", "worst"]


def examine(
    results: Path = Path("results"), data: Path | None = None, variables: Sequence[str] = ()
) -> list[Check]:
    """Make all checks, in the order in which things depend on each other. Never raises.

    Args:
        results: Folder of the records.
        data: Folder of the user's data.
        variables: The ``MMBENCH_`` variables that options read; empty leaves that check out.
    """
    looks: dict[str, Callable[[], Found]] = {
        "python": installation.python,
        "mmbench": installation.mmbench_itself,
        "tasks": installation.tasks,
        "models": installation.models,
        "packages": installation.packages,
        **{extra: partial(installation.extra_packages, extra) for extra in installation.EXTRAS},
        "torch": machine.torch_package,
        "gpu": machine.gpu,
        "cores": machine.cores,
        "threads": machine.threads,
        "memory": machine.memory,
        "cache": places.cache,
        "results": partial(places.results, results),
        "checkpoints": partial(places.checkpoints, results),
        "half written": partial(places.half_written, results),
        "data": partial(places.data, data),
        "variables": partial(shell.variables, variables),
        "locale": shell.encodings,
        "terminal": shell.terminal,
    }
    return [check for name, look in looks.items() for check in _guarded(name, look)]


def worst(checks: Sequence[Check]) -> Status:
    """Return the worst status among the checks."""
    order: tuple[Status, ...] = ("fail", "warn", "ok")
    return next(status for status in order if status in [*(c.status for c in checks), "ok"])


def _guarded(name: str, look: Callable[[], Found]) -> Found:
    """Yield what a look finds; a broken installation must not break the doctor."""
    try:
        yield from look()
    except Exception as error:
        what = " ".join(str(error).split())
        fix = "" if isinstance(error, MmbenchError) else "pip install --force-reinstall mmbench"
        shown = what if isinstance(error, MmbenchError) else f"{type(error).__name__}: {what}"
        yield Check(name, "fail", shown, fix)
