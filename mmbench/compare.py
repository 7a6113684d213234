"""Which of two models is better, by how much, and is that real?

Two sides are compared on the same items. Each side is the seeds of one model, one record, or one
file of predictions; what it says of an item is its pseudo-value of the metric, so that one test
serves all metrics (`mmbench.stats.crossed.difference`): items are paired, seeds are not, because
seed 0 of one model has nothing to do with seed 0 of another.

Two families of questions are corrected for (Holm): the main metrics of all tasks, which is what is
asked, and all further metrics, which is what else was seen. A difference that is not found says
little by itself; beside it stands what these seeds and items would have found in four of five
cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import registry, store
from mmbench.errors import NotComparableError, UsageError
from mmbench.metrics import pseudo_values
from mmbench.paired import signature
from mmbench.scoring import Score, alone, combine, difference
from mmbench.stats import components, power
from mmbench.stats.crossed import THESE_WEIGHTS
from mmbench.stats.holm import holm

if TYPE_CHECKING:
    from mmbench.metrics import Metric
    from mmbench.report.samples import Answers
    from mmbench.types import Floats

#: Two-sided level of every test.
LEVEL = 0.05
#: A change below this share of the largest is rounding.
_ROUNDING = 1e-9
#: What the smallest detectable difference is found with.
POWER = 0.8


@dataclass(frozen=True)
class Side:
    """One of two models on one split of one task.

    Attributes:
        name: What the user called it.
        families: For each seed, family of metrics -> rows [N, S].
        signatures: Metric -> signature that it was scored with.
        ids: N items.
        clusters: [N] the unit of each item, None where each is its own.
        tuning: How many trials the model was tuned with; empty where nobody says.
        members: The records, one a seed; none for a file of predictions.
    """

    name: str
    families: Sequence[Mapping[str, Any]]
    signatures: Mapping[str, str]
    ids: Sequence[str]
    clusters: Sequence[Any] | None
    tuning: str = ""
    members: tuple[store.Stored, ...] = ()

    def rows(self, metric: str) -> list[Floats]:
        """Return the rows of each seed."""
        family = registry.load("metric", metric).family
        return [of[family] for of in self.families]

    def values(self, metric: Metric) -> Floats:
        """Return the pseudo-values [S, N] of each seed's items."""
        return np.stack([pseudo_values(metric, r, self.clusters) for r in self.rows(metric.name)])


@dataclass(frozen=True)
class Difference:
    """One metric: the first side's score minus the second's.

    Attributes:
        metric: Its name.
        first: The first side's score.
        second: The second side's.
        value: The difference of the two.
        low: Lower end of its 95 % interval; NaN where there is none, as is all that follows.
        high: Upper end.
        se: Its standard error.
        df: Degrees of freedom.
        p: Two-sided p-value of no difference.
        adjusted: The same, corrected for all metrics of its family.
        effect: The difference in standard deviations of an item's difference (Cohen's d_z); NaN
            where all items differ alike.
        detectable: The smallest true difference that these seeds and items find in four of five
            cases; NaN where nothing varies, and so nothing can be planned.
        verdict: ``better``, ``worse`` or ``no difference found``; empty where nothing can be told.
        higher_is_better: The metric's direction.
        reason: Why there is no interval.
    """

    metric: str
    first: Score
    second: Score
    value: float
    low: float
    high: float
    se: float
    df: float
    p: float
    adjusted: float
    effect: float
    detectable: float
    verdict: str
    higher_is_better: bool
    reason: str = ""


