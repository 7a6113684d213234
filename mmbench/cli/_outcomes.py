"""What became of the runs of a command, as a person or a machine reads it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options

if TYPE_CHECKING:
    from mmbench.executors import Outcome
    from mmbench.run import Run
    from mmbench.scoring import Score
    from mmbench.store import Stored, StoredScore


def line(outcome: Outcome) -> str:
    """Say what became of a run."""
    run = outcome.run
    title = f"{run.task.name}/{run.model.name} seed {run.seed}"
    if outcome.busy:
        return f"{title}: another process is making it: left for the end"
    if outcome.stored is None:
        return f"{title}: failed: {outcome.error}"
    told = _scores(outcome.stored, _shown(run))
    if outcome.rescored:
        return f"{title}: finished before, scored anew: {told}"
    if outcome.elsewhere:
        return f"{title}: finished before (by another process), {told}"
    if not outcome.fresh:
        return f"{title}: finished before, {told} (--force repeats it)"
    seconds = outcome.stored.record.cost.get("train_seconds", 0.0)
    return f"{title}: {told}, trained {seconds:.0f} s"


def _shown(run: Run) -> list[str]:
    """Return the metrics that are worth a place in a line: the main one and those asked for."""
    return list(dict.fromkeys([run.task.metrics.main, *run.settings.metrics]))


def _scores(stored: Stored, metrics: Sequence[str]) -> str:
    record = stored.record
    if record.status == "diverged":
        return f"diverged: {record.reason}"
    return ", ".join(_score(name, record.scores["test"][name]) for name in metrics)


def _score(name: str, got: StoredScore | Score) -> str:
    if got.value is None:
        return f"{name} unknown"
    if got.low is None or got.high is None or got.low != got.low:
        return f"{name} {got.value:.3f}"
    return f"{name} {got.value:.3f} [{got.low:.3f}, {got.high:.3f}]"


def summary(outcomes: list[Outcome], results: Path, data: Path | None) -> None:
    """One line per model: its scores over seeds and items."""
    from mmbench.leaderboard import aggregate

    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.stored is not None and outcome.stored.record.status == "finished":
            run = outcome.run
            groups.setdefault((run.task.name, run.model.name), []).append(outcome)
    width = max((len(f"{task}/{model}") for task, model in groups), default=0)
    for (task, model), members in groups.items():
        stored = [outcome.stored for outcome in members if outcome.stored is not None]
        got = [aggregate(stored, metric) for metric in _shown(members[0].run)]
        told = ", ".join(_score(one.metric, one) for one in got)
        seeds = f"{got[0].seeds} seed{'s' if got[0].seeds > 1 else ''}"
        click.echo(f"{f'{task}/{model}':<{width}}  {told}  {seeds} x {got[0].n:,} items")
    for line in _left_out(outcomes):
        click.echo(line)
    if groups:
        task, model = next(iter(groups))
        where = _options.where(results)
        shown = "" if data is None else f" --data {shlex.quote(str(data))}"
        board, one = f"mmbench leaderboard -t {task}", f"mmbench show {task}/{model}{shown}"
        click.echo(f"saved in {results}; next: {board if len(groups) > 1 else one}{where}")


def _left_out(outcomes: Sequence[Outcome]) -> list[str]:
    """Say of each task how many items were left out, as its records have it."""
    import json

    lines: dict[str, None] = {}
    for outcome in outcomes:
        told = outcome.stored.record.data.get("left_out", "") if outcome.stored else ""
        if told:
            counts = {split: len(several) for split, several in json.loads(told).items()}
            each = ", ".join(f"{split} {count}" for split, count in counts.items())
            lines[
                f"left out of {outcome.run.task.name}: {sum(counts.values())} items ({each}); "
                f"'mmbench data check' names them"
            ] = None
    return list(lines)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return what became of a run."""
    import msgspec

    if outcome.stored is None:
        return {
            "task": outcome.run.task.name,
            "model": outcome.run.model.name,
            "seed": outcome.run.seed,
            "status": "failed",
            "reason": str(outcome.error),
        }
    record = msgspec.to_builtins(outcome.stored.record)
    kept = ("task", "model", "seed", "budget", "status", "reason", "identity", "scores", "cost")
    return {key: record[key] for key in kept} | {
        "folder": str(outcome.stored.folder),
        "fresh": outcome.fresh,
        "rescored": outcome.rescored,
    }


def left_as_json(run: Run, why: str) -> dict[str, Any]:
    """Return that a run was not made, and why."""
    return {
        "task": run.task.name,
        "model": run.model.name,
        "seed": run.seed,
        "status": "left",
        "reason": why,
    }
