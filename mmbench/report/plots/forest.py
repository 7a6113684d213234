"""Forest plot: every model of a task a point with its interval, between floor and ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmbench.errors import NotComparableError
from mmbench.leaderboard import Board, Row
from mmbench.report import colours
from mmbench.report.canvas import Page, Style, Word, lay, plain, shorten, width
from mmbench.report.plots import _labels, _look
from mmbench.report.plots._look import NAME, SMALL, TITLE
from mmbench.report.plots._source import Source, panels

SUMMARY = "models of a task on the score axis, with intervals, rank sets, floor and ceiling"

#: Pixels: of the score axis, of the two columns beside it, of a row, between panels.
_PLOT, _SCORE, _PLACE, _ROW, _GAP, _MARGIN = 380, 62, 66, 29, 56, 26
_FLAG = Style(8.0, colours.FAINT)
_SHADE = "#eef2f6"
#: Dashes of the floor, of a single modality's oracle, and of all modalities' oracle.
_DASHES: dict[str, Any] = {"floor": (0, (1, 1.5)), "alone": (0, (5, 2.5)), "ceiling": "-"}
#: Models that a description tells one by one.
_TOLD = 24


class _Level(NamedTuple):
    """What the oracle reaches: one line, perhaps of several names."""

    value: float
    name: str
    kind: str


def gather(source: Source) -> list[Board]:
    """Return the boards that are drawn."""
    return [panel.board for panel in panels(source, "forest")]


def figure(boards: Sequence[Board]) -> Any:
    """Draw a panel per board, two side by side, best model on top; published rows are hollow.

    Raises:
        NotComparableError: No board has a score.
    """
    boards = [board for board in boards if _drawn(board)]
    if not boards:
        raise NotComparableError("forest: no board has a score")
    columns = min(2, len(boards))
    lines = [boards[k : k + columns] for k in range(0, len(boards), columns)]
    wide = max(_names(board) for board in boards) + _PLOT + _SCORE + _PLACE
    heights = [max(_height(board, wide) for board in line) for line in lines]
    page = Page(
        round(2 * _MARGIN + columns * wide + (columns - 1) * _GAP),
        round(2 * _MARGIN + sum(heights) + (len(lines) - 1) * _GAP / 2),
    )
    y = float(_MARGIN)
    for line, high in zip(lines, heights, strict=True):
        head = max(_head(board) for board in line)
        for column, board in enumerate(line):
            _panel(page, board, _MARGIN + column * (wide + _GAP), y, wide, head)
        y += high + _GAP / 2
    return page.figure


def alt(boards: Sequence[Board]) -> str:
    """Say in words what is seen."""
    return " ".join(_told(board) for board in boards if _drawn(board))


def _told(board: Board) -> str:
    parts = [f"Forest plot of {title(board)}, with 95 % intervals."]
    rows = _drawn(board)
    told = [_told_row(row) for row in rows[:_TOLD]]
    if len(rows) > _TOLD:
        told.append(f"and {len(rows) - _TOLD} more")
    parts.append(f"From best to worst: {'; '.join(told)}.")
    levels = [f"{level.name} {level.value:.3f}" for level in _levels(board)]
    if levels:
        parts.append(f"Lines: what the task's oracle reaches, {'; '.join(levels)}.")
    return " ".join([*parts, f"{board.scope}."] if board.scope else parts)


def _told_row(row: Row) -> str:
    name = plain(row.model, 60)
    if row.main is None:
        return f"{name} {row.value:.3f} (published)"
    span = "" if row.main.reason else f" [{row.main.low:.3f}, {row.main.high:.3f}]"
    return f"{name} {row.value:.3f}{span}, place {_place(row)}"


def title(board: Board) -> str:
    """Name a board; of a metric of which less is more, that is said too."""
    parts = [board.task, board.split, board.metric, board.budget]
    worse = "" if board.higher_is_better else " (lower is better)"
    return plain(" | ".join(parts), 160) + worse


def _drawn(board: Board) -> list[Row]:
    return [row for row in board.rows if row.value is not None]


def _names(board: Board) -> float:
    """Return how wide the models' names are."""
    return max(width(_look.short(row.model), NAME) for row in _drawn(board)) + 14


def _place(row: Row) -> str:
    if row.rank is None:
        return ""
    first, last = row.rank
    return str(first) if first == last else f"{first}–{last}"


def _levels(board: Board) -> list[_Level]:
    """Return the oracles' lines; those too close to tell apart are one."""
    ends = [("floor", board.floor), ("ceiling", board.ceiling)]
    marks = [_Level(value, name, name) for name, value in ends if value is not None]
    marks += [_Level(v, f"{name} alone", "alone") for name, v in board.alone.items()]
    drawn = [row.value for row in _drawn(board) if row.value is not None]
    values = [mark.value for mark in marks] + drawn
    near = 0.02 * (max(values) - min(values)) if values else 0.0
    found: list[_Level] = []
    for mark in sorted(marks, key=lambda mark: mark.value):
        if found and mark.value - found[-1].value <= near:
            # The floor, or the ceiling, says more than one modality does.
            both = [found[-1], mark][:: -1 if found[-1].kind == "alone" else 1]
            found[-1] = _Level(both[0].value, f"{both[0].name}, {both[1].name}", both[0].kind)
        else:
            found.append(mark)
    return found


