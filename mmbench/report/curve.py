"""The learning curve: validation score and training loss against steps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeGuard

from mmbench import registry
from mmbench.errors import MmbenchError
from mmbench.report import colours
from mmbench.report.canvas import DPI, FONT
from mmbench.report.record import level_of
from mmbench.spec import LevelSpec, TaskSpec
from mmbench.store import Record


class Curve(NamedTuple):
    """A learning curve taken apart; steps and values of equal length."""

    loss_steps: list[float]
    losses: list[float]
    score_steps: list[float]
    scores: list[float]
    best: float | None  # the step whose weights were kept


def points(record: Record, higher_is_better: bool = True) -> Curve:
    """Return the points of the curve that are numbers.

    Args:
        record: Its curve's validation scores are more-is-better throughout.
        higher_is_better: The metric's direction, in which the scores are returned.
    """
    sign = 1.0 if higher_is_better else -1.0
    losses = [(p["step"], p["loss"]) for p in record.curve]
    scores = [(p["step"], p.get("score")) for p in record.curve]
    good = [(float(s), float(v)) for s, v in losses if s is not None and _real(v)]
    valid = [(float(s), sign * float(v)) for s, v in scores if s is not None and _real(v)]
    best = record.cost.get("best_step") if valid else None
    return Curve(
        [s for s, _ in good],
        [v for _, v in good],
        [s for s, _ in valid],
        [v for _, v in valid],
        float(best) if best else None,
    )


def figure(record: Record, task: TaskSpec, title: str) -> Any:
    """Draw the validation score above the training loss.

    The task's floor and ceiling are lines; they are those of ``test``, validation is on fewer
    items and greedy. The step whose weights were kept is marked.
    """
    from matplotlib.figure import Figure

    main = task.metrics.main
    got = points(record, _higher_is_better(record, main))
    drawn = Figure(figsize=(8.4, 5.6), dpi=DPI, facecolor="white", layout="constrained")
    drawn.suptitle(f"{title}: learning curve", fontsize=12, weight="bold", family=FONT)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _validation(above, got, main, level_of(task, "test", main))
    _loss(below, got, record)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=colours.TRACK, linewidth=0.8)
        axes.set_axisbelow(True)
    drawn.align_ylabels()
    below.set_xlabel("training step")
    below.set_xlim(0, max([*_steps(record), 1.0]) * 1.01)
    return drawn


def _validation(axes: Any, got: Curve, main: str, level: LevelSpec | None) -> None:
    axes.set_ylabel(f"validation {main}")
    if not got.scores:
        _say(axes, "never validated", colours.FAINT)
        return
    axes.plot(got.score_steps, got.scores, "-o", color=colours.SCORE, ms=4.5, clip_on=False)
    if level is not None:
        _draw_level(axes, level)
    if got.best in got.score_steps:
        _mark_best(axes, got.best, got.scores[got.score_steps.index(got.best)], got)
    shown = [0.0, *got.scores, *([level.floor, level.ceiling] if level else [])]
    room = 0.12 * (max(shown) - min(shown) or 1.0)
    axes.set_ylim(min(shown) - (room if min(shown) < 0 else 0.0), max(shown) + room)


def _draw_level(axes: Any, level: LevelSpec) -> None:
    """Draw floor and ceiling; the floor's name stands below, for curves begin there and rise."""
    below = level.floor > 0.15 * level.ceiling
    for value, name, down in ((level.floor, "floor", below), (level.ceiling, "ceiling", False)):
        axes.axhline(value, color=colours.INK, lw=1, ls=(0, (5, 3)))
        axes.annotate(
            f"{name} of test {value:.3f}",
            (0.0, value),
            (4, -3 if down else 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=8,
            color=colours.FAINT,
            va="top" if down else "bottom",
        )


def _mark_best(axes: Any, step: float, value: float, got: Curve) -> None:
    axes.plot([step], [value], "o", ms=11, mfc="none", mec=colours.WRONG, mew=1.8, clip_on=False)
    late = step > 0.6 * max(got.score_steps)
    # Below the curve, unless that is where the axis is.
    down = -16 if value > 0.15 * max(got.scores) else 12
    axes.annotate(
        f"kept: {value:.3f} at step {step:,.0f}",
        (step, value),
        (-12 if late else 12, down),
        textcoords="offset points",
        fontsize=8.5,
        color=colours.WRONG,
        ha="right" if late else "left",
    )


def _loss(axes: Any, got: Curve, record: Record) -> None:
    axes.set_ylabel("training loss")
    dots = "o" if len(got.losses) < 12 else ""
    if got.losses:
        axes.plot(got.loss_steps, got.losses, color=colours.FAINT, lw=1.5, marker=dots, ms=3.5)
    elif record.status != "diverged":
        _say(axes, "not recorded", colours.FAINT)
    if record.status == "diverged":
        axes.axvline(max([*_steps(record), 0.0]), color=colours.WRONG, lw=1.5)
        _say(axes, f"diverged: {record.reason}", colours.WRONG)
        if not got.losses:
            axes.set_yticks([])


def _say(axes: Any, text: str, colour: str) -> None:
    """Write into the middle of a panel; where nothing else is in it, its axis means nothing."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=colour,
        fontsize=9, parse_math=False, bbox={"facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip
    if not axes.lines:
        axes.set_yticks([])


def _steps(record: Record) -> list[float]:
    return [float(p["step"]) for p in record.curve if p["step"] is not None]


def _higher_is_better(record: Record, metric: str) -> bool:
    for split in record.scores.values():
        if metric in split:
            return split[metric].higher_is_better
    try:
        return bool(registry.load("metric", metric).higher_is_better)
    except MmbenchError:
        return True


def _real(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
