"""The figures of a site: drawn by matplotlib, each with what it shows in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec

from mmbench.leaderboard import Board
from mmbench.report import colours, curve
from mmbench.report.columns import number, span
from mmbench.report.plots import forest as forest_of
from mmbench.report.record import level_of
from mmbench.report.site.contents import Run, Table
from mmbench.report.site.names import short, slug
from mmbench.report.site.svg import drawn
from mmbench.spec import TaskSpec
from mmbench.store import Record

#: Letters of a name in a figure, and rows of a forest plot.
_NAME, _ROWS = 32, 40
#: Models that have a colour of their own among learning curves; the others are grey.
_PAINTS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7f00")
_DASHES = ("-", "--", "-.", ":")
#: Inches of a figure that is as wide as a page.
_WIDE = 8.4


def forest(table: Table, key: str) -> str:
    """Draw a board: each model a point with its interval, between what oracles reach."""
    board = table.board
    rows = [row for row in board.rows if row.value is not None][:_ROWS]
    if not rows:
        return ""
    shown = dataclasses.replace(
        board,
        task=short(board.task, _NAME),
        rows=tuple(dataclasses.replace(row, model=short(row.model, _NAME)) for row in rows),
        alone={short(name, _NAME): value for name, value in board.alone.items()},
    )

    def make() -> Any:
        return forest_of.figure([shown])

    title = f"{board.metric} of {len(rows)} models with 95 % intervals"
    return drawn(make, f"forest-{key}", title, _forest_told(board))


def _forest_told(board: Board) -> str:
    known = (("floor", board.floor), ("ceiling", board.ceiling))
    told = [f"{name} {number(value)}" for name, value in known if value is not None]
    rows = [row for row in board.rows if row.value is not None][:_ROWS]
    for row in rows:
        interval = f" {span(row.main)}" if row.main is not None else " (published)"
        told.append(f"{short(row.model, _NAME)} {number(row.value or 0.0)}{interval}")
    return "; ".join(told)


def run_curve(run: Run) -> str:
    """Draw the learning curve of one run; nothing where it has none."""
    record = run.record
    if not record.curve:
        return ""
    safe = msgspec.structs.replace(record, reason=short(record.reason, 60))
    points = curve.points(record, _higher(run.task, record))
    told = []
    if points.scores:
        first, last = number(points.scores[0]), number(points.scores[-1])
        told.append(
            f"validation {run.task.metrics.main} goes from {first} at step "
            f"{points.score_steps[0]:,.0f} to {last} at step {points.score_steps[-1]:,.0f}"
        )
    if points.losses:
        told.append(f"training loss goes from {points.losses[0]:.3g} to {points.losses[-1]:.3g}")
    if points.best is not None:
        told.append(f"the weights of step {points.best:,.0f} were kept")
    name = f"{short(record.model, _NAME)}, seed {record.seed}"
    return drawn(
        lambda: _placed(curve.figure(safe, run.task, name)),
        "curve",
        "learning curve: validation score and training loss against steps",
        "; ".join(told) or "nothing was recorded",
    )


def _placed(figure: Any) -> Any:
    """Put the axes where they fit any run: to find that out for each takes as long as drawing."""
    figure.set_layout_engine("none")
    figure.subplots_adjust(left=0.09, right=0.985, top=0.91, bottom=0.1, hspace=0.12)
    return figure


def task_curves(table: Table, key: str) -> str:
    """Draw the validation curves of all runs of a board; nothing where there are none."""
    lines: list[tuple[str, list[curve.Curve]]] = []
    for row, runs in zip(table.board.rows, table.members, strict=True):
        own = [curve.points(run.record, _higher(run.task, run.record)) for run in runs]
        own = [points for points in own if points.scores]
        if own:
            lines.append((short(row.model, _NAME), own))
    if not lines:
        return ""
    told = [
        f"{name}: {', '.join(number(points.scores[-1]) for points in own)} at the end"
        for name, own in lines
    ]
    main = table.task.metrics.main
    level = level_of(table.task, "test", main)
    return drawn(
        lambda: _curves(lines, main, level),
        f"curves-{key}",
        f"validation {main} against training steps, a line for each seed",
        "; ".join(told),
    )


def _curves(lines: Sequence[tuple[str, list[curve.Curve]]], main: str, level: Any) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDE, 4.4), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for place, (name, own) in enumerate(lines):
        paint = _PAINTS[place] if place < len(_PAINTS) else colours.LINE
        for seed, points in enumerate(own):
            axes.plot(
                points.score_steps, points.scores, _DASHES[place % 4], color=paint, lw=1.6,
                marker="o", ms=3, alpha=0.85,
                label="_" if seed or place >= len(_PAINTS) else name,
            )  # fmt: skip
    if level is not None:
        for value, what in ((level.floor, "floor of test"), (level.ceiling, "ceiling of test")):
            axes.axhline(value, color=colours.FAINT, lw=1, ls=(0, (5, 3)))
            axes.annotate(
                what, (1.0, value), (-4, 3), xycoords=("axes fraction", "data"), ha="right",
                textcoords="offset points", fontsize=8, color=colours.FAINT,
            )  # fmt: skip
    steps = [step for _, own in lines for points in own for step in points.score_steps]
    axes.set_xlim(0, 1.02 * max(steps))
    axes.set_xlabel("training step")
    axes.set_ylabel(f"validation {main}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=colours.TRACK, linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def _higher(task: TaskSpec, record: Record) -> bool:
    main = task.metrics.main
    own = next((split[main] for split in record.scores.values() if main in split), None)
    return True if own is None else own.higher_is_better


def wiring(run: Run, key: str) -> str:
    """Draw which modality reaches which branch, as the record tells it; else nothing.

    A branch is named after the modality that it hears; any other hears all of them
    (`mmbench.types.Branch`).
    """
    definition = run.record.definition
    model = definition.get("model", {})
    branches = [short(name, 18) for name in definition.get("branches") or ()]
    fusion = _name(model.get("fusion"))
    wanted = model.get("modalities")
    inputs = [name for name in run.task.modalities if wanted is None or name in wanted]
    if not branches or not fusion or not inputs or len(inputs) > 8 or len(branches) > 9:
        return ""
    encoders = model.get("encoders") if isinstance(model.get("encoders"), dict) else {}
    kinds = {name: run.task.modalities[name].kind for name in inputs}
    boxes = _Boxes(
        inputs=[(short(name, 18), short(_name(encoders.get(kinds[name])), 18)) for name in inputs],
        fusion=short(fusion, 18),
        branches=branches,
        combiner=short(_name(model.get("combiner")), 18) if len(branches) > 1 else "",
        output=short(run.task.main_output, 18),
    )
    names = [name for name, _ in boxes.inputs]
    told = [
        f"branch {branch} hears {branch if branch in names else ' and '.join(names)}"
        for branch in branches
    ]
    if boxes.combiner:
        told.append(f"{boxes.combiner} merges what the branches predict")
    title = f"wiring of {short(run.record.model, _NAME)}"
    return drawn(lambda: _wiring(boxes), f"wiring-{slug(key)}", title, "; ".join(told))


@dataclasses.dataclass(frozen=True)
class _Boxes:
    inputs: Sequence[tuple[str, str]]
    fusion: str
    branches: Sequence[str]
    combiner: str
    output: str


def _wiring(boxes: _Boxes) -> Any:
    from matplotlib.figure import Figure

    rows = max(len(boxes.inputs), len(boxes.branches))
    figure = Figure(figsize=(_WIDE, 0.75 + 0.72 * rows), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(rows - 0.55, -0.85))
    axes.axis("off")
    names = [name for name, _ in boxes.inputs]
    paints = colours.of_branches([*names, *(b for b in boxes.branches if b not in names)])
    # What hears all stands on top, so that no line of a single modality runs through its box.
    branches = sorted(boxes.branches, key=lambda branch: branch in names)
    joint = sum(branch not in names for branch in branches)

    def places(number: int) -> list[float]:
        gap = rows / number
        return [gap * (k + 0.5) - 0.5 for k in range(number)]

    heads = ("modality", "encoder", f"fusion: {boxes.fusion}", "branch", "prediction")
    for x, text in zip((9, 29, 49, 69, 90), heads, strict=True):
        axes.text(x, -0.68, text, ha="center", fontsize=9, color=colours.FAINT)
    ins = dict(zip(names, places(len(names)), strict=True))
    outs = dict(zip(branches, places(len(branches)), strict=True))
    middle = sum(places(rows)) / rows
    meet = sum([outs[branch] for branch in branches][:joint]) / max(1, joint)
    for (name, encoder), y in zip(boxes.inputs, ins.values(), strict=True):
        _box(axes, 9, y, name, paints[name])
        _arrow(axes, (17.3, y), (20.7, y), paints[name])
        _box(axes, 29, y, encoder or "encoder", paints[name])
    if joint:
        _box(axes, 49, meet, "all together", colours.INK)
        for name, y in ins.items():
            _arrow(axes, (37.3, y), (40.7, meet), paints[name])
    for branch, y in outs.items():
        begin = (37.3, ins[branch]) if branch in ins else (57.3, meet)
        _arrow(axes, begin, (60.7, y), paints[branch])
        _box(axes, 69, y, branch, paints[branch])
        _arrow(axes, (77.3, y), (81.7, middle), paints[branch])
    _box(axes, 90, middle, f"{boxes.combiner}\n{boxes.output}".strip(), colours.INK, high=0.7)
    return figure


def _box(axes: Any, x: float, y: float, text: str, paint: str, high: float = 0.44) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x - 8, y - high / 2), 16, high, facecolor="white", edgecolor=paint, lw=1.6)
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=9, color=colours.INK)


def _arrow(axes: Any, begin: tuple[float, float], end: tuple[float, float], paint: str) -> None:
    style = {"arrowstyle": "-|>", "color": paint, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=begin, arrowprops=style)


def _name(component: Any) -> str:
    return str(component.get("name", "")) if isinstance(component, dict) else ""
