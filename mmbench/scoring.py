"""The scoring stage: predictions beside references become scores with intervals.

What is worth keeping is not the score but the statistics of each item: the score of any subgroup,
the interval over several seeds and the difference of two models follow from them (`combine`,
`difference`), later and without the predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmbench import registry
from mmbench.errors import IncompatibleError, NotComparableError, UnknownNameError, UsageError
from mmbench.metrics import prepare, pseudo_values
from mmbench.metrics._coded import Coded
from mmbench.metrics._influence import estimate
from mmbench.references import Said
from mmbench.stats import counted, crossed, shares

if TYPE_CHECKING:
    from mmbench.metrics import Metric
    from mmbench.metrics._contract import Rows
    from mmbench.references import References
    from mmbench.stats.ranks import RankSets
    from mmbench.types import Floats, Predictions


#: Columns that hold nothing of the items: what all of them choose from, of a length of its own.
SHARED = ("gallery",)


class ItemStats(NamedTuple):
    """The statistics of each item, which all metrics of one family read.

    Attributes:
        columns: The S names.
        rows: [N, S] float64.
    """

    columns: tuple[str, ...]
    rows: Floats


@dataclass(frozen=True)
class Score:
    """The score of one model on one metric.

    Attributes:
        metric: The metric's name.
        value: The score; over several seeds, their mean.
        low: Lower end of the 95 % interval, cut off where the metric's bound is; NaN where there
            is no interval, as are `high`, `se` and `df`.
        high: Upper end.
        se: Standard error.
        df: Degrees of freedom of the interval.
        n: Number of items.
        seeds: Number of seeds.
        scope: ``seeds and items``, or ``these weights`` where there is one seed.
        signature: Scores with different signatures are never ranked together.
        higher_is_better: The metric's direction.
        bounds: The metric's proven bounds, None where it has none.
        reason: Why there is no interval; empty where there is one.
    """

    metric: str
    value: float
    low: float
    high: float
    se: float
    df: float
    n: int
    seeds: int
    scope: str
    signature: str
    higher_is_better: bool
    bounds: tuple[float | None, float | None]
    reason: str = ""


@dataclass(frozen=True)
class Measured:
    """One model on one metric, over all its seeds.

    Attributes:
        score: The score.
        seeds: The value of each seed.
        values: [S, N] pseudo-values of each seed's items (`mmbench.metrics.pseudo_values`); None
            where there is one item or cluster, which has no spread, and of rows that are counted.
    """

    score: Score
    seeds: tuple[float, ...]
    values: Floats | None


@dataclass(frozen=True)
class Scored:
    """What scoring one file of predictions gives.

    Attributes:
        scores: Metric -> score, in the order asked for.
        statistics: Family of metrics -> the statistics of each item, in the order of the
            references.
        reasons: Metric -> why these items cannot be scored with it; only where that was allowed.
    """

    scores: Mapping[str, Score]
    statistics: Mapping[str, ItemStats]
    reasons: Mapping[str, str] = field(default_factory=dict)


def score(
    predictions: Predictions,
    references: Mapping[str, References],
    output: str,
    metrics: Sequence[str],
    clusters: Sequence[Any] | None = None,
    ids: Sequence[str] | None = None,
    allow_missing: bool = False,
    partly: bool = False,
) -> Scored:
    """Score predictions of one output with several metrics.

    Args:
        predictions: Of N items.
        references: Output -> what to compare with, N items.
        output: The output to score, but for metrics that name another: ``intensity.mae``.
        metrics: Names of metrics, of the output's kind.
        clusters: [N] the unit that each item belongs to, in the order of the references.
        ids: [N] the id of each item, in the order of the references; predictions may then come
            in any order. None: they are in the order of the references.
        allow_missing: Items without a prediction (their id is missing, or the value is None) count
            as failures, each metric's worst answer; else they are refused.
        partly: A metric that cannot be computed from these items has a reason in place of a
            score, as long as another one can.

    Raises:
        UsageError: An id is missing, unknown or there twice; the numbers differ; a metric, or with
            `partly` every metric, cannot be computed from these items.
        IncompatibleError: A metric is for another kind of output.
        UnknownNameError: No metric has that name.
    """
    loaded = [_load(name) for name in metrics]
    items = {}
    for name in {metric.output or output: None for metric in loaded}:
        said, truth = _match(predictions, references, name, ids, allow_missing)
        for metric in loaded:
            if (metric.output or output) == name and metric.kind != truth.kind:
                raise IncompatibleError(
                    f"metric {metric.name!r} scores outputs of the kind {metric.kind!r}, "
                    f"but {name!r} is of the kind {truth.kind!r}"
                )
        items[name] = prepare(said, truth)
    statistics: dict[str, ItemStats] = {}
    scores: dict[str, Score] = {}
    refused: dict[str, UsageError] = {}
    for metric in loaded:
        try:
            rows = _rows(metric, items[metric.output or output], statistics)
            scores[metric.name] = _score(metric, [rows], clusters)
        except UsageError as error:
            if not partly or isinstance(error, UnknownNameError):
                raise  # a slip in an option is no property of the items
            refused[metric.name] = error
    if refused and not scores:
        first, *others = refused.items()
        more = f"; nor can {', '.join(name for name, _ in others)} be scored" if others else ""
        raise UsageError(f"{first[1]}{more}") from None
    # What nobody scored leaves nothing in the record.
    kept = {metric.family for metric in loaded if metric.name in scores}
    return Scored(
        scores,
        {family: stats for family, stats in statistics.items() if family in kept},
        {name: str(error).removeprefix(f"metric {name!r}: ") for name, error in refused.items()},
    )


def _rows(metric: Metric, items: Any, statistics: dict[str, ItemStats]) -> Floats:
    """Return the rows of a metric's family; what is measured is kept in `statistics`."""
    metric.require(items)
    if metric.family not in statistics:
        statistics[metric.family] = ItemStats(metric.columns, metric.measure(items))
    elif statistics[metric.family].columns != metric.columns:
        raise UsageError(
            f"metric {metric.name!r}: a family of metrics is called {metric.family!r} already: "
            f"rename yours"
        )
    return statistics[metric.family].rows


