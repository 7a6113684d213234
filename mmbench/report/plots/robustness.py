"""Robustness curves: each model's score where a task gets harder, beside the oracle's ceiling.

Harder either by split (noise, absence, contradiction, other items) or by one number in the
parameters of the data, where records of several tasks are equal but for that.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmbench.errors import NotComparableError
from mmbench.leaderboard import Row
from mmbench.report import colours
from mmbench.report.canvas import Page, Style, Word, lay, plain, shorten, width
from mmbench.report.plots import _labels, _look
from mmbench.report.plots._look import SMALL, TITLE, Look
from mmbench.report.plots._source import Source
from mmbench.report.plots._sweeps import Sweep, sweeps

SUMMARY = "scores over the splits of a task, or over one number of its data, with the ceiling"

#: Pixels: of the axes, of what is left and right of them, of head and foot, between panels.
_WIDE, _LEFT, _RIGHT, _HEAD, _FOOT, _GAP, _MARGIN = 620, 58, 250, 56, 70, 30, 26
_LABEL, _LEAST = 19, 320
_NAME = Style(9.0)
#: What the oracle's own points are called.
_CEILING = "ceiling (oracle)"


class Line(NamedTuple):
    """One model: its rows, one for each stop at which it was tested."""

    model: str
    rows: dict[int, Row]


def gather(source: Source) -> list[Sweep]:
    """Return what is drawn, a panel each.

    Raises:
        NotComparableError: The records hold one split, and no tasks that differ in one number.
    """
    found = sweeps(source)
    if not found:
        raise NotComparableError(
            "robustness: the records hold neither a task with two scored test splits nor tasks "
            "that are equal but for one number in their dataset's parameters"
        )
    return found


def figure(found: Sequence[Sweep]) -> Any:
    """Draw a panel for each, one below the other."""
    wide = _LEFT + _WIDE + _RIGHT
    heights = [_height(sweep) for sweep in found]
    page = Page(2 * _MARGIN + wide, round(2 * _MARGIN + sum(heights) + _GAP * (len(found) - 1)))
    y = float(_MARGIN)
    for sweep, high in zip(found, heights, strict=True):
        _panel(page, sweep, y)
        y += high + _GAP
    return page.figure


def alt(found: Sequence[Sweep]) -> str:
    """Say in words what is seen."""
    told = []
    for sweep in found:
        parts = []
        for line in lines(sweep):
            values = ", ".join(
                f"{row.value:.3f} at {plain(sweep.stops[k].text, 40)}"
                for k, row in line.rows.items()
            )
            parts.append(f"{plain(line.model, 60)} {values}")
        ceilings = ", ".join(
            f"{stop.ceiling:.3f} at {plain(stop.text, 40)}"
            for stop in sweep.stops
            if stop.ceiling is not None
        )
        parts += [f"{_CEILING} {ceilings}"] if ceilings else []
        told.append(f"{plain(sweep.title, 200)}, over {sweep.axis}: {'; '.join(parts)}.")
    return " ".join(told)


def lines(sweep: Sweep) -> list[Line]:
    """Return the models, the best at the first stop first."""
    found: dict[str, Line] = {}
    for k, stop in enumerate(sweep.stops):
        for row in stop.board.rows:
            if row.main is not None and row.value is not None:
                found.setdefault(row.model, Line(row.model, {})).rows[k] = row
    return list(found.values())


def _high(sweep: Sweep) -> float:
    """Return the height of the axes: every model's name has room beside them."""
    return max(_LEAST, _LABEL * (len(lines(sweep)) + 1))


def _height(sweep: Sweep) -> float:
    return _HEAD + _high(sweep) + _FOOT + len(_notes(sweep)) * SMALL.line


def _notes(sweep: Sweep) -> list[Any]:
    seeds = sorted({row.seeds for line in lines(sweep) for row in line.rows.values()})
    span = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    where = "the items of each task" if sweep.numeric else "the items of each split"
    what = f"{where}, for these weights: one seed" if seeds == [1] else f"{span} seeds and {where}"
    parts = [f"95% intervals over {what}."]
    better = sweep.stops[0].board.higher_is_better
    parts += [] if better else ["Lower is better."]
    if any(stop.ceiling is None for stop in sweep.stops):
        parts.append("Bars: the oracle's ceiling, where it is known." if _known(sweep) else "")
    else:
        parts.append("Bars: the ceiling, an oracle of all modalities.")
    short = [line.model for line in lines(sweep) if len(line.rows) < len(sweep.stops)]
    if short:
        parts.append(f"Not tested everywhere: {', '.join(plain(m, 60) for m in short)}.")
    text = " ".join(part for part in parts if part)
    return lay([Word(w, SMALL) for w in text.split()], _LEFT + _WIDE + _RIGHT, 4)


def _known(sweep: Sweep) -> bool:
    return any(stop.ceiling is not None for stop in sweep.stops)


