"""How long runs will take, judged by earlier ones on the same task and budget."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from mmbench import store
from mmbench.run import Run, size_of

#: What runs have to have in common that one tells of the other: task, budget, whether on the CPU,
#: since no GPU is like another.
_Alike: TypeAlias = tuple[str, str, bool]


@dataclass
class _Sum:
    """What several runs took together.

    Attributes:
        count: How many they are.
        seconds, parameters: Of all of them.
    """

    count: int = 0
    seconds: float = 0.0
    parameters: float = 0.0

    def add(self, seconds: float, parameters: float) -> None:
        """Count one more."""
        self.count += 1
        self.seconds += seconds
        self.parameters += parameters


class _Past:
    """What the runs of a results folder took, by what they were: of each kind the sums alone."""

    def __init__(self) -> None:
        self.models: dict[tuple[_Alike, str], _Sum] = defaultdict(_Sum)
        self.all: dict[_Alike, _Sum] = defaultdict(_Sum)

    def add(self, record: store.Record) -> None:
        """Take note of a run."""
        cost = record.cost
        alike = (record.task, record.budget, record.provenance.get("device") == "cpu")
        seconds = float(cost.get("train_seconds", 0.0)) + float(cost.get("test_seconds", 0.0))
        for one in (self.models[alike, record.model], self.all[alike]):
            one.add(seconds, float(cost.get("parameters", 0)))

    def of(self, run: Run) -> tuple[_Sum | None, _Sum | None]:
        """Return what runs of this one's model took, and runs of all models; None for no run."""
        alike = (run.task.name, run.budget, run.device == "cpu")
        return self.models.get((alike, run.model.name)), self.all.get(alike)


class Forecast:
    """What is known of how long runs last, from the records that are there and those that come.

    Args:
        runs: Those whose results folders are looked at.

    Attributes:
        learned: How many runs it has learned from since it was made; what it says stays the same
            as long as this does.
    """

    learned = 0

    def __init__(self, runs: Sequence[Run]) -> None:
        self._guesses: dict[int, tuple[Run, float]] = {}
        self._past: dict[Path, _Past] = {}
        for run in runs:
            results = run.settings.results
            if results not in self._past:
                past = self._past[results] = _Past()
                for stored in store.scan(results, curves=False)[0]:
                    past.add(stored.record)

    def learn(self, run: Run, record: store.Record) -> None:
        """Take note of how long a run took."""
        self._past.setdefault(run.settings.results, _Past()).add(record)
        self.learned += 1

    def seconds(self, run: Run) -> float | None:
        """Return the seconds that a run will take; None where nothing like it has been run.

        The mean of the same model's earlier runs on this task, budget and device; else of all
        models'.
        """
        same, all_models = self._of(run)
        found = same or all_models
        return found.seconds / found.count if found else None

    def guess(self, run: Run) -> float:
        """Return the seconds that a run will take, or where nothing like it has been run a guess.

        The guess is made from steps, items of a step and what the model computes for one; it can be
        several times off, mostly too short.
        """
        known = self.seconds(run)
        return self._guessed(run) if known is None else known

    def cost(self, run: Run) -> float:
        """Return a number by which to order runs: the same model's seconds, or a guess at them.

        Of a model that has not been run, what others took on the task, more where it has more
        parameters than they; on a task without a record, the guess.
        """
        same, all_models = self._of(run)
        found = same or all_models
        if not found:
            return self._guessed(run)
        mean = found.seconds / found.count
        size = found.parameters / found.count
        return mean if same or not size else mean * size_of(run).parameters / size

    def _guessed(self, run: Run) -> float:
        # A sweep asks again and again, and counting parameters takes a while. Runs are kept with
        # what is known of them, so that no other one gets the number of one that is gone.
        found = self._guesses.get(id(run))
        if found is None:
            found = self._guesses[id(run)] = run, _work(run)
        return found[1]

    def _of(self, run: Run) -> tuple[_Sum | None, _Sum | None]:
        past = self._past.get(run.settings.results)
        return past.of(run) if past else (None, None)


#: Seconds of a run beside its steps.
_RUN = 0.8


@dataclass(frozen=True)
class _Pace:
    """How fast a device is, about: seconds of training for each of what a model computes.

    Attributes:
        call: For a call in a forward pass, in a step.
        element: For a number that encoders and fusion write, of one item.
        parameter: For a parameter that says texts or paints, of one item.
    """

    call: float
    element: float
    parameter: float


#: Of a processor core, fitted to 238 runs of 35 tasks; of a GPU, by what its makers say.
_CORE, _GPU = _Pace(8e-6, 2.5e-9, 4e-9), _Pace(2e-5, 6e-12, 1e-12)


def _work(run: Run) -> float:
    budget = run.task.budgets[run.budget]
    items = min(run.model.recipe.batch_size, budget.items)
    size = size_of(run)
    pace = _CORE if run.device == "cpu" else _GPU
    # Where nothing was counted, an item is taken to cost as much as the parameters.
    calls, elements = (size.calls, size.elements) if size.calls else (1000, size.parameters)
    item = elements * pace.element + size.spoken * pace.parameter
    step = calls * pace.call + size.parameters * pace.element
    training = budget.steps * (step + items * item)
    # Predicting an item takes a third of training on it; texts and pictures are made bit by bit.
    tested = sum(items for name, items in run.task.splits.items() if name not in ("train", "val"))
    testing = tested * (elements * pace.element / 3 + size.spoken * pace.parameter)
    return _RUN + training + testing


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


class _Kept(NamedTuple):
    """What is known of the runs that are left, for as long as none begins or ends.

    Attributes:
        at: How many runs have been learned from, which have ended, and which run.
        waiting: Seconds of each that waits.
        begun: Number -> seconds, of those that run.
    """

    at: tuple[int, frozenset[int], frozenset[int]]
    waiting: list[float | None]
    begun: dict[int, float | None]


class Remaining:
    """How long the rest of a sweep takes.

    Args:
        runs: Number -> run, of all that are to be done, in the order in which they begin.
        known: What is known of how long they last.
        jobs: How many run at a time.
    """

    def __init__(self, runs: Mapping[int, Run], known: Forecast, jobs: int) -> None:
        self._runs, self._known, self._jobs = runs, known, jobs
        self._kept: _Kept | None = None

    def seconds(
        self, ended: set[int], running: Mapping[int, tuple[float, float | None]]
    ) -> float | None:
        """Return the seconds left; None where nothing is known.

        What waits is looked at anew only when a run begins or ends; this is asked for at every
        drawing of the screen, and a sweep can have thousands of runs.

        Args:
            ended: Numbers of the runs that have an outcome.
            running: Those that run, for how many seconds they have, and how many are left of what
                they are at by its pace.
        """
        at = (self._known.learned, frozenset(ended), frozenset(running))
        kept = self._kept
        if kept is None or kept.at != at:
            left = {n: run for n, run in self._runs.items() if n not in ended}
            seconds = self._known.seconds
            waiting = [seconds(run) for n, run in left.items() if n not in running]
            kept = self._kept = _Kept(
                at, waiting, {n: seconds(left[n]) for n in running if n in left}
            )
        begun = []
        for number, lasts in kept.begun.items():
            elapsed, paced = running[number]
            begun.append(paced if lasts is None else max(paced or 0.0, lasts - elapsed))
        return makespan(kept.waiting, self._jobs, begun)