def combine(
    metric: str, stats_of_seeds: Sequence[Floats], clusters: Sequence[Any] | None = None
) -> Score:
    """Return the score over several seeds from the stored statistics of their items.

    Args:
        metric: The metric's name.
        stats_of_seeds: For each seed, the rows [N, S] of the metric's family, in the same order.
        clusters: [N] the unit that each item belongs to.

    Raises:
        NotComparableError: The rows differ in shape between seeds, or are not this metric's.
    """
    return measure(metric, stats_of_seeds, clusters).score


def measure(
    metric: str, stats_of_seeds: Sequence[Floats], clusters: Sequence[Any] | None = None
) -> Measured:
    """Return what `combine` does, and what it is made of.

    Args:
        metric: The metric's name.
        stats_of_seeds: For each seed, the rows [N, S] of the metric's family, in the same order.
        clusters: [N] the unit that each item belongs to.

    Raises:
        NotComparableError: The rows differ in shape between seeds, or are not this metric's.
    """
    found = _load(metric)
    _check_rows(found, stats_of_seeds)
    return _measure(found, stats_of_seeds, clusters)


def difference(
    metric: str,
    first: Sequence[Floats],
    second: Sequence[Floats],
    clusters: Sequence[Any] | None = None,
) -> crossed.Interval:
    """Return the interval of the first model's score minus the second's, on the same items.

    Args:
        metric: The metric's name.
        first: For each seed of the first model, the rows [N, S] of the metric's family.
        second: Those of the second model, the same items in the same order.
        clusters: [N] the unit that each item belongs to.

    Raises:
        NotComparableError: The rows differ in shape, or are not this metric's.
    """
    found = _load(metric)
    for seeds in (first, second, [*first, *second]):
        _check_rows(found, seeds)
    a, b = (
        np.stack([pseudo_values(found, rows, clusters) for rows in of]) for of in (first, second)
    )
    return crossed.difference(a, b, clusters)


def ranks(
    metric: str, stats_of_models: Sequence[Sequence[Floats]], clusters: Sequence[Any] | None = None
) -> RankSets:
    """Return the places that K models may have, from the stored statistics of their items.

    Args:
        metric: The metric's name.
        stats_of_models: For each model and each of its seeds, the rows [N, S] of the metric's
            family; the same items in the same order.
        clusters: [N] the unit that each item belongs to.

    Raises:
        NotComparableError: The rows differ in shape, or are not this metric's.
    """
    found = _load(metric)
    _check_rows(found, [rows for seeds in stats_of_models for rows in seeds])
    models = [
        np.stack([pseudo_values(found, rows, clusters) for rows in seeds])
        for seeds in stats_of_models
    ]
    return ranks_of(metric, models, clusters)


