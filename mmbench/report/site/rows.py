"""Boards as the lines of a page's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmbench.leaderboard import Board, Row
from mmbench.report import columns
from mmbench.report.columns import number, rank, span
from mmbench.report.record import headroom, level_of
from mmbench.report.site.contents import Run, Table, model_page, task_page, weakest
from mmbench.scoring import Score
from mmbench.spec import LevelSpec


@dataclass(frozen=True)
class Bar:
    """A score between floor and ceiling, in hundredths, cut off at the ends."""

    share: float
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Fact:
    """What is told of a model beside its scores: for people, and to sort by."""

    told: str
    value: str


@dataclass(frozen=True)
class Line:
    """One row of a board, ready to be written."""

    rank: str
    model: str
    page: str
    value: str
    interval: str
    bar: Bar | None
    also: Mapping[str, str]
    facts: Mapping[str, Fact]
    seeds: int
    external: str = ""
    note: str = ""


@dataclass(frozen=True)
class Sheet:
    """One board, ready to be written.

    Attributes:
        key: Tells the boards of a site apart, in links and ids.
        task: The task's name; `title` has its version too.
        page: The task's page.
        facts: What is told of models beside their scores, as far as it is known of any.
        lines: Best first; of a long board only the first.
        more: How many rows are left out.
        about: What the intervals are about, what models were tuned with, why there are none, and
            which costs do not compare.
        published: Where published rows are from.
        apart: Runs that are not ranked.
        apart_more: How many of these are left out.
    """

    key: str
    task: str
    title: str
    page: str
    split: str
    budget: str
    metric: str
    direction: str
    floor: str
    ceiling: str
    alone: Mapping[str, str]
    also: Sequence[str]
    bars: bool
    facts: Sequence[columns.Column]
    lines: Sequence[Line]
    more: int
    about: Sequence[str]
    apart: Sequence[Run] = field(default_factory=tuple)
    apart_more: int = 0


def sheet(table: Table, key: str, most: int | None = None, apart: int | None = None) -> Sheet:
    """Lay out a board.

    Args:
        table: The board and its runs.
        key: Tells it apart.
        most: Rows at most; None: all.
        apart: Runs that are not ranked, at most; None: all.
    """
    board = table.board
    lines = [
        _line(board, row, runs, table.task.levels.get(board.metric) if _levels(board) else None)
        for row, runs in list(zip(board.rows, table.members, strict=True))[:most]
    ]
    return Sheet(
        key=key,
        task=table.name,
        title=board.task,
        page=task_page(table.name),
        split=board.split,
        budget=board.budget,
        metric=board.metric,
        direction="higher is better" if board.higher_is_better else "lower is better",
        floor="" if board.floor is None else number(board.floor),
        ceiling="" if board.ceiling is None else number(board.ceiling),
        alone={name: number(value) for name, value in board.alone.items()},
        also=board.also,
        bars=any(line.bar for line in lines),
        facts=[
            column
            for column in (*columns.FACTS, *columns.MEASURED)
            if any(_told(line.facts.get(column.name)) for line in lines)
        ],
        lines=lines,
        more=len(board.rows) - len(lines),
        about=_about(board),
        apart=table.apart[:apart],
        apart_more=len(table.apart) - len(table.apart[:apart]),
    )


def _told(fact: Fact | None) -> bool:
    return fact is not None and fact.told not in ("", columns.UNKNOWN)


def _levels(board: Board) -> bool:
    return board.floor is not None and board.ceiling is not None


def _line(board: Board, row: Row, runs: Sequence[Run], level: LevelSpec | None) -> Line:
    main = row.main
    return Line(
        rank=rank(row),
        model=row.model,
        page=model_page(runs[0].record.model) if runs else "",
        value="" if row.value is None else number(row.value),
        interval="" if main is None else span(main),
        bar=bar(row.value, main, level),
        also={name: _cell(row.also.get(name)) for name in board.also},
        facts=_facts(replace(row, trust=weakest(runs))),
        seeds=row.seeds,
        external=row.external,
        note=row.note,
    )


def _facts(row: Row) -> dict[str, Fact]:
    """Return what every format of boards tells of a model, by the column's name."""
    return {
        column.name: Fact(columns.known(column, row), str(column.value(row)) * column.number)
        for column in (*columns.FACTS, *columns.MEASURED)
        if column.name != "headroom"  # a bar tells it
    }


def bar(value: float | None, got: Any, level: LevelSpec | None) -> Bar | None:
    """Return where a score lies between floor and ceiling; None where these are not known.

    Args:
        value: The score.
        got: Has ``low`` and ``high``, or is None.
        level: Floor and ceiling.
    """
    share = headroom(value, level)
    if share is None:
        return None
    ends = [None if got is None else headroom(end, level) for end in (_low(got), _high(got))]
    low, high = sorted(map(_at, ends)) if None not in ends else (None, None)  # type: ignore[arg-type]
    return Bar(share, _at(share), low, high)


def _low(got: Any) -> float | None:
    return got.low if got is not None and got.low == got.low else None


def _high(got: Any) -> float | None:
    return got.high if got is not None and got.high == got.high else None


def _at(share: float) -> float:
    return round(100 * min(1.0, max(0.0, share)), 1)


def count(value: Any) -> str:
    """Write a whole number.

    >>> count(1234), count(None)
    ('1,234', '')
    """
    return f"{value:,.0f}" if isinstance(value, int | float) and value == value else ""


def _cell(got: Score | float | None) -> str:
    if got is None:
        return ""
    return number(got.value if isinstance(got, Score) else got)


def _about(board: Board) -> list[str]:
    told = [board.scope] if board.scope else []
    why = {row.main.reason for row in board.rows if row.main is not None and row.main.reason}
    told += [f"no interval: {reason}" for reason in sorted(why)]
    if any(row.main is not None and not row.main.reason for row in board.rows):
        told.append("ranks: all pairs tested, Holm-corrected at 5 %")
    return [*told, *filter(None, [board.tuning]), *board.caveats.values()]


@dataclass(frozen=True)
class Scores:
    """The scores of one run on one split.

    Attributes:
        split: The split.
        items: How many items it has.
        lines: A metric each, the main one first.
        bars: Whether any metric knows its floor and ceiling.
    """

    split: str
    items: int
    lines: Sequence[Mapping[str, Any]]
    bars: bool


def scores(run: Run) -> list[Scores]:
    """Lay out all scores of a run."""
    from mmbench.report.record import scores_of

    found = []
    for split, own in scores_of(run.record, run.task).items():
        lines = []
        for name, got in own.items():
            level = level_of(run.task, split, name)
            known = got.low is not None and got.high is not None
            lines.append(
                {
                    "metric": name,
                    "main": name == run.task.metrics.main,
                    "direction": "" if got.higher_is_better else "lower is better",
                    "value": "" if got.value is None else number(got.value),
                    "interval": f"[{got.low:.3f}, {got.high:.3f}]" if known else "",
                    "bar": bar(got.value, got, level),
                    "floor": number(level.floor) if level else "",
                    "ceiling": number(level.ceiling) if level else "",
                    "signature": got.signature,
                }
            )
        items = next((got.n for got in own.values()), 0)
        found.append(Scores(split, items, lines, any(line["bar"] for line in lines)))
    return found
