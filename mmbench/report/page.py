"""Boards as one HTML page: nothing is loaded, nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmbench.report.columns import Column
from mmbench.report.escapes import html
from mmbench.report.grids import Grid, of_board, over

if TYPE_CHECKING:
    from mmbench.leaderboard import Board
    from mmbench.over_tasks import OverTasks

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Leaderboard</title>
<style>
:root { color-scheme: light dark; --line: light-dark(#d0d3d9, #454a54);
  --faint: light-dark(#5a606b, #a3a9b5); --band: light-dark(#f4f5f7, #23262c); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem;
  color: light-dark(#1b1e24, #e8eaee); background: light-dark(#fff, #17191d); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
caption small { display: block; font-weight: 400; color: var(--faint); }
th, td { padding: .3rem .6rem; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
tbody tr:nth-child(even) { background: var(--band); }
.number { text-align: right; }
meter { width: 6rem; vertical-align: middle; }
p, li { color: var(--faint); font-size: .875rem; margin: .25rem 0; max-width: 65rem;
  overflow-wrap: anywhere; }
section { margin-bottom: 2.5rem; }
</style>
</head>
<body>
<main>
<h1>Leaderboard</h1>
"""


def html_page(
    boards: Sequence[Board], across: Sequence[OverTasks] = (), chosen: Sequence[Column] = ()
) -> str:
    """Lay boards out as a page that opens from disk; with the `chosen` columns, if there are."""
    grids = [*(of_board(board, chosen) for board in boards), *over(across)]
    return _HEAD + "".join(_section(grid) for grid in grids) + "</main>\n</body>\n</html>\n"


def _section(grid: Grid) -> str:
    parts = ["<section>"]
    parts += _table(grid) if grid.rows else [f"<h2>{html(grid.title)}</h2>"]
    parts += [f"<p>{html(note)}.</p>" for note in grid.notes]
    if grid.listed:
        points = [f"<li>{html(line)}</li>" for line in grid.listed]
        parts += [f"<p>{html(grid.points.capitalize())}:</p>", "<ul>", *points, "</ul>"]
    return "\n".join([*parts, "</section>"]) + "\n"


def _table(grid: Grid) -> list[str]:
    about = f"<small>{html(grid.about)}</small>" if grid.about else ""
    label = html(grid.title)
    head = "".join(
        f'<th scope="col"{_side(number)}>{html(name)}</th>'
        for name, number in zip(grid.header, grid.numbers, strict=True)
    )
    return [
        f'<div class="wide" role="region" tabindex="0" aria-label="{label}">',
        f"<table><caption>{label}{about}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
        *(f"<tr>{_cells(grid, row)}</tr>" for row in grid.rows),
        "</tbody></table></div>",
    ]


def _cells(grid: Grid, row: Sequence[str]) -> str:
    made = []
    for place, (cell, number) in enumerate(zip(row, grid.numbers, strict=True)):
        shown = html(cell)
        if place == grid.strong and shown:
            value, blank, rest = shown.partition(" ")
            shown = f"<b>{value}</b>{blank}{rest}"
        if place == grid.share and cell.endswith("%"):
            share = min(1.0, max(0.0, float(cell[:-1]) / 100))
            shown = f'<meter value="{share:g}" aria-hidden="true"></meter> {shown}'
        kind = 'th scope="row"' if place == grid.names else "td"
        made.append(f"<{kind}{_side(number)}>{shown}</{kind[:2]}>")
    return "".join(made)


def _side(number: bool) -> str:
    return ' class="number"' if number else ""