def _limits(board: Board) -> tuple[float, float]:
    """Return the ends of the score axis."""
    values = [level.value for level in _levels(board)]
    for row in _drawn(board):
        values.append(float(row.value or 0.0))
        if row.main is not None and not row.main.reason:
            values += [row.main.low, row.main.high]
    room = 0.04 * (max(values) - min(values)) or 0.05 * max(1.0, abs(values[0]))
    return min(values) - room, max(values) + room


def _flags(board: Board) -> list[tuple[_Level, str, float, int]]:
    """Return each level's line, what its flag says, its pixel on the axis, and its flag's row."""
    low, high = _limits(board)
    found = []
    for level in _levels(board):
        x = (level.value - low) / (high - low) * _PLOT
        room = _PLOT + _SCORE + _PLACE - x - 4
        found.append((level, shorten(level.name, _FLAG, max(room, 110)), x))
    widths = [width(text, _FLAG) for _, text, _ in found]
    at = _labels.flags([x for _, _, x in found], widths, 10)
    return [(*each, row) for each, row in zip(found, at, strict=True)]


def _head(board: Board) -> float:
    """Return the height of a panel's title and flags."""
    rows = [row for *_, row in _flags(board)]
    return 30 + _FLAG.line * (1 + max(rows)) if rows else 30.0


def _notes(board: Board, wide: float) -> list[Any]:
    parts = [board.scope] if board.scope else []
    if _levels(board):
        parts.append("lines: what the task's oracle reaches")
    if _best(board):
        parts.append("shaded: may be the best (places: all pairs tested, Holm-corrected)")
    if any(row.main is None for row in _drawn(board)):
        parts.append("hollow: published")
    return lay([Word(w, SMALL) for w in "; ".join(parts).split()], wide, 4)


def _best(board: Board) -> list[Row]:
    """Return the rows that may be the best; none where that is nobody or everybody."""
    ranked = [row for row in _drawn(board) if row.rank is not None]
    best = [row for row in ranked if row.rank is not None and row.rank[0] == 1]
    return best if len(best) < len(ranked) else []


def _height(board: Board, wide: float) -> float:
    rows = len(_drawn(board))
    return _head(board) + _ROW * rows + 34 + len(_notes(board, wide)) * SMALL.line


def _panel(page: Page, board: Board, x: float, y: float, wide: float, head: float) -> None:
    rows = _drawn(board)
    left = x + wide - _PLOT - _SCORE - _PLACE
    top = y + head
    page.write(x, y, shorten(title(board), TITLE, wide), TITLE)
    for k, row in enumerate(rows):
        if row in _best(board):
            page.box(x, top + k * _ROW, wide, _ROW, _SHADE, zorder=-1)
    axes = page.axes(left, top, _PLOT, _ROW * len(rows))
    axes.set(xlim=_limits(board), ylim=(len(rows) - 0.5, -0.5), yticks=[], facecolor="none")
    axes.locator_params(axis="x", nbins=5)
    for level, text, at, flag in _flags(board):
        dash = _DASHES[level.kind]
        axes.axvline(level.value, color=colours.FAINT, lw=1.1, ls=dash, zorder=0, gid=level.kind)
        page.write(left + at + 3, top - (flag + 1) * _FLAG.line, text, _FLAG)
        pole = [(left + at, top), (left + at, top - (flag + 1) * _FLAG.line + 3)]
        page.line(pole, colours.LINE, linewidth=0.8)
    for k, row in enumerate(rows):
        _row(axes, k, row)
        middle = top + (k + 0.5) * _ROW
        _look.label(page, left - 12, middle, _look.short(row.model), NAME, right=True)
        _look.label(page, left + _PLOT + _SCORE, middle, f"{row.value:.3f}", NAME, right=True)
        _look.label(page, x + wide - 8, middle, _place(row), NAME, right=True)
    below = top + _ROW * len(rows)
    page.write(left + _PLOT + _SCORE, below + 7, "score", SMALL, right=True)
    if any(row.rank for row in rows):
        page.write(x + wide - 8, below + 7, "place", SMALL, right=True)
    page.write_lines(x, below + 34, _notes(board, wide))


def _row(axes: Any, place: int, row: Row) -> None:
    if row.main is None:
        axes.plot(row.value, place, "o", color="white", mec=colours.FAINT, mew=1.4, ms=7)
        return
    if not row.main.reason:
        ends = [row.main.low, row.main.high]
        axes.plot(ends, [place, place], color=colours.SCORE, lw=2.4, solid_capstyle="butt")
    axes.plot(row.value, place, "o", color=colours.SCORE, ms=6.5)
