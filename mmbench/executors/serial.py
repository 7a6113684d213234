"""Runs in this very process, one after the other."""

from __future__ import annotations

from collections import deque

from mmbench.executors.contract import Job, Outcome, Watch
from mmbench.executors.work import carry_out


class Serial:
    """See `mmbench.executors.Executor`.

    Args:
        watch: Begins to watch a run.
    """

    slots = 1

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Take a job; it is carried out while its outcomes are waited for."""
        self._jobs.append(job)

    def outcomes(self, seconds: float | None = None) -> list[Outcome]:
        """Carry out the job."""
        return carry_out(self._jobs.popleft(), self._watch) if self._jobs else []

    def cancel(self) -> None:
        """Forget a job that has not begun."""
        self._jobs.clear()

    def close(self) -> None:
        """Do nothing: nothing is held."""
