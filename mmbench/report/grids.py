"""What is said of boards, for people, whatever it is written as: tables of texts, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from mmbench.report import columns
from mmbench.report.columns import Column, number
from mmbench.report.escapes import MOST, plain
from mmbench.scoring import Score

if TYPE_CHECKING:
    from mmbench.leaderboard import Board, Row
    from mmbench.over_tasks import OverTasks, Pair, Standing

#: As many pairs of models are shown; of more, those that stand next to each other.
_PAIRS = 15


@dataclass(frozen=True)
class Grid:
    """A table with what is said about it.

    Attributes:
        title: Of the table.
        about: A line below it; may be empty.
        header: Names of the columns.
        rows: Texts, in one line each.
        numbers: Which columns are set to the right.
        names: The column that names a row.
        notes: Sentences below.
        listed: What is listed below,
        points: and as what.
        strong: The column that ranks.
        share: The column that holds a share of the headroom.
    """

    title: str
    about: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[bool, ...]
    names: int = 0
    notes: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    points: str = "not ranked"
    strong: int | None = None
    share: int | None = None


class Notes(NamedTuple):
    """What is said below a board.

    Attributes:
        without: Which models have no interval where others have one.
        about: What intervals, ranks and tuning are about, and which costs do not compare.
        published: Where published rows are from.
        listed: What is not ranked, and why.
    """

    without: list[str]
    about: list[str]
    published: list[str]
    listed: list[str]


def of_board(board: Board, chosen: Sequence[Column] = ()) -> Grid:
    """Lay out a board with all its columns, or with the chosen ones beside its scores."""
    shown, told = columns.whole(board, chosen), notes(board)
    names = [column.name for column in shown]
    head, levels = title(board)
    return Grid(
        title=head,
        about=levels,
        header=tuple(column.header for column in shown),
        rows=tuple(tuple(column.cell(row) for column in shown) for row in board.rows),
        numbers=tuple(column.number for column in shown),
        names=names.index("model"),
        notes=(*told.without, *told.about, *told.published),
        listed=tuple(told.listed),
        strong=names.index("value"),
        share=names.index("headroom") if "headroom" in names else None,
    )


def title(board: Board) -> tuple[str, str]:
    """Return a board's title, and what its levels are."""
    head = " | ".join([board.task, board.split, board.metric, board.budget])
    if board.floor is None or board.ceiling is None:
        return plain(head), ""
    return plain(head), f"floor {number(board.floor)}, ceiling {number(board.ceiling)} (oracles)"


def notes(board: Board) -> Notes:
    """Return what is said below a board."""
    ranks = "; ranks: all pairs tested, Holm-corrected at 5 %"
    ranked = any(row.main and not row.main.reason for row in board.rows)
    about = [board.scope + ranks * ranked] if board.scope else []
    return Notes(
        without=[plain(line) for line in _without(board)],
        about=[plain(line) for line in (*about, board.tuning, *board.caveats.values()) if line],
        published=[plain(_published(board, row)) for row in board.rows if row.external],
        listed=[plain(line) for line in board.listed],
    )


def _without(board: Board) -> list[str]:
    told = [(row.model, row.main.reason) for row in board.rows if row.main is not None]
    if all(reason for _, reason in told):
        return list(dict.fromkeys(f"no interval: {why}" for _, why in told if len(told) > 1))
    return [f"{model}: no interval: {reason}" for model, reason in told if reason]


def _published(board: Board, row: Row) -> str:
    """Say where a published row is from, what it reaches, and what sets it apart."""
    scores: dict[str, Score | float | None] = {board.metric: row.value, **row.also}
    told = ", ".join(f"{name} {v:g}" for name, v in scores.items() if isinstance(v, float))
    return "; ".join(part for part in (f"{row.model}: {told}", row.external, row.note) if part)


def over(across: Sequence[OverTasks]) -> list[Grid]:
    """Lay out what holds over tasks: where the models stand, and pairs of them."""
    return [grid for one in across for grid in (_standings(one), _pairs(one)) if grid is not None]


def _standings(one: OverTasks) -> Grid:
    tasks = ", ".join(one.metrics)
    metrics = ", ".join(dict.fromkeys(one.metrics.values()))
    left = [f"{task}: {why}" for task, why in one.without.items()]
    left += [f"{model}: no score on {', '.join(tasks)}" for model, tasks in one.lacking.items()]
    rows = tuple(_standing(standing) for standing in one.standings)
    about = f"these {len(one.metrics)} tasks: {tasks}; {metrics}" if one.metrics else ""
    said = [f"IQM of the normalised scores (floor 0, ceiling 1); {one.scope}"] if rows else []
    said += _diverged(one.standings)
    if not rows:
        said = ["nothing holds over tasks: fewer than two tasks, or no model on all of them"]
    return Grid(
        title=plain(f"over tasks | {one.split} | {one.budget}"),
        about=plain(about),
        header=("model", "IQM", "95% interval", "seeds"),
        rows=rows,
        numbers=(False, True, True, True),
        notes=tuple(map(plain, said)),
        listed=tuple(map(plain, left)),
        points="not over tasks",
        strong=1,
    )


def _standing(one: Standing) -> tuple[str, ...]:
    ends = "" if one.low is None or one.high is None else f"[{one.low:.3f}, {one.high:.3f}]"
    return plain(one.model, MOST), number(one.iqm), ends or one.reason, str(one.seeds)


def _diverged(standings: Sequence[Standing]) -> list[str]:
    told = [f"{one.model} {one.diverged}" for one in standings if one.diverged]
    return [f"runs that diverged and count as the floor: {', '.join(told)}"] if told else []


def _pairs(one: OverTasks) -> Grid | None:
    if not one.pairs:
        return None
    shown, said = list(one.pairs), []
    if len(shown) > _PAIRS:
        names = [standing.model for standing in one.standings]
        beside = dict(pairwise(names))
        shown = [pair for pair in shown if beside.get(pair.first) == pair.second]
        said = [f"models that stand next to each other; JSON has all {len(one.pairs)} pairs"]
    return Grid(
        title=plain(f"probability of improvement | {one.split} | {one.budget}"),
        about="",
        header=("model", "over", "probability", "95% interval", "improvement"),
        rows=tuple(_pair(pair) for pair in shown),
        numbers=(False, False, True, True, False),
        notes=(
            *said,
            f"a run of the first is better than one of the second; an improvement is more than "
            f"half for sure, and 75 % as estimated; {plain(one.scope)}",
        ),
    )


def _pair(pair: Pair) -> tuple[str, ...]:
    ends = f"[{pair.low:.2f}, {pair.high:.2f}]"
    names = (plain(pair.first, MOST), plain(pair.second, MOST))
    return (*names, f"{pair.probability:.2f}", ends, "yes" if pair.claimed else "not shown")
