"""The scores of one record on the axis from floor to ceiling."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmbench.report import colours
from mmbench.report.canvas import DPI, FONT
from mmbench.report.record import level_of, scores_of, span
from mmbench.spec import LevelSpec, TaskSpec
from mmbench.store import Record, StoredScore

_ROW = 0.44  # inches of a metric's row
#: Marks of the test splits, in their order; the first is filled.
_MARKS = ("o", "D", "s", "^")
#: From a metric's value to its place on the track, 0..1.
Place = Callable[[float], float]


def scale(
    bounds: tuple[float | None, float | None], values: Sequence[float]
) -> tuple[float, float]:
    """Return the ends of a metric's axis: its bounds, as far as they say something.

    A metric bound to at most 1 runs to its bound. Any other runs to the next of 1, 2, 5, 10, 20,
    ... above all that is drawn, so that CIDEr-D, bound at 10 and never near it, can be read.

    >>> scale((0.0, 1.0), [0.3]), scale((0.0, 10.0), [1.65, 2.4]), scale((None, None), [-3.0, 12.0])
    ((0.0, 1.0), (0.0, 5.0), (-5.0, 20.0))
    """
    low, high = bounds
    top, bottom = max([0.0, *values]), min([0.0, *values])
    end = high if high is not None and high <= 1.0 else _round_up(top)
    if high is not None:
        end = min(end, high)
    begin = low if low is not None and low >= -1.0 else -_round_up(-bottom)
    return (begin, end) if end > begin else (begin, begin + 1.0)


def figure(record: Record, task: TaskSpec, title: str) -> Any:
    """Draw every metric as a point with its interval on its own axis, and what is possible.

    Floor and ceiling are bars across the track, the oracles that see one modality triangles above
    it. All test splits have their points; levels and numbers are the first one's.
    """
    from matplotlib.figure import Figure

    scored = scores_of(record, task)
    splits = list(scored)
    names = list(dict.fromkeys(name for split in scored.values() for name in split))
    high = 1.7 + _ROW * len(names)
    drawn = Figure(figsize=(9.4, high), dpi=DPI, facecolor="white")
    drawn.suptitle(
        f"{title}: scores with 95% intervals",
        fontsize=12, weight="bold", family=FONT, x=0.02, ha="left", y=1 - 0.17 / high, va="top",
    )  # fmt: skip
    axes = drawn.add_axes((0.155, 0.72 / high, 0.56, 1 - 1.44 / high))
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    _write(axes, 1.06, -0.62, f"on {splits[0]}", 8, colours.FAINT)
    alone: dict[str, None] = {}
    for row, name in enumerate(names):
        level = level_of(task, splits[0], name)
        alone.update(dict.fromkeys(level.alone if level else ()))
        got = {split: scored[split][name] for split in splits if name in scored[split]}
        _score_row(axes, row, name, got, level, splits, main=name == task.metrics.main)
    any_level = any(level_of(task, splits[0], name) for name in names)
    _legend(drawn, splits, list(alone), any_level)
    return drawn


def _score_row(
    axes: Any,
    row: int,
    name: str,
    got: Mapping[str, StoredScore],
    level: LevelSpec | None,
    splits: Sequence[str],
    main: bool,
) -> None:
    """Draw one metric: its track, what is possible, a point for each split, its numbers."""
    some = next(iter(got.values()))
    values = [x for s in got.values() for x in (s.value, s.low, s.high) if x is not None]
    levels = [level.floor, level.ceiling, *level.alone.values()] if level else []
    begin, end = scale(some.bounds, [*values, *levels])

    def at(value: float) -> float:
        return min(1.0, max(0.0, (value - begin) / (end - begin)))

    axes.barh(row, 1, height=0.5, color=colours.TRACK, zorder=1)
    if level is not None:
        _draw_level(axes, row, level, at)
    for split, score in got.items():
        place = splits.index(split)
        y = row + (0.0 if len(splits) == 1 else 0.2 * (place - (len(splits) - 1) / 2))
        _draw_point(axes, y, score, place, at)
    arrow = "" if some.higher_is_better else "\n(lower is better)"
    _write(axes, -0.042, row, f"{name}{arrow}", 9, colours.INK, right=True, bold=main)
    _write(axes, -0.014, row, f"{begin:g}", 7, colours.FAINT, right=True)
    _write(axes, 1.014, row, f"{end:g}", 7, colours.FAINT)
    if splits[0] in got:
        _write(axes, 1.06, row, span(got[splits[0]]), 9, colours.INK, bold=main)


def _draw_level(axes: Any, row: int, level: LevelSpec, at: Place) -> None:
    left, right = sorted((at(level.floor), at(level.ceiling)))
    axes.barh(row, right - left, left=left, height=0.5, color=colours.HEADROOM, zorder=2)
    for x in (left, right):
        ends = [row - 0.33, row + 0.33]
        axes.plot([x, x], ends, color=colours.INK, lw=1.6, zorder=3, clip_on=False)
    paints = colours.of_branches(list(level.alone))
    for name, value in level.alone.items():
        axes.plot(
            at(value), row - 0.3, "v", color=paints[name], mec=colours.INK, mew=0.5, ms=7, zorder=6,
            clip_on=False,
        )  # fmt: skip


def _draw_point(axes: Any, y: float, score: StoredScore, place: int, at: Place) -> None:
    if score.value is None:
        return
    if score.low is not None and score.high is not None:
        ends = [at(score.low), at(score.high)]
        axes.plot(ends, [y, y], color=colours.SCORE, lw=2, zorder=4, clip_on=False)
    axes.plot(
        at(score.value), y, _MARKS[place % 4], mfc="white" if place else colours.SCORE,
        mec=colours.SCORE, mew=1.4, ms=5.5, zorder=5, clip_on=False,
    )  # fmt: skip


def _write(
    axes: Any,
    x: float,
    y: float,
    text: str,
    size: float,
    colour: str,
    right: bool = False,
    bold: bool = False,
) -> None:
    axes.text(
        x, y, text, ha="right" if right else "left", va="center", fontsize=size, family=FONT,
        color=colour, weight="bold" if bold else "normal", parse_math=False,
    )  # fmt: skip


def _legend(drawn: Any, splits: Sequence[str], alone: Sequence[str], levels: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Any] = []
    for place, split in enumerate(splits):
        fill = "white" if place else colours.SCORE
        mark = _MARKS[place % 4]
        keys.append(Line2D([], [], color=colours.SCORE, marker=mark, mfc=fill, label=split))
    if levels:
        label = f"floor to ceiling (oracles, {splits[0]})"
        keys.append(Patch(facecolor=colours.HEADROOM, ec=colours.INK, label=label))
    for name, paint in colours.of_branches(alone).items():
        keys.append(
            Line2D(
                [], [], color=paint, marker="v", ls="", mec=colours.INK, mew=0.5,
                label=f"oracle that sees {name} alone",
            )
        )  # fmt: skip
    drawn.legend(
        handles=keys,
        loc="lower left",
        bbox_to_anchor=(0.02, 0.01),
        ncols=3,
        frameon=False,
        prop={"family": FONT, "size": 8.5},
    )


def _round_up(value: float) -> float:
    """Return the next of ..., 1, 2, 5, 10, 20, ...; 0 stays."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-12))
