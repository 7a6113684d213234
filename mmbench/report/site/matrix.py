"""Every model of a board against every other: paired differences, corrected together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from mmbench import compare, versus
from mmbench.compare import Difference, Side
from mmbench.errors import MmbenchError, counted
from mmbench.report.site.contents import Run, Table
from mmbench.scoring import alone, ranks
from mmbench.stats.ranks import RankSets

#: Models at most, the first of a board: more can neither be read nor made in a moment.
MOST = 12
#: What stands in a cell in front of the difference: it must not be told by colour alone.
SIGNS = {"better": "▲", "worse": "▼", "no difference found": "="}


@dataclass(frozen=True)
class Cell:
    """The model of a row minus that of a column."""

    value: str
    interval: str
    verdict: str
    sign: str
    detectable: str


@dataclass(frozen=True)
class Matrix:
    """All pairs.

    Attributes:
        models: In the order of the board.
        cells: A row for each model; None in the diagonal and where there is no interval.
        pairs: How many were tested together, in words.
        left_out: How many models of the board are not in it.
        scope: What the intervals are about.
    """

    models: Sequence[str]
    cells: Sequence[Sequence[Cell | None]]
    pairs: str
    left_out: int
    scope: str


def matrix(table: Table, problems: list[str]) -> Matrix | None:
    """Compare the first models of a board with each other; None where there are fewer than two.

    Args:
        table: The board.
        problems: Takes what could not be compared, a line each.
    """
    board = table.board
    rows = [(row.model, runs) for row, runs in zip(board.rows, table.members, strict=True) if runs]
    try:
        sides = [_side(name, runs, board.split, problems) for name, runs in rows[:MOST]]
        pairs = list(combinations(range(len(sides)), 2))
        found = [compare.sides(sides[i], sides[j], [board.metric])[0] for i, j in pairs]
        if not pairs:
            return None
        sets = _sets(sides, board.metric)
    except MmbenchError as error:
        problems.append(f"{board.task}: no pairwise differences: {error}")
        return None
    cells: list[list[Cell | None]] = [[None] * len(sides) for _ in sides]
    for (i, j), difference in zip(pairs, found, strict=True):
        if not difference.reason and sets is not None:
            told = replace(difference, verdict=_verdict(sets, i, j))
            cells[i][j] = _cell(told)
            cells[j][i] = _cell(told, turned=True)
    return Matrix(
        models=[side.name for side in sides],
        cells=cells,
        pairs=counted(len(pairs), "pair"),
        left_out=len(rows) - len(sides),
        scope=compare.scope(sides[0], sides[1]),
    )


def _sets(sides: Sequence[Side], metric: str) -> RankSets | None:
    """Return what the board's places rest on, so that the two never disagree; None: one item."""
    if alone(len(sides[0].ids), sides[0].clusters):
        return None
    return ranks(metric, [side.rows(metric) for side in sides], sides[0].clusters)


def _verdict(sets: RankSets, one: int, other: int) -> str:
    if sets.p_values[one][other] < 1 - sets.level:
        return "better"
    return "worse" if sets.p_values[other][one] < 1 - sets.level else "no difference found"


def _side(name: str, runs: Sequence[Run], split: str, problems: list[str]) -> Side:
    return versus.record_side([run.stored for run in runs], split, name, warnings=problems)


def _cell(found: Difference, turned: bool = False) -> Cell:
    sign = -1.0 if turned else 1.0
    low, high = (-found.high, -found.low) if turned else (found.low, found.high)
    verdict = found.verdict
    if turned:
        verdict = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    return Cell(
        value=signed(sign * found.value),
        interval=f"[{signed(low)}, {signed(high)}]",
        verdict=verdict,
        sign=SIGNS.get(verdict, ""),
        detectable="" if math.isnan(found.detectable) else f"{found.detectable:.3f}",
    )


def signed(value: float) -> str:
    """Write a difference with its sign, a true minus.

    >>> signed(0.1234), signed(-0.0001), signed(-1.0)
    ('+0.123', '0.000', '−1.000')
    """
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0.0 else text.replace("-", "−")
