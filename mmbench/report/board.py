"""Boards as a figure: every model a point with its interval, between floor and ceiling."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmbench.errors import StoreError, UsageError
from mmbench.leaderboard import Board, Row
from mmbench.report import canvas, colours

#: What a figure can be written as.
FORMATS = (".png", ".svg", ".pdf")
_ROW = 0.34  # inches of a model's row
_PANEL = 4.6  # inches of a board's width


def save(path: Path, boards: Sequence[Board]) -> None:
    """Draw boards side by side and write them; the same boards give the same PNG.

    Raises:
        UsageError: The name's ending is none of `FORMATS`.
        StoreError: The file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise UsageError(f"--figure {path}: expected a name that ends in {', '.join(FORMATS)}")
    file = io.BytesIO()
    if kind == ".png":
        file.write(canvas.png(lambda: figure(boards)))
    else:
        stamp = {"Date": None} if kind == ".svg" else {"CreationDate": None}
        figure(boards).savefig(file, format=kind[1:], metadata=stamp)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None


def figure(boards: Sequence[Board]) -> Any:
    """Draw a panel per board, best model on top; published rows are hollow."""
    from matplotlib.figure import Figure

    rows = max(len(board.rows) for board in boards)
    drawn = Figure(
        figsize=(_PANEL * len(boards), 1.5 + _ROW * rows),
        dpi=canvas.DPI,
        facecolor="white",
        layout="constrained",
    )
    panels = drawn.subplots(1, len(boards), squeeze=False)[0]
    for axes, board in zip(panels, boards, strict=True):
        _panel(axes, board)
    return drawn


def _panel(axes: Any, board: Board) -> None:
    axes.set_title(
        f"{board.task}, {board.metric}", fontsize=10, weight="bold", loc="left", pad=30,
        family=canvas.FONT,
    )  # fmt: skip
    rows = [row for row in board.rows if row.value is not None]
    for place, row in enumerate(rows):
        _row(axes, place, row, float(row.value or 0.0))
    marks = [("floor", board.floor), *((f"{m} alone", v) for m, v in board.alone.items())]
    marks.append(("all modalities", board.ceiling))
    known = [(name, value) for name, value in marks if value is not None]
    for value, names in _merged(known, [row.value for row in rows if row.value is not None]):
        axes.axvline(value, color=colours.LINE, linewidth=1, zorder=0)
        axes.annotate(
            names, (value, 1.0), xycoords=("data", "axes fraction"), xytext=(-2, 2),
            textcoords="offset points", rotation=18, fontsize=7, color=colours.FAINT,
            ha="left", va="bottom", family=canvas.FONT,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [row.model for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(
        f"{board.scope}\nlines: what the task's oracle reaches" if known else board.scope,
        fontsize=7, color=colours.FAINT, family=canvas.FONT,
    )  # fmt: skip


def _row(axes: Any, place: int, row: Row, value: float) -> None:
    if row.main is None:
        axes.plot(value, place, "o", color="white", markeredgecolor=colours.FAINT)
        return
    axes.plot([row.main.low, row.main.high], [place, place], color=colours.SCORE, linewidth=2)
    axes.plot(value, place, "o", color=colours.SCORE, markersize=5)
    axes.annotate(
        f"{value:.3f}", (value, place), xytext=(0, 5), textcoords="offset points",
        fontsize=7, ha="center", color=colours.INK, family=canvas.FONT,
    )  # fmt: skip


def _merged(marks: Sequence[tuple[str, float]], drawn: Sequence[float]) -> list[tuple[float, str]]:
    """Return (value, names) of the levels; names of levels too close to tell apart are joined."""
    values = [value for _, value in marks] + list(drawn)
    near = 0.02 * (max(values) - min(values))
    found: list[tuple[float, str]] = []
    for name, value in sorted(marks, key=lambda mark: mark[1]):
        if found and value - found[-1][0] <= near:
            found[-1] = (found[-1][0], f"{found[-1][1]}, {name}")
        else:
            found.append((value, name))
    return found
