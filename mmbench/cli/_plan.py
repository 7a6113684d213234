"""What ``mmbench run`` is about to do: which runs, in what order, how long."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mmbench.cli import _options

if TYPE_CHECKING:
    from mmbench.executors import Job
    from mmbench.forecast import Forecast
    from mmbench.run import Run
    from mmbench.spec import TaskSpec


def jobs(asked: int, runs: Sequence[Run]) -> int:
    """Return how much can go on at a time; say so if that is more than there are cores."""
    from mmbench import sweep
    from mmbench.doctor.machine import usable_cores

    # The seeds that train as a batch are one piece of work.
    several = min(asked, len(sweep.jobs(runs)))
    cores, threads = usable_cores(), max(run.threads for run in runs)
    if several > 1 and several * threads > cores and runs[0].device == "cpu":
        each = f" with {threads} threads each" if threads > 1 else ""
        fit = max(1, int(cores // threads))
        fewer = max(1, int(cores // several))
        better = f"--threads {fewer} is faster, " if fewer < threads else ""
        click.echo(
            f"note: {several} runs at a time{each} are more than the {cores:g} "
            f"core{'s' * (cores != 1)} here: they will wait for one another; {better}"
            f"--jobs {fit} is as fast",
            err=True,
        )
    return several


def _to_do(run: Run) -> bool:
    """Whether a run has to be made; what is wrong with a damaged record is said in its turn."""
    from mmbench.errors import StoreError

    try:
        return run.settings.force or run.finished() is None
    except StoreError:
        return True


def print_plan(runs: list[Run], jobs: int, seconds: float | None, as_json: bool) -> None:
    """Print the runs in the order in which they begin, those that are finished first.

    Args:
        runs: In the plan's order.
        jobs: How many go on at a time.
        seconds: That ``--max-hours`` gives, or None.
        as_json: Whether a machine reads it.
    """
    from mmbench import failures
    from mmbench.forecast import Forecast

    forecast = Forecast(runs)
    pieces = _pieces(runs, forecast, jobs)
    todo = [run for piece in pieces for run in piece.runs]
    begin = {id(run): place for place, run in enumerate(todo, 1)}
    fitting = begin.keys() if seconds is None else _in_time(pieces, forecast, jobs, seconds)
    if as_json:
        _options.print_json(
            [
                {
                    "task": run.task.name,
                    "model": run.model.name,
                    "budget": run.budget,
                    "seed": run.seed,
                    "identity": run.identity,
                    "finished": id(run) not in begin,
                    "seconds": forecast.seconds(run),
                    "guess": forecast.guess(run) if forecast.seconds(run) is None else None,
                    "begins": begin.get(id(run)),
                    "begun": id(run) in begin and run.checkpoints.exists(),
                    "in_time": id(run) in fitting if id(run) in begin else None,
                    "failed": failure.said if (failure := failures.of(run.folder)) else None,
                }
                for run in runs
            ]
        )
        return
    click.echo(headline(runs, todo, forecast, jobs))
    many = {id(run): len(piece.runs) for piece in pieces for run in piece.runs}
    for run in (*(run for run in runs if id(run) not in begin), *todo):
        state = "finished"
        if id(run) in begin:
            failure = failures.of(run.folder)
            state = f"to do, {lasting([run], forecast, 1)}"
            state += f", in a batch of {many[id(run)]} seeds" if many[id(run)] > 1 else ""
            state += "; goes on from a checkpoint" if run.checkpoints.exists() else ""
            state += "; not within --max-hours" if id(run) not in fitting else ""
            state += f"; failed {failure.said}" if failure else ""
        click.echo(f"  {run.task.name}/{run.model.name} {run.budget} seed {run.seed}: {state}")
    if seconds is not None and todo:
        told = f"{len(fitting)} of {len(todo)} runs are expected to end"
        click.echo(f"within --max-hours {seconds / 3600:g}, {told}")
    if todo:
        click.echo("next: the same command without --dry-run")


def _in_time(pieces: Sequence[Job], forecast: Forecast, slots: int, seconds: float) -> set[int]:
    """Return which runs a sweep would begin, if everything lasts as long as is expected."""
    pending, found = list(pieces), set[int]()
    free = [0.0] * max(slots, 1)
    while free:
        now = heapq.heappop(free)
        for place, piece in enumerate(pending):
            until = now + sum(forecast.guess(run) for run in piece.runs)
            if until < seconds:
                found |= {id(run) for run in pending.pop(place).runs}
                heapq.heappush(free, until)
                break
    return found


def in_order(runs: Sequence[Run], forecast: Forecast, jobs: int) -> list[Run]:
    """Return the runs that are to be done, in the order in which they begin."""
    return [run for piece in _pieces(runs, forecast, jobs) for run in piece.runs]


def _pieces(runs: Sequence[Run], forecast: Forecast, jobs: int) -> list[Job]:
    from mmbench import sweep

    return sweep.ordered(sweep.jobs([run for run in runs if _to_do(run)]), forecast, jobs)


def headline(runs: Sequence[Run], todo: Sequence[Run], forecast: Forecast, jobs: int) -> str:
    """Say how much there is to do, and what is possible on each task."""
    lasts = lasting(todo, forecast, jobs)
    head = f"plan: {len(todo)} of {len(runs)} runs to do, {lasts}, {runs[0].device}"
    lines = [head + (f", {jobs} at a time" if jobs > 1 else "")]
    lines += [_levels(task) for task in {run.task.name: run.task for run in runs}.values()]
    return "\n".join(line for line in lines if line)


def _levels(task: TaskSpec) -> str:
    """Say what is possible on a task's main metric, where that is known."""
    from mmbench import registry

    main = task.metrics.main
    level = task.levels.get(main)
    if level is None:
        return ""
    told = f"{task.name} {main}: floor {level.floor:.3f}, "
    if level.alone:
        best = max if registry.load("metric", main).higher_is_better else min
        alone = best(level.alone, key=lambda name: level.alone[name])
        told += f"best single modality ({alone}) {level.alone[alone]:.3f}, "
    return f"{told}all modalities {level.ceiling:.3f} (oracles)"


def lasting(runs: Sequence[Run], forecast: Forecast, jobs: int) -> str:
    """Say how long runs take, so many at a time, and whether that is a guess."""
    from mmbench.forecast import makespan

    seconds = makespan([forecast.guess(run) for run in runs], jobs) or 0.0
    told = f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"
    guessed = any(forecast.seconds(run) is None for run in runs)
    return f"{told} at a guess" if guessed else told
