"""Graphs as pictures: nodes on a circle, an arrow for each edge, which tells its relation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmbench.report import colours
from mmbench.report.canvas import Page, Style, shorten, width

if TYPE_CHECKING:
    from mmbench.types import Array

#: Pixels of a node's radius, of a side of the picture, and of a node's name at most.
DOT, SIDE, _NAME = 3.0, 192, 44
_SMALL = Style(7.5, colours.FAINT)
#: The shade and the line of each relation: both differ, for readers without colours.
_LINES = tuple(zip(colours.SERIES, ("-", (0, (4, 1.5)), (0, (1, 1.2))), strict=False))


def drawn(name: str, item: Array, words: Sequence[str]) -> Callable[[Page, float, float], None]:
    """Return what draws a graph [1 + R, N, W] into `SIDE` pixels; see `mmbench.types.Links`.

    Nodes stand in the order of who they are, the first on top, clockwise, so that graphs of the
    same things can be compared by eye. An arrow bears the number of its relation.

    Args:
        name: Stands above it.
        item: The graph.
        words: What nodes are called, by their number; a node without a word bears its number.
    """
    who = item[0, :, 0].astype(int)
    nodes = sorted(np.flatnonzero(who).tolist(), key=lambda node: (who[node], node))
    around = {node: 2 * math.pi * k / len(nodes) for k, node in enumerate(nodes)}
    edges = [
        (int(one), int(other), relation)
        for relation, plane in enumerate(item[1:])
        for one, other in np.argwhere(plane[:, : item.shape[1]])
        if one in around and other in around
    ]

    def draw(page: Page, x: float, y: float) -> None:
        page.write(x, y - 1, name, Style(8.0, colours.FAINT))
        middle, centre, radius = x + SIDE / 2, y + 18 + (SIDE - 24) / 2, SIDE / 2 - 42
        at = {
            node: (middle + radius * math.sin(turn), centre - radius * math.cos(turn))
            for node, turn in around.items()
        }
        for one, other, relation in edges:
            colour, line = _LINES[relation % len(_LINES)]
            page.arrow(at[one], at[other], colour, gap=DOT + 2, linestyle=line)
            # Nearer to where it points: two that cross, or lead both ways, do not share the place.
            (ax, ay), (bx, by) = at[one], at[other]
            number = Style(7.5, colour, bold=True)
            page.write(
                ax + 0.6 * (bx - ax) + 3, ay + 0.6 * (by - ay) - 12, str(relation + 1), number
            )
        for node, (left, top) in at.items():
            page.box(left - DOT, top - DOT, 2 * DOT, 2 * DOT, colours.INK, zorder=3)
            called = words[who[node]] if who[node] < len(words) else f"#{who[node]}"
            called = shorten(called, _SMALL, _NAME)
            out = math.sin(around[node]), -math.cos(around[node])
            wide = width(called, _SMALL)
            page.write(
                left + 8 * out[0] - wide * (1 - out[0]) / 2, top + 13 * out[1] - 7, called, _SMALL
            )

    return draw
