"""Quality against cost: which models are best at what they cost, and which are beaten at it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmbench.errors import NotComparableError, UnknownNameError
from mmbench.leaderboard import Row
from mmbench.report import colours
from mmbench.report.canvas import Page, Style, Word, lay, plain, shorten, width
from mmbench.report.columns import brevity
from mmbench.report.plots import _labels, _look
from mmbench.report.plots._look import SMALL, TITLE
from mmbench.report.plots._source import Panel, Source, panels
from mmbench.report.plots.forest import title

SUMMARY = (
    "quality against --cost (parameters, flops, train, latency, energy, memory, device_memory), "
    "with the Pareto front"
)

#: Key of a record's cost -> what the axis says.
COSTS = {
    "parameters": "trainable parameters",
    "train_seconds": "seconds of training",
    "flops_per_item": "floating-point operations an item",
    "peak_host_bytes": "bytes of memory at the peak",
    "peak_device_bytes": "bytes of device memory at the peak",
    "latency_p50_seconds": "time for one item alone, median",
    "energy_joules": "joules that a run took",
}
#: What a cost is called for short.
SHORT = {
    "train": "train_seconds",
    "flops": "flops_per_item",
    "memory": "peak_host_bytes",
    "device_memory": "peak_device_bytes",
    "latency": "latency_p50_seconds",
    "energy": "energy_joules",
}
#: Which of a board's caveats are about a cost.
_CAVEATS = {
    "train_seconds": ("seconds",),
    "latency_p50_seconds": ("seconds",),
    "energy_joules": ("seconds", "energy"),
    "peak_host_bytes": ("memory",),
}

#: Pixels: of the axes, of what is left of them, between panels.
_WIDE, _HIGH, _LEFT, _HEAD, _GAP, _MARGIN = 560, 360, 62, 54, 50, 26
_STEPS = "#86b3d1"
_ON, _OFF = Style(9.0, bold=True), Style(8.5, colours.FAINT)
_NAME_ROOM = 190


@dataclass(frozen=True)
class Point:
    """One model: what it cost and what it scored."""

    row: Row
    value: float
    cost: float
    front: bool = False


@dataclass(frozen=True)
class Trade:
    """One board against one cost.

    Attributes:
        panel: The board and its records.
        cost: A key of `COSTS`.
        points: The cheapest first.
        without: Models whose records do not tell that cost.
    """

    panel: Panel
    cost: str
    points: tuple[Point, ...]
    without: tuple[str, ...]

    @property
    def front(self) -> list[Point]:
        """The points on the front, the cheapest first."""
        return [point for point in self.points if point.front]


def gather(source: Source) -> list[Trade]:
    """Return what is drawn, a panel per board.

    Raises:
        UnknownNameError: No cost has that name.
        NotComparableError: There is no board, or no record tells that cost.
    """
    cost = SHORT.get(source.cost, source.cost)
    if cost not in COSTS:
        raise UnknownNameError("cost", source.cost, [*COSTS, *SHORT])
    made = [_trade(panel, cost) for panel in panels(source, "pareto")]
    for trade in made:
        if trade.without:
            names = ", ".join(plain(name, 60) for name in trade.without)
            board = trade.panel.board
            source.problems.append(
                f"{board.task}: the records do not tell {cost} of: {names}: left out"
            )
    made = [trade for trade in made if trade.points]
    if not made:
        raise NotComparableError(f"pareto: no record tells {cost}: try --cost {_told_cost(source)}")
    return made


def figure(trades: Sequence[Trade]) -> Any:
    """Draw a panel per board, two side by side."""
    columns = min(2, len(trades))
    lines = [trades[k : k + columns] for k in range(0, len(trades), columns)]
    each = _LEFT + _WIDE
    heights = [max(_height(trade) for trade in line) for line in lines]
    page = Page(
        2 * _MARGIN + columns * each + (columns - 1) * _GAP,
        round(2 * _MARGIN + sum(heights) + (len(lines) - 1) * _GAP / 2),
    )
    y = float(_MARGIN)
    for line, high in zip(lines, heights, strict=True):
        for column, trade in enumerate(line):
            _draw(page, trade, _MARGIN + column * (each + _GAP), y)
        y += high + _GAP / 2
    return page.figure


def alt(trades: Sequence[Trade]) -> str:
    """Say in words what is seen."""
    told = []
    for trade in trades:
        told += [f"{title(trade.panel.board)} against {COSTS[trade.cost]}:", _note(trade)]
        told += _apart(trade)
    return " ".join(told)


def fronts(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """Mark the points that no other one beats: none costs as little and is better.

    Args:
        points: The cheapest first.
        higher_is_better: The metric's direction.
    """
    sign = 1.0 if higher_is_better else -1.0
    found = []
    for point in points:
        # Of those that cost no more, itself included.
        rivals = [p for p in points if p.cost <= point.cost]
        best = max(sign * p.value for p in rivals)
        cheapest = min(p.cost for p in rivals if sign * p.value == best)
        on = sign * point.value == best and point.cost == cheapest
        found.append(Point(point.row, point.value, point.cost, on))
    return found


def _trade(panel: Panel, cost: str) -> Trade:
    points, without = [], []
    for row in panel.board.rows:
        if row.main is None or row.value is None:
            continue  # nobody knows what a published row cost
        told = [s.record.cost.get(cost) for s in panel.records_of(row.model)]
        known = [float(c) for c in told if isinstance(c, int | float) and 0 < c < math.inf]
        if known:
            points.append(Point(row, row.value, sum(known) / len(known)))
        else:
            without.append(row.model)
    points.sort(key=lambda p: (p.cost, p.row.model))
    marked = fronts(points, panel.board.higher_is_better)
    return Trade(panel, cost, tuple(marked), tuple(without))


def _told_cost(source: Source) -> str:
    """Return a cost that some record tells."""
    there = {key for stored in source.records for key, got in stored.record.cost.items() if got}
    return next((name for name in COSTS if name in there), "parameters")


def _note(trade: Trade) -> str:
    """Say which models are on the front."""
    on = [
        f"{plain(p.row.model, 60)} ({p.value:.3f} at {_amount(trade.cost, p.cost)})"
        for p in trade.front
    ]
    off = len(trade.points) - len(on)
    rest = f" {off} others are beaten by one that costs no more." if off > 1 else ""
    rest = " One other is beaten by one that costs no more." if off == 1 else rest
    return f"On the front, the cheapest first: {', '.join(on)}.{rest}"


def _notes(trade: Trade) -> list[Any]:
    board = trade.panel.board
    parts = [f"{board.scope}; cost: mean over seeds; the front goes by scores alone.",
             _note(trade), *_apart(trade)]  # fmt: skip
    return lay([Word(w, SMALL) for w in " ".join(parts).split()], _LEFT + _WIDE, 8)


def _amount(cost: str, value: float) -> str:
    """Write a cost, short ones of time in milliseconds."""
    return brevity(value) if cost == "latency_p50_seconds" else _look.amount(value)


def _apart(trade: Trade) -> list[str]:
    """Say why costs of some models are not to be held against those of others."""
    told = trade.panel.board.caveats
    return [f"{plain(told[key])}." for key in _CAVEATS.get(trade.cost, ()) if key in told]


def _height(trade: Trade) -> float:
    return _HEAD + _HIGH + 62 + len(_notes(trade)) * SMALL.line


def _draw(page: Page, trade: Trade, x: float, y: float) -> None:
    board = trade.panel.board
    left, top = x + _LEFT, y + _HEAD
    page.write(x, y, shorten(title(board), TITLE, _LEFT + _WIDE), TITLE)
    axes = page.axes(left, top, _WIDE, _HIGH)
    costs = [point.cost for point in trade.points]
    room = max((max(costs) / min(costs)) ** 0.1, 1.08)
    axes.set_xscale("log")
    axes.set(xlim=(min(costs) / room, max(costs) * room), ylim=_limits(trade.points))
    places = _look.ticks(*axes.get_xlim())
    _look.write_ticks(axes, places, [_amount(trade.cost, place) for place in places])
    axes.locator_params(axis="y", nbins=6)
    _look.grid(axes, "both")
    _look.centred(page, left + _WIDE / 2, top + _HIGH + 28, f"{COSTS[trade.cost]} (log)", SMALL)
    page.write(x, top - 20, plain(board.metric, 40), SMALL)
    _front(axes, trade)
    for point in trade.points:
        _point(axes, point)
    _names(page, axes, trade.points, _labels.Box(left, top, _WIDE, _HIGH))
    page.write_lines(x, top + _HIGH + 54, _notes(trade))


def _limits(points: Sequence[Point]) -> tuple[float, float]:
    ends = [end for point in points for end in (*_span(point), point.value)]
    room = 0.08 * (max(ends) - min(ends)) or 0.05
    return min(ends) - room, max(ends) + room


def _span(point: Point) -> tuple[float, float]:
    """Return a score's interval; the score itself where there is none."""
    got = point.row.main
    if got is None or got.reason:
        return point.value, point.value
    return got.low, got.high