@dataclass(frozen=True)
class Flip:
    """An item on which the two sides differ much.

    Attributes:
        id: The item.
        change: What it adds to the difference: the first side's pseudo-value minus the second's,
            means over seeds.
        first: What the first side said of it, its first seed.
        second: What the second side said.
        right: What is right, as far as it is known.
        media: Modality -> the file of a picture of it, where one was drawn.
        texts: Modality -> its words, of those that are texts.
    """

    id: str
    change: float
    first: str = ""
    second: str = ""
    right: tuple[str, ...] = ()
    media: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Two models on one split of one task.

    Attributes:
        task: ``task@version``, or what was compared where there is no task.
        split: The split.
        budget: The budget; empty for files.
        first: The first side's name.
        second: The second's.
        main: The main metric.
        differences: The main metric first.
        scope: What the intervals are about, in words.
        tuning: What is to be known of the tuning of both.
        by: Column -> group -> the differences on its items.
        flips: Items that changed most, in the first side's favour first.
        sheet: The file of a picture of these, where one was drawn.
        answers: The items themselves and what the first side said of them, where flips were asked
            for and the data can be had.
    """

    task: str
    split: str
    budget: str
    first: str
    second: str
    main: str
    differences: tuple[Difference, ...]
    scope: str
    tuning: str = ""
    by: Mapping[str, Mapping[str, tuple[Difference, ...]]] = field(default_factory=dict)
    flips: tuple[Flip, ...] = ()
    sheet: str = ""
    answers: Answers | None = field(default=None, repr=False, compare=False)


def sides(first: Side, second: Side, metrics: Sequence[str]) -> list[Difference]:
    """Compare two sides; p-values are not corrected yet (see `corrected`).

    Args:
        first: One.
        second: The other, on the same items.
        metrics: Names of metrics.

    Raises:
        NotComparableError: The sides have other items, clusters or signatures.
    """
    check(first, second, metrics)
    return [_difference(registry.load("metric", name), first, second) for name in metrics]


def check(first: Side, second: Side, metrics: Sequence[str]) -> None:
    """Refuse two sides that cannot be compared by these metrics.

    Raises:
        NotComparableError: As for `sides`.
    """
    _refuse_other_items(first, second)
    for name in metrics:
        mine, theirs = first.signatures.get(name), second.signatures.get(name)
        if mine is None or theirs is None:
            lacking = first.name if mine is None else second.name
            raise NotComparableError(f"{lacking}: was not scored with {name!r}")
        now = signature(name)
        for side, own in ((first, mine), (second, theirs)):
            if own != now:
                raise NotComparableError(
                    f"{side.name}: {name} was scored as {own!r}, here it is {now!r}: the same "
                    f"'mmbench run' scores anew"
                )


def corrected(
    all_of: Sequence[Sequence[Difference]], mains: Sequence[str]
) -> list[tuple[Difference, ...]]:
    """Correct p-values for how many questions were asked, and give verdicts.

    Args:
        all_of: For each task, its differences.
        mains: For each task, the metric that was asked about; the others are a family of their own.
    """
    flat = [
        (task, place, d.metric == main)
        for task, (own, main) in enumerate(zip(all_of, mains, strict=True))
        for place, d in enumerate(own)
        if not d.reason
    ]
    made = [list(own) for own in all_of]
    for asked in (True, False):
        family = [(task, place) for task, place, is_main in flat if is_main == asked]
        adjusted = holm([made[task][place].p for task, place in family])
        for (task, place), p in zip(family, adjusted, strict=True):
            d = made[task][place]
            made[task][place] = replace(d, adjusted=p, verdict=_verdict(d, p))
    return [tuple(own) for own in made]


def flips(first: Side, second: Side, metric: str, count: int) -> list[Flip]:
    """Return the items that speak most for the first side, then those for the second.

    Args:
        first: One side.
        second: The other.
        metric: The metric.
        count: Of each sort at most.
    """
    loaded = registry.load("metric", metric)
    change = first.values(loaded).mean(axis=0) - second.values(loaded).mean(axis=0)
    sign = 1.0 if loaded.higher_is_better else -1.0
    order = np.lexsort((np.arange(len(change)), -sign * change))
    least = _ROUNDING * max(1.0, float(np.abs(change).max(initial=0.0)))
    best = [int(i) for i in order[:count] if sign * change[i] > least]
    worst = [int(i) for i in order[::-1][:count] if sign * change[i] < -least]
    return [Flip(first.ids[i], float(change[i])) for i in (*best, *worst)]


def part(side: Side, index: Sequence[int]) -> Side:
    """Return a side on some of its items."""
    at = np.asarray(index, dtype=np.int64)
    families = [{name: np.asarray(rows)[at] for name, rows in of.items()} for of in side.families]
    clusters = None if side.clusters is None else [side.clusters[i] for i in index]
    return replace(side, families=families, ids=[side.ids[i] for i in index], clusters=clusters)


def of_groups(
    first: Side, second: Side, metrics: Sequence[str], labels: Sequence[str], order: Sequence[str]
) -> dict[str, tuple[Difference, ...]]:
    """Compare on each group of items; metrics whose rows depend on other items are left out.

    Args:
        first: One side.
        second: The other.
        metrics: The metrics.
        labels: [N] each item's group.
        order: The groups, in the order wanted.
    """
    local = [name for name in metrics if registry.load("metric", name).local]
    found = {}
    for group in order:
        index = [item for item, label in enumerate(labels) if label == group]
        found[group] = tuple(sides(part(first, index), part(second, index), local))
    names = list(found)
    # Each metric is a family over the groups.
    for place in range(len(local)):
        there = [name for name in names if not found[name][place].reason]
        for name, p in zip(there, holm([found[n][place].p for n in there]), strict=True):
            own = list(found[name])
            own[place] = replace(own[place], adjusted=p, verdict=_verdict(own[place], p))
            found[name] = tuple(own)
    return found


def made(
    own: tuple[Side, Side], differences: Sequence[Difference], task: str, split: str
) -> Comparison:
    """Return a comparison; groups, flips and the budget are for others to add."""
    first, second = own
    return Comparison(
        task=task,
        split=split,
        budget="",
        first=first.name,
        second=second.name,
        main=differences[0].metric,
        differences=tuple(differences),
        scope=scope(first, second),
        tuning=tuning(first, second),
    )


def scope(first: Side, second: Side) -> str:
    """Say what the intervals are about."""
    items = f"{len(first.ids):,} items"
    if first.clusters is not None and len(set(first.clusters)) < len(first.ids):
        items += f" in {len(set(first.clusters)):,} clusters"
    seeds = (len(first.families), len(second.families))
    if 1 in seeds:
        which = "" if seeds == (1, 1) else f", {seeds[0]}+{seeds[1]} seeds"
        return f"{THESE_WEIGHTS}: {items}{which}; other seeds may differ otherwise"
    return f"{seeds[0]}+{seeds[1]} seeds x {items}; one training set"


def tuning(first: Side, second: Side) -> str:
    """Say whether both were tuned alike."""
    if not first.tuning and not second.tuning:
        return ""
    if first.tuning == second.tuning:
        return f"tuning equal: {first.tuning} each"
    told = [f"{s.name}: {s.tuning or 'as written'}" for s in (first, second)]
    return f"tuning differs: {'; '.join(told)}"


def _refuse_other_items(first: Side, second: Side) -> None:
    if list(first.ids) != list(second.ids):
        mine, theirs = set(first.ids), set(second.ids)
        only = next(iter(sorted(mine ^ theirs)), "")
        what = f"{only!r} is in one only" if only else "they are in another order"
        raise NotComparableError(
            f"{first.name} and {second.name} have other items: {len(first.ids):,} and "
            f"{len(second.ids):,}, {what}: compare on the same items"
        )
    if first.clusters is not second.clusters and _units(first) != _units(second):
        raise NotComparableError(
            f"{first.name} and {second.name} have other clusters: score both with the same "
            f"--cluster"
        )


def _units(side: Side) -> list[int]:
    seen: dict[Any, int] = {}
    labels = side.ids if side.clusters is None else side.clusters
    return [seen.setdefault(label, len(seen)) for label in labels]


def _difference(metric: Metric, first: Side, second: Side) -> Difference:
    name, clusters = metric.name, first.clusters
    one, other = (combine(name, side.rows(name), side.clusters) for side in (first, second))
    nan = float("nan")
    made = Difference(
        metric=name,
        first=one,
        second=other,
        value=one.value - other.value,
        low=nan,
        high=nan,
        se=nan,
        df=nan,
        p=nan,
        adjusted=nan,
        effect=nan,
        detectable=nan,
        verdict="",
        higher_is_better=metric.higher_is_better,
        reason=alone(len(first.ids), clusters),
    )
    if made.reason:
        return made
    found = difference(name, first.rows(name), second.rows(name), clusters)
    a, b = first.values(metric), second.values(metric)
    spread = float((a.mean(axis=0) - b.mean(axis=0)).std(ddof=1))
    return replace(
        made,
        low=found.low,
        high=found.high,
        se=found.se,
        df=found.df,
        p=found.p_value(),
        adjusted=found.p_value(),
        effect=found.value / spread if spread > 0 else (nan if found.value else 0.0),
        detectable=_detectable(a, b, clusters, found.items),
    )


def _detectable(a: Floats, b: Floats, clusters: Sequence[Any] | None, items: int) -> float:
    seeds = (len(a), len(b))
    try:
        found = components.estimate_difference(a, b, clusters)
        told = power.detectable(found, seeds, items, alpha=LEVEL, power=POWER, estimated=True)
    except UsageError:
        return float("nan")
    return told.difference if told.se > 0 else float("nan")


def _verdict(found: Difference, p: float) -> str:
    if p >= LEVEL:
        return "no difference found"
    return "better" if (found.value > 0) == found.higher_is_better else "worse"
