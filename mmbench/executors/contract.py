"""What a sweep and an executor say to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mmbench.errors import MmbenchError
from mmbench.run import Run, Watcher
from mmbench.store import Stored

#: Begins to watch a run.
Watch = Callable[[Run], Watcher]


@dataclass(frozen=True)
class Job:
    """What is carried out in one piece: a run, or several seeds of a model that train together.

    Attributes:
        runs: At least one.
        before: For each run that another process was making when this one came by, which record
            there was then (see `Outcome.before`); for all others None.
    """

    runs: tuple[Run, ...]
    before: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
        run: Which.
        stored: Its record; None if it failed.
        fresh: False where the record was there already.
        rescored: Whether it was there and got other scores; nothing was trained.
        elsewhere: Whether another process has made the record meanwhile.
        error: Why it failed.
        busy: Whether another process is making it just now; there is neither record nor error then.
        before: Of a busy one: when the record that was there was written, in ns; 0 for none.
    """

    run: Run
    stored: Stored | None = None
    fresh: bool = True
    rescored: bool = False
    elsewhere: bool = False
    error: MmbenchError | None = None
    busy: bool = False
    before: int = 0


class Executor(Protocol):
    """Carries out jobs. What happens meanwhile it tells the watchers that it was made with."""

    @property
    def slots(self) -> int:
        """How many jobs it carries out at a time."""

    def submit(self, job: Job) -> None:
        """Take a job; never more than `slots` that have not ended."""

    def outcomes(self, seconds: float | None = None) -> list[Outcome]:
        """Wait until a job ends and return what became of its runs.

        Args:
            seconds: Return an empty list if none has ended after so long.

        Raises:
            PlaceError: Nothing can be kept any more.
        """

    def cancel(self) -> None:
        """Stop whatever runs, at once, and leave nothing behind but what is finished."""

    def close(self) -> None:
        """Give back what it holds; nothing runs any more."""
