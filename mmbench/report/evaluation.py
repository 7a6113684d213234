"""An evaluation as text, as JSON and as rows of a data frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import registry
from mmbench.errors import counted
from mmbench.report.columns import bar, number, span

if TYPE_CHECKING:
    from mmbench.evaluation import Evaluation
    from mmbench.metrics import Metric
    from mmbench.scoring import Score
    from mmbench.spec import LevelSpec
    from mmbench.subgroups import Subgroup

#: The version of what `to_dict` returns; raised whenever a key changes its meaning.
SCHEMA = 1
#: Below it three decimals say too little.
_SMALL = 0.01


def lines(found: Evaluation) -> list[str]:
    """Lay an evaluation out for a terminal."""
    shown = [_title(found), *_scores(found), *_reasons(found)]
    if found.missing:
        few = ", ".join(found.missing[:3]) + (", ..." if len(found.missing) > 3 else "")
        shown.append(
            f"missing: {len(found.missing):,} of {len(found):,} items had no prediction ({few}) "
            f"and count as failures"
        )
    shown += [f"warning: {warning}" for warning in found.warnings]
    for column, groups in found.by.items():
        shown += ["", f"by {column}:", *_by(found, groups)]
    return shown


def signatures(found: Evaluation) -> list[str]:
    """Return what pins down the values of each metric; scores with others are never ranked."""
    alike: dict[str, list[str]] = {}
    for got in found.scores.values():
        name, _, rest = got.signature.partition("|")
        alike.setdefault(rest, []).append(name)
    return ["signatures:", *(f"  {', '.join(names)}: {rest}" for rest, names in alike.items())]


def to_dict(found: Evaluation) -> dict[str, Any]:
    """Return everything, for machines. What is not there is null, never left out."""
    task = found.task
    return {
        "schema": SCHEMA,
        "task": None if task is None else f"{task.name}@{task.version}",
        "split": found.split or None,
        "kind": found.kind,
        "output": found.output,
        "items": len(found),
        "clusters": None if found.clusters is None else len(set(found.clusters)),
        "missing": list(found.missing),
        "warnings": list(found.warnings),
        "sources": {side: source._asdict() for side, source in found.sources.items()},
        "metrics": {name: _of_metric(found, name) for name in found.asked},
        "by": {
            column: [
                {
                    "group": group.name,
                    "items": group.items,
                    "metrics": {
                        name: _of_group(found, column, group, name)
                        if name in group.scores
                        else None
                        for name in found.scores
                    },
                    "reasons": dict(group.reasons),
                }
                for group in groups
            ]
            for column, groups in found.by.items()
        },
    }


def rows(found: Evaluation) -> list[dict[str, Any]]:
    """Return a row for each metric, and for each subgroup and metric, with plain values.

    Rows of all items have empty texts as ``by`` and ``group``.
    """
    alone: list[dict[str, Any]] = [
        {"by": "", "group": "", "metric": name, **_score_of(found, name)} for name in found.asked
    ]
    for column, groups in found.by.items():
        for group in groups:
            alone += [
                {"by": column, "group": group.name, "metric": name, **_plain(got)}
                for name, got in group.scores.items()
            ]
    return alone


def level_of(found: Evaluation, metric: str) -> LevelSpec | None:
    """Return what is possible on a metric: oracles answer a task's split ``test`` alone."""
    return found.task.levels.get(metric) if found.task and found.split == "test" else None


def _of_metric(found: Evaluation, name: str) -> dict[str, Any]:
    score = _score_of(found, name) | _levels(found, name, found.scores.get(name))
    return score | {"sums": _sums(found, name)}


def _of_group(found: Evaluation, column: str, group: Subgroup, name: str) -> dict[str, Any] | None:
    if name not in group.scores:
        return None
    own = [item for item, label in enumerate(found.labels[column]) if label == group.name]
    return _plain(group.scores[name]) | {"sums": _sums(found, name, own)}


def _sums(
    found: Evaluation, name: str, index: Sequence[int] | None = None
) -> dict[str, float] | None:
    """Return what the metric is a function of: substitutions, deletions, ... over its items."""
    metric: Metric = registry.load("metric", name)
    if name not in found.scores or metric.value is None or not metric.local:
        return None
    columns, stats = found.scored.statistics[metric.family]
    rows = stats if index is None else np.asarray(stats)[np.asarray(index)]
    return dict(zip(columns, np.asarray(rows.sum(axis=0)).tolist(), strict=True))


def _score_of(found: Evaluation, name: str) -> dict[str, Any]:
    """Return a score; of a metric that has none, the same keys with the reason."""
    if name in found.scores:
        return _plain(found.scores[name])
    metric: Metric = registry.load("metric", name)
    nothing = dict.fromkeys(("value", "low", "high", "se", "df"))
    return {
        **nothing,
        "n": len(found),
        "scope": None,
        "higher_is_better": metric.higher_is_better,
        "bounds": list(metric.bounds),
        "signature": metric.signature,
        "reason": found.reasons[name],
    }