def ranks_of(
    metric: str, values_of_models: Sequence[Floats], clusters: Sequence[Any] | None = None
) -> RankSets:
    """Return what `ranks` does, from the pseudo-values [S, N] of each model (`measure`)."""
    from mmbench.stats.ranks import by_holm

    return by_holm(values_of_models, clusters, higher_is_better=_load(metric).higher_is_better)


def _load(name: str) -> Metric:
    return registry.load("metric", name)  # type: ignore[no-any-return]


def _score(metric: Metric, stats_of_seeds: Sequence[Rows], clusters: Sequence[Any] | None) -> Score:
    return _measure(metric, stats_of_seeds, clusters).score


def _measure(
    metric: Metric, stats_of_seeds: Sequence[Rows], clusters: Sequence[Any] | None
) -> Measured:
    metric.require_count(len(stats_of_seeds[0]))
    reason = alone(len(stats_of_seeds[0]), clusters)
    values: Floats | None = None
    if not reason:
        found, each, values, spread = _interval(metric, stats_of_seeds, clusters)
        reason = "" if spread > _ROUNDING else _ALIKE
    if reason:
        found, each = _without_interval(metric, stats_of_seeds)
    # The mean of the pseudo-values could pass a bound by its rounding.
    value = float(np.mean(each))
    if reason:
        ends = found.low, found.high
    else:
        low, high = metric.bounds
        ends = (
            min(value, found.low if low is None else max(found.low, low)),
            max(value, found.high if high is None else min(found.high, high)),
        )
    score = Score(
        metric=metric.name,
        value=value,
        low=ends[0],
        high=ends[1],
        se=found.se,
        df=found.df,
        n=len(stats_of_seeds[0]),
        seeds=len(stats_of_seeds),
        scope=found.scope,
        signature=metric.signature,
        higher_is_better=metric.higher_is_better,
        bounds=metric.bounds,
        reason=reason,
    )
    return Measured(score, tuple(each), values)


def alone(items: int, clusters: Sequence[Any] | None) -> str:
    """Say why so many items have no interval, or return an empty string."""
    if clusters is not None and len(clusters) != items:
        return ""  # refused where they are used
    if items == 1:
        return "one item does not tell how far others would differ"
    if clusters is not None and len(set(clusters)) == 1:
        return "one cluster does not tell how far others would differ"
    return ""


#: A spread of pseudo-values below this share of the largest is rounding.
_ROUNDING = 1e-9
_ALIKE = "no item moves it, which does not tell how far others would"


def _spread(values: Floats) -> float:
    """Return how far values differ, as a share of the largest."""
    if not values.size:
        return 0.0
    low, high = float(values.min()), float(values.max())
    return (high - low) / max(abs(low), abs(high)) if low or high else 0.0


def _without_interval(
    metric: Metric, stats_of_seeds: Sequence[Rows]
) -> tuple[crossed.Interval, list[float]]:
    """Return what is known of the value of a single item or cluster: that of each seed."""
    seeds, nan = len(stats_of_seeds), float("nan")
    with np.errstate(all="ignore"):
        each = [float(metric.of(rows)) for rows in stats_of_seeds]
    value = float(np.mean(each))
    if not np.isfinite(value):
        raise UsageError(f"metric {metric.name!r}: its value of these items is not finite")
    scope = crossed.THESE_WEIGHTS if seeds == 1 else crossed.SEEDS_AND_ITEMS
    return crossed.Interval(value, nan, nan, nan, nan, (seeds,), 1, scope, 0.95), each


def _interval(
    metric: Metric, stats_of_seeds: Sequence[Rows], clusters: Sequence[Any] | None
) -> tuple[crossed.Interval, list[float], Floats | None, float]:
    """Return the interval, each seed's value, its pseudo-values, and their `_spread`.

    Of rows that are counted nothing is laid out item by item.
    """
    if clusters is not None and len(set(clusters)) == len(clusters) == len(stats_of_seeds[0]):
        clusters = None  # each item is a unit of its own: the same as none, to the last bit
    estimates = [estimate(metric, rows, clusters) for rows in stats_of_seeds]
    each = [value for value, _ in estimates]
    rows, (_, pseudo) = stats_of_seeds[0], estimates[0]
    if isinstance(rows, Coded) and clusters is None and len(estimates) == 1:
        wide, counts = shares.widened_counts(pseudo, rows.counts, metric.bounds, metric.wrong)
        return counted.interval(wide, counts), each, None, _spread(wide[counts > 0])
    whole = clusters is not None and metric.sees_clusters
    pairs = zip(stats_of_seeds, estimates, strict=True)
    values = np.stack(
        [of.spread(x) if isinstance(of, Coded) and not whole else x for of, (_, x) in pairs]
    )
    wide, units = shares.widened(values, metric.bounds, metric.wrong, clusters)
    return crossed.interval(wide, units), each, values, _spread(wide)


