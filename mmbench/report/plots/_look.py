"""How models look, and what axes say: alike in all figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmbench.report import colours
from mmbench.report.canvas import FONT, Page, Style, shorten, width

TITLE, HEAD = Style(12.0, bold=True), Style(10.0, bold=True)
NAME, SMALL = Style(9.5), Style(8.5, colours.FAINT)
#: Pixels that a model's name has at most.
NAME_ROOM = 210
#: Shapes and dashes, so that lines can be told apart without colour too.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "h", "*")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.6, 1.4, 1.6)))


class Look(NamedTuple):
    """How one model is drawn."""

    colour: str
    marker: str
    dash: Any


def of_models(names: Sequence[str]) -> dict[str, Look]:
    """Give each model its look: colours for eight, shapes for twelve, together for 24.

    The same names look the same in every figure, whatever their order there.

    >>> looks = of_models(["late", "early"])
    >>> looks["early"].marker, looks["late"].marker
    ('o', 's')
    """
    return {
        name: Look(
            colours.SERIES[k % len(colours.SERIES)],
            _MARKERS[k % len(_MARKERS)],
            _DASHES[(k + k // len(colours.SERIES)) % len(_DASHES)],
        )
        for k, name in enumerate(sorted(set(names)))
    }


def label(page: Page, x: float, y: float, text: str, style: Style, right: bool = False) -> None:
    """Write a text of one line whose middle, not whose top, is at `y`."""
    page.write(x, y - style.line * 0.53, text, style, right)


def centred(page: Page, x: float, y: float, text: str, style: Style) -> None:
    """Write a text of one line around `x`, its top at `y`."""
    page.write(x - width(text, style) / 2, y, text, style)


def short(name: str, style: Style = NAME, room: float = NAME_ROOM) -> str:
    """Return a name as it fits."""
    return shorten(name, style, room)


def ticks(low: float, high: float) -> list[float]:
    """Return places for the ticks of a logarithmic axis: three or more, whatever its span.

    >>> ticks(900, 2e6), ticks(48000, 52000)
    ([1000.0, 10000.0, 100000.0, 1000000.0], [48000.0, 49000.0, 50000.0, 51000.0, 52000.0])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [float(part * 10**k) for k in decades for part in parts]
        found = [place for place in found if low <= place <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / 7)]
    from matplotlib.ticker import MaxNLocator

    places = map(float, MaxNLocator(4).tick_values(low, high))
    return [place for place in places if low <= place <= high]


def amount(value: float) -> str:
    """Write a number with a prefix: three digits, as few signs as it takes.

    >>> [amount(v) for v in (0, 0.25, 999, 1500, 52000, 744085, 3.2e9)]
    ['0', '0.25', '999', '1.5k', '52k', '744k', '3.2G']
    """
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{float(f'{value / size:.3g}'):g}{prefix}"
    return f"{float(f'{value:.3g}'):g}"


def grid(axes: Any, axis: str) -> None:
    """Draw faint lines behind everything."""
    axes.grid(axis=axis, color=colours.TRACK, linewidth=0.8)
    axes.set_axisbelow(True)


def write_ticks(axes: Any, places: Sequence[float], texts: Sequence[str]) -> None:
    """Put ticks below axes; no formula is read into the texts."""
    axes.set_xticks(places, labels=texts, minor=False)
    axes.minorticks_off()
    for each in axes.get_xticklabels():
        each.set(parse_math=False, family=FONT)
