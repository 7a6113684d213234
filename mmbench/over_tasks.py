"""Boards -> what holds over all their tasks: these tasks, not tasks at large.

Scores are normalised to their share of the way from the task's floor to its ceiling, so a task
without the two is left out, by name. Only models that were measured on every task enter: a missing
cell is empty and never averaged away. A run that diverged counts as its task's floor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmbench.leaderboard import Board, Row
from mmbench.stats import aggregates, improvement
from mmbench.types import Floats

#: Of the resamples; any other would do as well.
_SEED = 0


@dataclass(frozen=True)
class Standing:
    """One model over the tasks.

    Attributes:
        model: Its name.
        iqm: The interquartile mean of its normalised scores, over seeds and tasks.
        low: Lower end of its 95 % interval; None where there is none, as is `high`.
        high: Upper end.
        seeds: How many on each task.
        diverged: How many runs of these count as the floor, because they diverged.
        reason: Why there is no interval.
    """

    model: str
    iqm: float
    low: float | None
    high: float | None
    seeds: int
    diverged: int
    reason: str = ""


@dataclass(frozen=True)
class Pair:
    """Two models over the tasks: how often a run of the first is better than one of the second.

    Attributes:
        first: The one that stands before,
        second: and the other.
        probability: Of improvement, in [0, 1].
        low: Lower end of its 95 % interval.
        high: Upper end.
        claimed: Whether that is an improvement (`mmbench.stats.improvement`).
        reason: Why, or why not.
    """

    first: str
    second: str
    probability: float
    low: float
    high: float
    claimed: bool
    reason: str


@dataclass(frozen=True)
class OverTasks:
    """What holds over the tasks of one budget.

    Attributes:
        budget: The budget.
        split: The split that was scored.
        metrics: Task -> the metric that was taken.
        standings: Best first.
        pairs: All pairs of them, in their order.
        lacking: Model -> tasks that it lacks, for those that do not enter.
        without: Tasks that do not enter, and why.
        scope: What the intervals speak about, in words.
    """

    budget: str
    split: str
    metrics: Mapping[str, str]
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    lacking: Mapping[str, tuple[str, ...]]
    without: Mapping[str, str]
    scope: str


def over_tasks(boards: Sequence[Board]) -> list[OverTasks]:
    """Put together the boards of each budget; of fewer than two tasks there is nothing to say.

    Args:
        boards: As `mmbench.leaderboard.boards` returns them for one metric or none.
    """
    budgets: dict[tuple[str, str], list[Board]] = {}
    for board in boards:
        if any(not row.external for row in board.rows):
            budgets.setdefault((board.budget, board.split), []).append(board)
    return [
        _over(budget, split, own)
        for (budget, split), own in budgets.items()
        if len({board.task for board in own}) > 1
    ]


def _over(budget: str, split: str, boards: Sequence[Board]) -> OverTasks:
    times = Counter(board.task for board in boards)
    without, kept = {}, []
    for board in boards:
        if times[board.task] > 1:
            without[board.task] = "several definitions"
        elif board.floor is None or board.ceiling is None or board.floor == board.ceiling:
            without[board.task] = f"no floor and ceiling of {board.metric}"
        else:
            kept.append(board)
    kept = kept if len(kept) > 1 else []
    rows = [{row.model: row for row in board.rows if not row.external} for board in kept]
    names = list(dict.fromkeys(name for own in rows for name in own))
    lacking = {
        name: tuple(b.task for b, own in zip(kept, rows, strict=True) if name not in own)
        for name in names
    }
    there = [name for name in names if not lacking[name]]
    scores = {name: _normalised(kept, [own[name] for own in rows]) for name in there}
    standings = sorted(
        (_standing(name, scores[name], [own[name] for own in rows]) for name in there),
        key=lambda one: (-one.iqm, one.model),
    )
    return OverTasks(
        budget=budget,
        split=split,
        metrics={board.task: board.metric for board in kept},
        standings=tuple(standings),
        pairs=_pairs([one.model for one in standings], scores),
        lacking={name: tasks for name, tasks in sorted(lacking.items()) if tasks},
        without=without,
        scope=_scope(standings, len(kept)),
    )


def _normalised(boards: Sequence[Board], rows: Sequence[Row]) -> Floats:
    """Return shares of the headroom [S, T], as many seeds on each task as the least has."""
    columns = []
    for board, row in zip(boards, rows, strict=True):
        floor, ceiling = board.floor or 0.0, board.ceiling or 0.0
        shares = {seed: (x - floor) / (ceiling - floor) for seed, x in row.of_seeds}
        shares |= dict.fromkeys(row.diverged, 0.0)
        columns.append([share for _, share in sorted(shares.items())])
    seeds = min(map(len, columns))
    return np.array([column[:seeds] for column in columns]).T


def _standing(name: str, scores: Floats, rows: Sequence[Row]) -> Standing:
    diverged = sum(len(row.diverged) for row in rows)
    if len(scores) < 2:
        value = float(aggregates.iqm(scores))
        return Standing(name, value, None, None, len(scores), diverged, "one seed")
    found = aggregates.interval(aggregates.iqm, scores, over=aggregates.SEEDS, seed=_SEED)
    return Standing(name, found.value, found.low, found.high, found.seeds, diverged)


def _pairs(names: Sequence[str], scores: Mapping[str, Floats]) -> tuple[Pair, ...]:
    """Compare those that have several seeds, each with all that stand behind it."""
    able = [name for name in names if len(scores[name]) > 1]
    found = improvement.judge_all([scores[name] for name in able], seed=_SEED)
    return tuple(
        Pair(able[a], able[b], one.probability, one.low, one.high, one.claimed, one.reason)
        for (a, b), one in found.items()
    )


def _scope(standings: Sequence[Standing], tasks: int) -> str:
    if not standings:
        return ""
    counts = sorted({one.seeds for one in standings})
    span = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts == [1]:
        return f"these {tasks} tasks; one seed each: no intervals"
    return f"these {tasks} tasks, {span} seeds each; 95 % intervals over seeds"