def _check_rows(metric: Metric, stats: Sequence[Floats]) -> None:
    if not len(stats):
        raise NotComparableError(f"metric {metric.name!r}: there is no seed to score")
    shapes = sorted({np.shape(rows) for rows in stats})
    if len(shapes) > 1:
        raise NotComparableError(
            f"metric {metric.name!r}: the item statistics differ in shape ({shapes[0]}, "
            f"{shapes[1]}): score all seeds on the same items"
        )
    if len(shapes[0]) != 2 or shapes[0][1] != len(metric.columns):
        raise NotComparableError(
            f"metric {metric.name!r}: expected item statistics with the {len(metric.columns)} "
            f"columns {', '.join(metric.columns)}, got the shape {shapes[0]}"
        )


def _match(
    predictions: Predictions,
    references: Mapping[str, References],
    output: str,
    ids: Sequence[str] | None,
    allow_missing: bool,
) -> tuple[Said, References]:
    """Return what was predicted, in the order of the references."""
    for what, there in (("predictions", predictions.outputs), ("references", references)):
        if output not in there:
            raise UsageError(
                f"the {what} have no output {output!r}; they have: {', '.join(there) or 'none'}"
            )
    truth = references[output]
    said = _said(predictions, output)
    _refuse_twice(said.ids, "predictions")
    if ids is None:
        if len(said) != len(truth):
            raise UsageError(f"there are {len(truth)} items but {len(said)} predictions")
        return _complete(said, allow_missing), truth
    if len(ids) != len(truth):
        raise UsageError(f"there are {len(truth)} references but {len(ids)} ids")
    _refuse_twice(ids, "references")
    known, given = set(ids), set(said.ids)
    problems = [
        f"{len(which)} {problem} ({_some(which)})"
        for problem, which in (
            ("without a prediction", [i for i in ids if i not in given and not allow_missing]),
            ("unknown", [i for i in said.ids if i not in known]),
        )
        if which
    ]
    if problems:
        raise UsageError(
            f"the ids of the predictions must be those of the items: {' and '.join(problems)}"
        )
    place = {name: at for at, name in enumerate(said.ids)}
    order = [place.get(name) for name in ids]

    def sort(values: Sequence[Any]) -> list[Any]:
        return [None if at is None else values[at] for at in order]

    columns = {
        name: column if name in SHARED else sort(column) for name, column in said.columns.items()
    }
    return _complete(Said(list(ids), sort(said.values), columns), allow_missing), truth


def _complete(said: Said, allow_missing: bool) -> Said:
    """Return `said`, in which every item has an answer or may lack one."""
    own = [column for name, column in said.columns.items() if name not in SHARED]
    if hasattr(said.values, "dtype") and said.values.dtype != object:
        return said  # numbers in an array: none is missing
    lacking = [
        name
        for at, (name, value) in enumerate(zip(said.ids, said.values, strict=True))
        if value is None and all(column[at] is None for column in own)
    ]
    if lacking and not allow_missing:
        raise UsageError(
            f"{len(lacking)} items without a prediction ({_some(lacking)}): where a model said "
            f"nothing, write an empty text; or allow missing ones to count as failures"
        )
    return said


def _said(predictions: Predictions, output: str) -> Said:
    """Return what was predicted for one output; its columns are those named ``OUTPUT.``..."""
    values, prefix = predictions.outputs[output], f"{output}."
    columns = {
        name.removeprefix(prefix): column
        for name, column in predictions.columns.items()
        if name.startswith(prefix)
    }
    for name, column in {output: values, **columns}.items():
        if len(column) != len(predictions.ids) and name not in SHARED:
            raise UsageError(
                f"the predictions have {len(predictions.ids)} ids but {len(column)} values of "
                f"{name!r}"
            )
    return Said(predictions.ids, values, columns)


def _refuse_twice(ids: Sequence[str], where: str) -> None:
    if len(set(ids)) < len(ids):
        twice = [name for name, count in Counter(ids).items() if count > 1]
        raise UsageError(f"the {where} have {len(twice)} ids more than once ({_some(twice)})")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(str(name) for name in names[:3])
    return shown + (", ..." if len(names) > 3 else "")