def _front(axes: Any, trade: Trade) -> None:
    """Draw the front as steps: what is to be had for so much, up to the axis' end."""
    front = trade.front
    costs = [*(point.cost for point in front), axes.get_xlim()[1]]
    values = [*(point.value for point in front), front[-1].value]
    axes.step(costs, values, where="post", color=_STEPS, lw=1.4, zorder=1, gid="front")


def _point(axes: Any, point: Point) -> None:
    colour = colours.SCORE if point.front else colours.LINE
    low, high = _span(point)
    axes.plot([point.cost] * 2, [low, high], color=colour, lw=1.6, solid_capstyle="butt", zorder=2)
    look = {"color": colour} if point.front else {"color": "white", "mec": colours.FAINT}
    axes.plot(point.cost, point.value, "o", ms=7 if point.front else 6, zorder=3, **look)


def _names(page: Page, axes: Any, points: Sequence[Point], area: _labels.Box) -> None:
    """Write names beside the points, those on the front first, none on another or on a point."""
    at = {id(p): _pixel(page, axes, p.cost, p.value) for p in points}
    taken = [_labels.Box(x - 6, y - 6, 12, 12) for x, y in at.values()]
    for point in points:
        x, low = _pixel(page, axes, point.cost, _span(point)[0])
        _, high = _pixel(page, axes, point.cost, _span(point)[1])
        taken.append(_labels.Box(x - 2, high, 4, low - high))
    taken += _steps(page, axes, points)
    for point in sorted(points, key=lambda p: not p.front):
        style = _ON if point.front else _OFF
        text = shorten(point.row.model, style, _NAME_ROOM)
        size = (width(text, style), style.line * 0.92)
        x, y = at[id(point)]
        box = _labels.beside((x, y), size, taken, area)
        taken.append(box)
        page.write(box.x, box.y - style.line * 0.02, text, style)
        middle = box.y + box.high / 2
        if abs(middle - y) > box.high:
            end = min(max(x, box.x), box.x + box.wide)
            page.line([(x, y), (end, box.y if middle > y else box.y + box.high)], colours.LINE,
                      linewidth=0.7, zorder=0)  # fmt: skip


def _steps(page: Page, axes: Any, points: Sequence[Point]) -> list[_labels.Box]:
    """Return where the front's line runs."""
    front = [_pixel(page, axes, p.cost, p.value) for p in points if p.front]
    found = []
    for (x, y), (after, up) in itertools.pairwise(front):
        found.append(_labels.Box(x, y - 1, after - x, 2))
        found.append(_labels.Box(after - 1, min(y, up), 2, abs(up - y)))
    end, last = page.wide, front[-1]
    return [*found, _labels.Box(last[0], last[1] - 1, end - last[0], 2)]


def _pixel(page: Page, axes: Any, cost: float, value: float) -> tuple[float, float]:
    x, y = axes.transData.transform((cost, value))
    return float(x), page.high - float(y)
