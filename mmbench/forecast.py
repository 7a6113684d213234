"""How long runs will take, judged by earlier ones on the same task and budget."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmbench import store
from mmbench.run import Run, parameters


class _Past(NamedTuple):
    """What an earlier run took; whether on the CPU, since no GPU is like another."""

    task: str
    budget: str
    on_cpu: bool
    model: str
    parameters: float
    seconds: float


class Forecast:
    """What is known of how long runs last, from the records that are there and those that come.

    Args:
        runs: Those whose results folders are looked at.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        folders = {run.settings.results for run in runs}
        self._past = {results: _past(results) for results in folders}

    def learn(self, run: Run, record: store.Record) -> None:
        """Take note of how long a run took."""
        self._past.setdefault(run.settings.results, []).append(_lasted(record))

    def seconds(self, run: Run) -> float | None:
        """Return the seconds that a run will take; None where nothing like it has been run.

        The mean of the same model's earlier runs on this task, budget and device; else of all
        models'.
        """
        alike = self._alike(run)
        same = [one.seconds for one in alike if one.model == run.model.name]
        found = same or [one.seconds for one in alike]
        return sum(found) / len(found) if found else None

    def cost(self, run: Run) -> float:
        """Return a number by which to order runs: the same model's seconds, or a guess at them.

        Of a model that has not been run, what others took on the task, more where it has more
        parameters than they; on a task without a record, steps x items of a step x parameters.
        """
        alike = self._alike(run)
        same = [one for one in alike if one.model == run.model.name]
        found = same or alike
        if not found:
            return _work(run) * _RATE
        mean = sum(one.seconds for one in found) / len(found)
        size = sum(one.parameters for one in found) / len(found)
        return mean if same or not size else mean * parameters(run) / size

    def _alike(self, run: Run) -> list[_Past]:
        alike = (run.task.name, run.budget, run.device == "cpu")
        past = self._past.get(run.settings.results, [])
        return [one for one in past if (one.task, one.budget, one.on_cpu) == alike]


#: Seconds of one processor core for a parameter and an item of a training step, about.
_RATE = 1e-8


def _work(run: Run) -> float:
    budget = run.task.budgets[run.budget]
    return float(budget.steps) * min(run.model.recipe.batch_size, budget.items) * parameters(run)


def forecast(runs: Sequence[Run]) -> list[float | None]:
    """Return the seconds that each run will take; None where nothing like it has been run."""
    known = Forecast(runs)
    return [known.seconds(run) for run in runs]


def makespan(
    lasting: Iterable[float | None], jobs: int, begun: Iterable[float | None] = ()
) -> float | None:
    """Return the seconds until all is done, so many runs at a time, in the given order.

    Args:
        lasting: Of each run that is to begin, how long it lasts; one that is not known is taken to
            last as long as the known ones on average.
        jobs: How many run at a time.
        begun: Of each that runs, how long it still does.

    Returns:
        None where nothing is known of any.

    >>> makespan([3.0, 2.0, 2.0], 2), makespan([None, None], 1), makespan([4.0, None], 1)
    (4.0, None, 8.0)
    """
    waiting, running = list(lasting), list(begun)
    known = [seconds for seconds in (*waiting, *running) if seconds is not None]
    if not known:
        return None if waiting or running else 0.0
    mean = sum(known) / len(known)
    slots = [mean if seconds is None else seconds for seconds in running]
    slots += [0.0] * (jobs - len(slots))
    heapq.heapify(slots)
    for seconds in waiting:
        heapq.heapreplace(slots, slots[0] + (mean if seconds is None else seconds))
    return max(slots)


class Remaining:
    """How long the rest of a sweep takes.

    Args:
        runs: Number -> run, of all that are to be done, in the order in which they begin.
        known: What is known of how long they last.
        jobs: How many run at a time.
    """

    def __init__(self, runs: Mapping[int, Run], known: Forecast, jobs: int) -> None:
        self._runs, self._known, self._jobs = runs, known, jobs

    def seconds(
        self, ended: set[int], running: Mapping[int, tuple[float, float | None]]
    ) -> float | None:
        """Return the seconds left; None where nothing is known.

        Args:
            ended: Numbers of the runs that have an outcome.
            running: Those that run, for how many seconds they have, and how many are left of what
                they are at by its pace.
        """
        waiting, begun = [], []
        for number, run in self._runs.items():
            if number in ended:
                continue
            lasts = self._known.seconds(run)
            if number in running:
                elapsed, paced = running[number]
                begun.append(paced if lasts is None else max(paced or 0.0, lasts - elapsed))
            else:
                waiting.append(lasts)
        return makespan(waiting, self._jobs, begun)


def _past(results: Path) -> list[_Past]:
    return [_lasted(stored.record) for stored in store.scan(results, curves=False)[0]]


def _lasted(record: store.Record) -> _Past:
    return _Past(
        record.task,
        record.budget,
        record.provenance.get("device") == "cpu",
        record.model,
        float(record.cost.get("parameters", 0)),
        float(record.cost.get("train_seconds", 0.0)) + float(record.cost.get("test_seconds", 0.0)),
    )