def _plain(got: Score) -> dict[str, Any]:
    """Return a score without what is the same everywhere; a number that is none becomes None."""
    keys = ("value", "low", "high", "se", "df")
    numbers = {key: getattr(got, key) for key in keys}
    return {
        **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
        "n": got.n,
        "scope": got.scope,
        "higher_is_better": got.higher_is_better,
        "bounds": list(got.bounds),
        "signature": got.signature,
        "reason": got.reason or None,
    }


def _levels(found: Evaluation, metric: str, got: Score | None) -> dict[str, Any]:
    level = level_of(found, metric)
    return {
        "floor": level.floor if level else None,
        "ceiling": level.ceiling if level else None,
        "alone": dict(level.alone) if level else {},
        "headroom": _headroom(got, level),
    }


def _headroom(got: Score | None, level: LevelSpec | None) -> float | None:
    if got is None or level is None or level.ceiling == level.floor:
        return None
    return (got.value - level.floor) / (level.ceiling - level.floor)


def _title(found: Evaluation) -> str:
    task = [] if found.task is None else [f"{found.task.name}@{found.task.version}"]
    split = [found.split] if found.split else []
    items, over = counted(len(found), "item"), "items"
    if found.clusters is not None:
        items += f" in {counted(len(set(found.clusters)), 'cluster')}"
        over = "clusters"
    there = any(not got.reason for got in found.scores.values())
    told = f"95% intervals over {over}" if there else "no intervals"
    return ", ".join([*task, *split, items, f"{told} for these weights:"])


def _scores(found: Evaluation) -> list[str]:
    header = ["", "metric", "value", "95% interval", "n", "bounds", "floor", "ceiling", "headroom"]
    table = [header]
    main = found.task.metrics.main if found.task is not None else ""
    for name in found.asked:
        got = found.scores.get(name)
        level = level_of(found, name)
        share = _headroom(got, level)
        of: Score | Metric = got or registry.load("metric", name)
        table.append(
            [
                "*" if name == main else "",
                name if of.higher_is_better else f"{name} (lower is better)",
                _value(got) if got else "-",
                _span(got) if got else "",
                f"{len(found):,}",
                _bounds(of),
                number(level.floor) if level else "",
                number(level.ceiling) if level else "",
                f"{bar(share)} {share:.0%}" if share is not None else "",
            ]
        )
    return aligned(table)


def _value(got: Score) -> str:
    """Write a value; one of a metric without a scale keeps its digits however small it is."""
    free = got.bounds[1] is None and 0 < abs(got.value) < _SMALL
    return f"{got.value:.3g}" if free else number(got.value)


def _span(got: Score) -> str:
    free = got.bounds[1] is None and 0 < abs(got.value) < _SMALL and not got.reason
    return f"[{got.low:.3g}, {got.high:.3g}]" if free else span(got)


def _reasons(found: Evaluation) -> list[str]:
    """Say why metrics have no value, or no interval."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for name, why in found.reasons.items():
        lacking.setdefault(("value", why), []).append(name)
    for name, got in found.scores.items():
        if got.reason:
            lacking.setdefault(("interval", got.reason), []).append(name)
    return [f"- {', '.join(names)}: no {what}: {why}" for (what, why), names in lacking.items()]


def _by(found: Evaluation, groups: Sequence[Subgroup]) -> list[str]:
    header = ["group", "n", *found.scores]
    table = [header]
    reasons: dict[str, None] = {}
    for group in groups:
        cells = [_cell(group.scores.get(name)) for name in found.scores]
        table.append([group.name, f"{group.items:,}", *cells])
        reasons.update(dict.fromkeys(f"- {group.name}: {why}" for why in group.reasons.values()))
        without = {got.reason for got in group.scores.values() if got.reason}
        reasons.update((f"- {group.name}: no interval: {why}", None) for why in sorted(without))
    return [*aligned(table), *reasons]


def _cell(got: Score | None) -> str:
    return "-" if got is None else f"{number(got.value)} {span(got)}".rstrip()


def _bounds(got: Score | Metric) -> str:
    """Write bounds as an interval that is open where there is none; empty where both are open.

    >>> _bounds(type("Score", (), {"bounds": (0.0, None)}))
    '[0, inf)'
    """
    low, high = got.bounds
    if low is None and high is None:
        return ""
    begin = "(-inf" if low is None else f"[{low:g}"
    return f"{begin}, {'inf)' if high is None else f'{high:g}]'}"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table with a header as lines; columns that hold nothing are left out."""
    keep = [k for k in range(len(table[0])) if any(row[k] for row in table[1:])]
    widths: Mapping[int, int] = {k: max(len(row[k]) for row in table) for k in keep}
    return ["  ".join(row[k].ljust(widths[k]) for k in keep).rstrip() for row in table]
