"""Performance profiles: the share of a model's runs above each score, over tasks and seeds.

The run-score distributions of Agarwal et al., NeurIPS 2021, arXiv:2108.13264. Scores are
normalised, 0 at a task's floor and 1 at its ceiling; a run that diverged counts as the floor.
Bands are pointwise 95 % intervals over seeds, drawn anew within each task
(`mmbench.stats.aggregates`): of other seeds on these tasks, not of other tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmbench.errors import NotComparableError, UsageError
from mmbench.paired import signature, task_of
from mmbench.report import colours
from mmbench.report.canvas import Page, Style, Word, lay, plain, width
from mmbench.report.plots import _look
from mmbench.report.plots._look import NAME, SMALL, TITLE
from mmbench.report.plots._source import Source, measured_alike
from mmbench.store import Stored

if TYPE_CHECKING:
    from mmbench.stats.aggregates import Profile

SUMMARY = "share of runs above each normalised score, over tasks and seeds, with bands"

#: Of the bands' random draws.
_SEED = 0
#: More models than this have a panel each, for bands on one another say nothing.
_TOGETHER = 4
#: Steps of the threshold from 0 to 1.
_STEPS = 200
_WIDE, _HIGH, _LEFT, _MARGIN = 640, 400, 62, 26
_SMALL_WIDE, _SMALL_HIGH, _COLUMNS, _GAP = 250, 150, 4, 34
_PANEL = Style(9.5, bold=True)
_OTHERS = "#cfcfcf"


@dataclass(frozen=True)
class Curve:
    """One model's profile.

    Attributes:
        model: Its name.
        profile: Thresholds, shares and the band, which is the shares themselves for one seed.
        mean: Of its normalised scores: the area below the curve, where all lie in [0, 1].
    """

    model: str
    profile: Profile
    mean: float


@dataclass(frozen=True)
class Profiles:
    """What is drawn.

    Attributes:
        curves: The highest mean first.
        tasks: Names of the tasks that all of them ran on.
        metric: The metric; empty where each task has its own main one.
        seeds: Runs of each model on each task.
        failed: Model -> how many of its runs diverged.
        left_out: Models that lack a task, with what they lack.
    """

    curves: tuple[Curve, ...]
    tasks: tuple[str, ...]
    metric: str
    seeds: int
    failed: Mapping[str, int]
    left_out: tuple[str, ...]


#: Task -> model -> seed -> normalised score.
_Table = dict[str, dict[str, dict[int, float]]]


def gather(source: Source) -> Profiles:
    """Return the profiles of all models that ran on all tasks.

    Raises:
        UsageError: Several metrics, or records of several budgets.
        NotComparableError: No task has a floor and a ceiling, or no model ran on all that have.
    """
    if len(source.metrics) > 1:
        raise UsageError(f"profile: one metric at a time, got {', '.join(source.metrics)}")
    budgets = sorted({stored.record.budget for stored in source.records})
    if len(budgets) > 1:
        raise UsageError(
            f"profile: the records are of the budgets {', '.join(budgets)}: name one with --budget"
        )
    failed: dict[str, int] = {}
    table = _table(source, failed)
    if not table:
        metric = source.metrics[0] if source.metrics else "its main metric"
        raise NotComparableError(
            f"profile: no task has a floor, a ceiling and scores of {metric} on {source.split!r}"
        )
    models = sorted({model for of in table.values() for model in of})
    lacking = {m: [task for task in table if m not in table[task]] for m in models}
    whole = [model for model in models if not lacking[model]]
    left_out = tuple(f"{m}: lacks {', '.join(lacking[m])}" for m in models if lacking[m])
    if not whole:
        raise NotComparableError(
            f"profile: no model ran on all of {', '.join(table)}: name fewer tasks with -t"
        )
    source.problems.extend(f"{plain(line, 200)}: left out of the profiles" for line in left_out)
    seeds = min(len(table[task][model]) for task in table for model in whole)
    most = max(len(table[task][model]) for task in table for model in whole)
    if most > seeds:
        source.problems.append(f"profile: not all have {most} seeds: the first {seeds} of each")
    metric = source.metrics[0] if source.metrics else ""
    return Profiles(
        curves=_curves(table, whole, seeds),
        tasks=tuple(table),
        metric=metric,
        seeds=seeds,
        failed={model: count for model, count in failed.items() if model in whole},
        left_out=left_out,
    )


def figure(found: Profiles) -> Any:
    """Draw all curves in one panel, or each model's before all others'."""
    return _together(found) if len(found.curves) <= _TOGETHER else _apart(found)


def alt(found: Profiles) -> str:
    """Say in words what is seen."""
    told = []
    for curve in found.curves:
        of = curve.profile
        shares = ", ".join(
            f"{of.share[int(abs(of.thresholds - tau).argmin())]:.0%} above {tau:g}"
            for tau in (0.25, 0.5, 0.75, 0.9)
        )
        told.append(f"{plain(curve.model, 60)} {shares} (mean {curve.mean:.3f})")
    return (
        f"Performance profiles: share of runs whose normalised score is above a threshold. "
        f"The highest mean first: {'; '.join(told)}. {_scope(found)}"
    )


def normalised(stored: Stored, metric: str, split: str) -> float | None:
    """Return a run's score, 0 at its task's floor and 1 at its ceiling; 0 if it diverged.

    None where it has no such score, or its task no floor and ceiling.
    """
    record = stored.record
    level = task_of(record).levels.get(metric)
    if level is None or level.ceiling == level.floor or not record.ranked:
        return None
    if record.status == "diverged":
        return 0.0
    got = record.scores.get(split, {}).get(metric)
    if record.status != "finished" or got is None or got.value is None:
        return None
    if not math.isfinite(got.value) or got.signature != signature(metric):
        return None
    return (got.value - level.floor) / (level.ceiling - level.floor)


def _table(source: Source, failed: dict[str, int]) -> _Table:
    table: _Table = {}
    groups = measured_alike(source.records)
    names = [f"{group[0].record.task}@{group[0].record.task_version}" for group in groups]
    for group, name in zip(groups, names, strict=True):
        # One name, two definitions: two tasks.
        twice = names.count(name) > 1
        column = f"{name}#{group[0].record.task_digest[:4]}" if twice else name
        metric = source.metrics[0] if source.metrics else task_of(group[0].record).metrics.main
        for stored in group:
            score = normalised(stored, metric, source.split)
            record = stored.record
            if score is None or record.seed in table.get(column, {}).get(record.model, {}):
                continue
            table.setdefault(column, {}).setdefault(record.model, {})[record.seed] = score
            if record.status == "diverged":
                failed[record.model] = failed.get(record.model, 0) + 1
    return table


def _curves(table: _Table, models: Sequence[str], seeds: int) -> tuple[Curve, ...]:
    import numpy as np

    from mmbench.stats import aggregates

    scores = {
        model: np.array(
            [[of[model][s] for s in sorted(of[model])[:seeds]] for of in table.values()]
        ).T
        for model in models
    }
    low = min(0.0, *(float(x.min()) for x in scores.values()))
    high = max(1.0, *(float(x.max()) for x in scores.values()))
    # Whole steps, so that 0 and 1 are thresholds whatever lies beyond them.
    steps = np.arange(math.floor(low * _STEPS), math.ceil(high * _STEPS) + 2) / _STEPS
    found = []
    for model, x in scores.items():
        if seeds > 1:
            made = aggregates.profile(x, steps, over=aggregates.SEEDS, seed=_SEED)
        else:
            share = np.array([(x > step).mean() for step in steps])
            made = aggregates.Profile(steps, share, share, share, aggregates.SEEDS, 0.95)
        found.append(Curve(model, made, float(x.mean())))
    return tuple(sorted(found, key=lambda curve: (-curve.mean, curve.model)))


def _scope(found: Profiles) -> str:
    tasks = f"On {len(found.tasks)} tasks" if len(found.tasks) > 1 else "On one task"
    metric = found.metric or "each task's main metric"
    parts = [f"{tasks} ({', '.join(plain(task, 40) for task in found.tasks)}), {metric}"]
    if found.seeds > 1:
        parts.append(f"{found.seeds} seeds each; bands: 95% at each threshold, over seeds, on "
                     f"these tasks; of few seeds a little too narrow")  # fmt: skip
    else:
        parts.append("one seed: no bands")
    parts.append("0 is a task's floor, 1 its ceiling")
    if found.failed:
        told = ", ".join(f"{plain(m, 40)} {count}" for m, count in sorted(found.failed.items()))
        parts.append(f"runs that diverged count as the floor: {told}")
    if found.left_out:
        parts.append(f"left out: {'; '.join(plain(line, 120) for line in found.left_out)}")
    return "; ".join(parts) + "."


def _note(found: Profiles, wide: float) -> list[Any]:
    return lay([Word(w, SMALL) for w in _scope(found).split()], wide, 9)


def _title(page: Page) -> None:
    page.write(_MARGIN, _MARGIN, "Performance profiles", TITLE)
    page.write(_MARGIN, _MARGIN + 24, "share of runs above a normalised score", SMALL)


def _together(found: Profiles) -> Any:
    looks = _look.of_models([curve.model for curve in found.curves])
    names = [_look.short(curve.model) for curve in found.curves]
    beside = max(width(name, NAME) for name in names) + 80
    wide = _LEFT + _WIDE + beside
    note = _note(found, wide)
    page = Page(
        round(2 * _MARGIN + wide), round(2 * _MARGIN + 62 + _HIGH + 62 + len(note) * SMALL.line)
    )
    _title(page)
    left, top = _MARGIN + _LEFT, _MARGIN + 62
    axes = page.axes(left, top, _WIDE, _HIGH)
    for curve in found.curves:
        _curve(axes, curve, looks[curve.model], markers=True)
    _furnish(axes, found)
    x = left + _WIDE + 16
    for k, (curve, name) in enumerate(zip(found.curves, names, strict=True)):
        y = top + 14 + k * 26
        look = looks[curve.model]
        page.line([(x, y), (x + 36, y)], look.colour, ls=look.dash, lw=2)
        page.line([(x + 18, y)], look.colour, marker=look.marker, ms=6)
        _look.label(page, x + 44, y, name, NAME)
    _look.centred(page, left + _WIDE / 2, top + _HIGH + 28, "normalised score", SMALL)
    page.write_lines(_MARGIN, top + _HIGH + 56, note)
    return page.figure


def _apart(found: Profiles) -> Any:
    count = len(found.curves)
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    wide = _LEFT + columns * _SMALL_WIDE + (columns - 1) * _GAP
    note = _note(found, wide)
    each = _SMALL_HIGH + 58
    page = Page(
        round(2 * _MARGIN + wide),
        round(2 * _MARGIN + 62 + rows * each + 40 + len(note) * SMALL.line),
    )
    _title(page)
    looks = _look.of_models([curve.model for curve in found.curves])
    for k, curve in enumerate(found.curves):
        row, column = divmod(k, columns)
        left = _MARGIN + _LEFT + column * (_SMALL_WIDE + _GAP)
        top = _MARGIN + 62 + row * each + 22
        axes = page.axes(left, top, _SMALL_WIDE, _SMALL_HIGH)
        for other in found.curves:
            if other is not curve:
                axes.plot(other.profile.thresholds, other.profile.share, color=_OTHERS, lw=0.9)
        # The panel's name tells the model, so that one look serves all.
        _curve(axes, curve, looks[curve.model]._replace(colour=colours.SCORE, dash="-"))
        _furnish(axes, found)
        if column:
            axes.set_yticklabels([])
        mean = f"mean {curve.mean:.3f}"
        room = _SMALL_WIDE - width(mean, SMALL) - 12
        page.write(left, top - 20, _look.short(curve.model, _PANEL, room), _PANEL)
        page.write(left + _SMALL_WIDE, top - 18, mean, SMALL, right=True)
    below = _MARGIN + 62 + rows * each
    _look.centred(page, _MARGIN + _LEFT + (wide - _LEFT) / 2, below, "normalised score", SMALL)
    grey = [Word(w, SMALL) for w in ["Grey:", "the", "other", "models."]]
    page.write_lines(_MARGIN, below + 28, lay([*grey, *_words(found)], wide, 9))
    return page.figure


def _words(found: Profiles) -> list[Word]:
    return [Word(w, SMALL) for w in _scope(found).split()]


def _curve(axes: Any, curve: Curve, look: _look.Look, markers: bool = False) -> None:
    of = curve.profile
    axes.fill_between(of.thresholds, of.low, of.high, color=look.colour, alpha=0.16, lw=0)
    marker = {"marker": look.marker, "ms": 5.5, "markevery": 20} if markers else {}
    axes.plot(of.thresholds, of.share, color=look.colour, ls=look.dash, lw=2, **marker)


def _furnish(axes: Any, found: Profiles) -> None:
    steps = found.curves[0].profile.thresholds
    axes.set(xlim=(float(steps[0]), float(steps[-1])), ylim=(-0.02, 1.02))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25 %", "50 %", "75 %", "100 %"])
    axes.locator_params(axis="x", nbins=5)
    _look.grid(axes, "both")
