"""Boards as LaTeX tables for booktabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmbench.report.columns import Column
from mmbench.report.escapes import tex
from mmbench.report.grids import Grid, of_board, over

if TYPE_CHECKING:
    from mmbench.leaderboard import Board
    from mmbench.over_tasks import OverTasks


def latex(
    boards: Sequence[Board], across: Sequence[OverTasks] = (), chosen: Sequence[Column] = ()
) -> str:
    """Lay boards out as tables, with the `chosen` columns instead of the usual ones.

    The preamble has to load the package ``booktabs``.
    """
    tables = [*(of_board(board, chosen) for board in boards), *over(across)]
    return "\n".join(["% \\usepackage{booktabs}", *("\n".join(_table(grid)) for grid in tables)])


def _table(grid: Grid) -> list[str]:
    caption = tex(f"{grid.title}; {grid.about}" if grid.about else grid.title)
    lines = [r"\begin{table}", r"\centering\small", rf"\caption{{{caption}}}"]
    if grid.rows:
        sides = "".join("r" if number else "l" for number in grid.numbers)
        lines += [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", _row(grid.header), r"\midrule"]
        lines += [*map(_row, grid.rows), r"\bottomrule", r"\end{tabular}"]
    notes = [*grid.notes, *(f"{grid.points}: {line}" for line in grid.listed)]
    lines += [rf"\par\smallskip{{\footnotesize {tex(note)}\par}}" for note in notes]
    return [*lines, r"\end{table}", ""]


def _row(cells: Sequence[str]) -> str:
    first, *rest = map(tex, cells)
    # A bracket at the beginning would be read as an option of the row before.
    return " & ".join([f"{{}}{first}" if first.startswith("[") else first, *rest]) + r" \\"
