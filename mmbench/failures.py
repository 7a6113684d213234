"""Runs that failed, and why: a small file beside where the record would be, gone once it is there.

``results/TASK/MODEL/.BUDGET-sSEED-IDENTITY.failed.json``. It is no record: nothing ranks, compares,
gates or verifies it. The same command tries such a run again.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from mmbench import sealed
from mmbench.admission import line
from mmbench.errors import StoreError

SCHEMA = 1
_TAIL = ".failed.json"
#: Signs of a reason at most.
LONGEST = 2000


class Failure(Struct, frozen=True, kw_only=True):
    """A run that failed.

    Attributes:
        schema: Version of this file.
        task: Name of the task.
        model: Name of the model.
        budget: Name of the budget.
        seed: The seed.
        identity: The run's identity, see `mmbench.run.Run`.
        when: UTC, ISO 8601.
        kind: The error's class.
        reason: One line.
        checksum: SHA-256 over all else.
    """

    schema: int = SCHEMA
    task: str
    model: str
    budget: str
    seed: int
    identity: str
    when: str
    kind: str
    reason: str
    checksum: str = ""

    @property
    def title(self) -> str:
        """What it is of, in a few words."""
        return line(f"{self.task}/{self.model} {self.budget} seed {self.seed}", LONGEST)

    @property
    def said(self) -> str:
        """When and why, in one line."""
        return line(f"{self.when}: {self.reason}", LONGEST)


def path_of(folder: Path) -> Path:
    """Return where the failure of the run with this folder is told."""
    return folder.with_name(f".{folder.name}{_TAIL}")


def write(
    folder: Path, *, task: str, model: str, budget: str, seed: int, identity: str, error: Exception
) -> None:
    """Tell that a run failed. What cannot be written is left: the run failed all the same."""
    failure = Failure(
        task=task,
        model=model,
        budget=budget,
        seed=seed,
        identity=identity,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=type(error).__name__,
        reason=line(str(error), LONGEST),
    )
    with suppress(OSError):
        sealed.put(path_of(folder), sealed.encode(sealed.seal(failure)))


def clear(folder: Path) -> None:
    """Forget that a run failed: there is a record of it now."""
    with suppress(OSError):
        path_of(folder).unlink(missing_ok=True)


def of(folder: Path) -> Failure | None:
    """Return why the run with this folder failed last; None where it did not, or nobody can say."""
    if (folder / "record.json").exists():
        return None
    with suppress(StoreError, msgspec.MsgspecError):
        if path_of(folder).exists():
            return sealed.read(path_of(folder), Failure, SCHEMA)
    return None


def named(results: Path, name: str) -> list[Failure]:
    """Return the failures that a name is the beginning of, as `mmbench.store.resolve` reads it."""
    return [
        failure
        for failure in scan(results)
        if _name(failure).startswith(name) or failure.identity.startswith(name)
    ]


def _name(failure: Failure) -> str:
    tail = f"{failure.budget}-s{failure.seed}-{failure.identity[:8]}"
    return f"{failure.task}/{failure.model}/{tail}"


def scan(results: Path) -> list[Failure]:
    """Return the failures of a results folder, sorted by their paths; damaged files are none."""
    found = []
    for path in sorted(results.glob(f"*/*/.*{_TAIL}")):
        failure = of(path.with_name(path.name[1 : -len(_TAIL)]))
        if failure is not None:
            found.append(failure)
    return found