def _panel(page: Page, sweep: Sweep, y: float) -> None:
    left, top, high = _MARGIN + _LEFT, y + _HEAD, _high(sweep)
    board = sweep.stops[0].board
    page.write(_MARGIN, y, shorten(sweep.title, TITLE, _LEFT + _WIDE + _RIGHT), TITLE)
    page.write(_MARGIN, top - 22, plain(board.metric, 60), SMALL)
    axes = page.axes(left, top, _WIDE, high)
    places = [stop.at for stop in sweep.stops]
    least = min(b - a for a, b in itertools.pairwise(places))
    room = max(least * 0.4, 0.03 * (places[-1] - places[0]))
    axes.set_xlim(places[0] - room, places[-1] + room)
    axes.set(ylim=_limits(sweep), facecolor="none")
    tall = _ticks(axes, sweep)
    axes.locator_params(axis="y", nbins=7)
    _look.grid(axes, "y")
    _curves(page, axes, sweep, least)
    below = top + high + 12 + 17 * tall
    _look.centred(page, left + _WIDE / 2, below, plain(sweep.axis, 100), SMALL)
    page.write_lines(_MARGIN, top + high + _FOOT, _notes(sweep))


def _limits(sweep: Sweep) -> tuple[float, float]:
    ends = [stop.ceiling for stop in sweep.stops if stop.ceiling is not None]
    for line in lines(sweep):
        for row in line.rows.values():
            ends += [float(row.value or 0.0), *_span(row)]
    room = 0.05 * (max(ends) - min(ends)) or 0.05
    return min(ends) - room, max(ends) + room


def _span(row: Row) -> tuple[float, float]:
    if row.main is None or row.main.reason:
        return float(row.value or 0.0), float(row.value or 0.0)
    return row.main.low, row.main.high


def _ticks(axes: Any, sweep: Sweep) -> int:
    """Name the stops; a number whose name has no room has a tick only, a split two lines.

    Returns:
        How many lines the longest has.
    """
    low, high = axes.get_xlim()
    texts, end = [], float("-inf")
    for stop in sweep.stops:
        x = (stop.at - low) / (high - low) * _WIDE
        text = stop.text
        if sweep.numeric:
            half = width(text, _NAME) / 2 + 4
            text = text if x - half >= end else ""
            end = x + half if text else end
        else:
            text = _wrapped(text, _WIDE / len(sweep.stops) - 8)
        texts.append(text)
    _look.write_ticks(axes, [stop.at for stop in sweep.stops], texts)
    return 1 + max(text.count("\n") for text in texts)


def _wrapped(name: str, room: float) -> str:
    """Break a name at its underscores into two lines at most."""
    if width(name, _NAME) <= room:
        return shorten(name, _NAME, room)
    parts = name.split("_")
    first = parts[0]
    while len(parts) > 1 and width(f"{first}_{parts[1]}_", _NAME) <= room:
        first, parts = f"{first}_{parts[1]}", parts[1:]
    rest = "_".join(parts[1:])
    lines = [f"{first}_", rest] if rest else [first]
    return "\n".join(shorten(each, _NAME, room) for each in lines)


def _curves(page: Page, axes: Any, sweep: Sweep, least: float) -> None:
    """Draw the models a little apart, so that no interval hides another, and name them."""
    models = lines(sweep)
    looks = _look.of_models([line.model for line in models])
    step = min(0.05, 0.5 / max(1, len(models))) * least
    ends = []
    for k, line in enumerate(models):
        aside = (k - (len(models) - 1) / 2) * step
        ends.append(_curve(axes, sweep, line, looks[line.model], aside))
    for stop in sweep.stops:
        if stop.ceiling is not None:
            reach = [stop.at - 0.32 * least, stop.at + 0.32 * least]
            axes.plot(reach, [stop.ceiling] * 2, color=colours.INK, lw=2.2, gid="ceiling")
    _names(page, axes, [(line.model, looks[line.model]) for line in models], ends)


def _curve(axes: Any, sweep: Sweep, line: Line, look: Look, aside: float) -> tuple[float, float]:
    """Draw one model; return its last point."""
    xs = [sweep.stops[k].at + aside for k in line.rows]
    ys = [float(row.value or 0.0) for row in line.rows.values()]
    for x, row in zip(xs, line.rows.values(), strict=True):
        axes.plot([x, x], _span(row), color=look.colour, lw=1.3, alpha=0.75)
    axes.plot(
        xs, ys, color=look.colour, ls=look.dash, lw=1.5, marker=look.marker, ms=7,
        mec="white", mew=0.5, gid=f"curve {plain(line.model, 60)}",
    )  # fmt: skip
    return xs[-1], ys[-1]


def _names(
    page: Page,
    axes: Any,
    names: Sequence[tuple[str, Look]],
    ends: Sequence[tuple[float, float]],
) -> None:
    """Write each model's name to the right of its last point, apart from all others."""
    pixels = [axes.transData.transform(end) for end in ends]
    wanted = [page.high - float(y) for _, y in pixels]
    top = page.high - float(axes.transAxes.transform((0, 1))[1])
    bottom = page.high - float(axes.transAxes.transform((0, 0))[1])
    x = _MARGIN + _LEFT + _WIDE + 30
    places = _labels.spread(wanted, _LABEL, top, bottom)
    for (name, look), (px, _), y, at in zip(names, pixels, wanted, places, strict=True):
        way = [(float(px) + 6, y), (x - 20, at), (x - 4, at)]
        page.line(way, look.colour, lw=0.7, alpha=0.6, zorder=0)
        page.line([(x + 6, at)], look.colour, marker=look.marker, ms=7)
        room = _RIGHT - 30 - 18
        _look.label(page, x + 18, at, _look.short(name, _NAME, room), _NAME)
