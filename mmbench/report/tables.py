"""Boards as text, Markdown, CSV and JSON. The same boards give the same bytes.

LaTeX and HTML have modules of their own; what a table says is the same in all (`grids`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmbench.report import columns, escapes
from mmbench.report.columns import Column, number, span
from mmbench.report.evaluation import aligned
from mmbench.report.grids import Grid, notes, of_board, over, title
from mmbench.scoring import Score
from mmbench.sealed import encode

if TYPE_CHECKING:
    from mmbench.leaderboard import Board, Row
    from mmbench.over_tasks import OverTasks

#: The version of what `to_json` returns; raised whenever a key changes its meaning.
SCHEMA = 1
#: Characters of a line in a terminal.
WIDTH = 100


def text(
    boards: Sequence[Board], across: Sequence[OverTasks] = (), chosen: Sequence[Column] = ()
) -> str:
    """Lay boards out for a terminal; with the `chosen` columns instead of the usual ones."""
    shown = [_text(board, chosen) for board in boards]
    shown += ["\n".join(_text_of(grid)) for grid in over(across)]
    return "\n\n".join(shown)


def markdown(
    boards: Sequence[Board], across: Sequence[OverTasks] = (), chosen: Sequence[Column] = ()
) -> str:
    """Lay boards out as Markdown tables; with the `chosen` columns instead of the usual ones."""
    grids = [*(of_board(board, chosen) for board in boards), *over(across)]
    return "\n\n".join("\n".join(_markdown(grid)) for grid in grids) + "\n"


def to_json(boards: Sequence[Board], across: Sequence[OverTasks] = ()) -> str:
    """Write all there is, for machines; a number that is none is null."""
    return encode({"schema": SCHEMA, "boards": boards, "over_tasks": across}).decode()


def overview(boards: Sequence[Board]) -> str:
    """Lay boards out as one Markdown table: a row per model, a column per board.

    Models stand in the order of their mean headroom over the boards (of their mean score, where a
    board has no floor and ceiling), those that miss a board behind. What the oracles reach stands
    above and below.
    """
    there = [row for board in boards for row in board.rows if row.value is not None]
    names = list(dict.fromkeys(row.model for row in there))
    cells = {name: [_of(board, name) for board in boards] for name in names}

    def order(name: str) -> tuple[int, float]:
        told = [row for row in cells[name] if row is not None]
        share = [(row.value or 0.0) if row.headroom is None else row.headroom for row in told]
        return (len(boards) - len(told), -sum(share) / len(share))

    many = len({board.metric for board in boards}) > 1 or len({b.split for b in boards}) > 1
    heads = [
        f"{b.task.partition('@')[0]}{f', {b.metric} on {b.split}' if many else ''}" for b in boards
    ]
    lines = [f"| {_cells(list(map(escapes.markdown, heads)))}", "|---" * (len(boards) + 1) + "|"]
    lines.append(_marks("all modalities (oracle)", [b.ceiling for b in boards]))
    for name in sorted(names, key=order):
        told = [_overview_cell(row) for row in cells[name]]
        lines.append(
            f"| {escapes.markdown(escapes.plain(name, escapes.MOST))} | " + " | ".join(told) + " |"
        )
    best = [_best_alone(board) for board in boards]
    lines.append(_marks("best single modality (oracle)", best))
    lines.append(_marks("floor", [b.floor for b in boards]))
    shown = [line for line in lines if line]
    first = boards[0]
    about = f"{first.metric} on {first.split}, budget {first.budget}; " if not many else ""
    notes = [f"{about}{first.scope}."] if first.scope else []
    notes += dict.fromkeys(board.tuning for board in boards if board.tuning)
    notes += [f"not ranked: {line}" for board in boards for line in board.listed]
    said = [escapes.markdown(escapes.plain(note)) for note in notes]
    return "\n".join([*shown, "", *said]).rstrip() + "\n"


def _of(board: Board, name: str) -> Row | None:
    return next((row for row in board.rows if row.model == name and row.value is not None), None)


def _overview_cell(row: Row | None) -> str:
    if row is None or row.value is None:
        return ""
    interval = f" {span(row.main)}" if row.main is not None and not row.main.reason else ""
    return f"{number(row.value)}{interval}"


def _best_alone(board: Board) -> float | None:
    if not board.alone:
        return None
    return max(board.alone.values()) if board.higher_is_better else min(board.alone.values())


def _marks(name: str, values: Sequence[float | None]) -> str:
    """Write what an oracle reaches on each board; nothing where it is known of none."""
    if all(value is None for value in values):
        return ""
    told = ["" if value is None else f"*{number(value)}*" for value in values]
    return f"| *{name}* | " + " | ".join(told) + " |"


def comma_separated(boards: Sequence[Board]) -> str:
    """Lay boards out as one CSV table, a row per model and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    usual = [column for column in columns.FACTS if column.name != "seeds"]  # the score's own
    facts = [*usual, *columns.MEASURED]
    writer.writerow(
        ["task", "budget", "split", "model", "rank_low", "rank_high", "metric", "value", "low",
         "high", "se", "seeds", "items", *(column.name for column in facts), "signature", "source"]
    )  # fmt: skip
    for board in boards:
        for row in board.rows:
            told = {column.name: column.value(row) for column in facts}
            for name, got in {board.metric: row.main or row.value, **row.also}.items():
                if got is not None:
                    own = told if name == board.metric else {**told, "headroom": ""}
                    writer.writerow(_csv_row(board, row, name, got, list(own.values())))
    return out.getvalue()


def _csv_row(
    board: Board, row: Row, name: str, got: Score | float, facts: Sequence[object]
) -> list[object]:
    places: list[object] = list(row.rank) if row.rank is not None else ["", ""]
    texts = map(escapes.plain, (board.task, board.budget, board.split, row.model))
    head: list[object] = [*texts, *places, name]
    if isinstance(got, Score):
        numbers: list[object] = [f"{got.value:.6g}"]
        interval = (got.low, got.high, got.se)
        numbers += ["" if got.reason else f"{x:.6g}" for x in interval]
        return [*head, *numbers, got.seeds, got.n, *facts, got.signature, row.external]
    return [*head, f"{got:.6g}", "", "", "", "", "", *facts, "", row.external]


def _text(board: Board, chosen: Sequence[Column]) -> str:
    shown = columns.brief(board, WIDTH, chosen)
    table = [[header for header, _ in shown]]
    table += [[write(row) for _, write in shown] for row in board.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [line for line in title(board) if line]
    lines += ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in table]
    told = notes(board)
    lines += [f"- {line}" for line in (*told.published, *told.without)]
    lines += told.about
    lines += [f"not ranked: {line}" for line in told.listed]
    return "\n".join(lines)


def _text_of(grid: Grid) -> list[str]:
    lines = [line for line in (grid.title, grid.about) if line]
    lines += aligned([grid.header, *grid.rows]) if grid.rows else []
    return [*lines, *grid.notes, *(f"{grid.points}: {line}" for line in grid.listed)]


def _markdown(grid: Grid) -> list[str]:
    lines = [f"### {escapes.markdown(grid.title)}".replace("\\|", "|"), ""]
    lines += [escapes.markdown(grid.about), ""] if grid.about else []
    if grid.rows:
        lines += [_cells(list(map(escapes.markdown, grid.header))), "|" + "---|" * len(grid.header)]
    for row in grid.rows:
        texts = zip(row, grid.numbers, strict=True)
        cells = [cell if number else escapes.markdown(cell) for cell, number in texts]
        if grid.strong is not None and cells[grid.strong]:
            value, blank, rest = cells[grid.strong].partition(" ")
            cells[grid.strong] = f"**{value}**{blank}{rest}"
        lines.append(_cells(cells))
    lines += [f"\n{escapes.markdown(line)}." for line in grid.notes]
    if grid.listed:
        points = (f"- {escapes.markdown(line)}" for line in grid.listed)
        lines += ["", f"{grid.points.capitalize()}:", *points]
    return lines


def _cells(row: Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"
