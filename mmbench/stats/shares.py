"""Shares of items that are right: what to add where nearly all of them are alike.

The spread of items that are only right or wrong says too little near a bound, and of items that
are all right it says nothing: the interval of 3 of 3 would be a point. Two right and two wrong
items are added before the interval is taken, not to the value (Agresti and Coull, The American
Statistician 1998, doi:10.1080/00031305.1998.10480550). Exactly computed (tests/stats), the interval
then covers 93 % and more for shares between 2 and 98 % of 20 items and more, where without them it
covers 63 % of the time at 98 % of 50 items.

With several seeds every seed gets the same four. Of items in clusters the four stand for as many
*independent* ones: four clusters are added, each of as many items as the design effect says (the
variance of the mean over what it would be if the items were independent; Kish, Survey Sampling,
1965), at most the mean size of a cluster, and that where all items are alike and nobody can say.
In simulation (tests/stats) that covers 90 % and more for 10 clusters and 94 % for 50, where without
them it covers 20 % of the time at 99 % of 10 clusters of 5 that are half alike.

An error rate has no upper bound, but an item that is wholly wrong has a rate (``wrong``). Where
items are without any error or wholly wrong, the four are two of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.stats.clusters import independent_units

if TYPE_CHECKING:
    from mmbench.types import Floats

#: How many items of each sort are added.
EACH = 2
#: How far a number may be from a bound and still stand for it, as a share of the bounds' distance.
#: Pseudo-values are rounded; at a kink of the metric (the brevity penalty of texts that are just as
#: long) differences are good to 1e-5; and COCO's BLEU of no match at all is 1e-4 and not 0.
_CLOSE = 1e-3


def only(
    values: Floats, bounds: tuple[float | None, float | None], wrong: float | None = None
) -> tuple[float, float] | None:
    """Return the two ends that all values lie on, items being only right or wrong; else None.

    Args:
        values: Of any shape.
        bounds: What no item can go beyond, None on a side without a bound.
        wrong: What an item scores that is wholly wrong, where a bound does not say so.
    """
    low, high = bounds
    high = wrong if high is None else high
    if low is None or high is None:
        return None
    near = _CLOSE * abs(high - low)
    at_an_end = (np.abs(values - low) <= near) | (np.abs(values - high) <= near)
    return (low, high) if at_an_end.all() else None


def _snapped(values: Floats, ends: tuple[float, float]) -> Floats:
    """Return values that are exactly the end to which each is near: rounding is no variance."""
    return np.where(np.abs(values - ends[0]) < np.abs(values - ends[1]), *ends)


def widened(
    values: Floats,
    bounds: tuple[float | None, float | None],
    wrong: float | None = None,
    clusters: Sequence[Any] | None = None,
) -> tuple[Floats, Sequence[Any] | None]:
    """Return [S, N + more] values and their clusters with the four added, or both as they are.

    Args:
        values: [S, N], as for `mmbench.stats.crossed.interval`.
        bounds: As for `only`.
        wrong: As for `only`.
        clusters: [N] names, or None: each item is its own.
    """
    ends = only(values, bounds, wrong)
    if ends is None:
        return values, clusters
    values = _snapped(values, ends)
    size = 1 if clusters is None else _size(values, clusters)
    four = np.repeat(np.repeat(np.array(ends, dtype=np.float64), EACH), size)
    longer = np.concatenate([values, np.tile(four, (len(values), 1))], axis=1)
    if clusters is None:
        return longer, None
    # A name that no cluster has, whatever names there are.
    return longer, [*((0, name) for name in clusters), *((1, k // size) for k in range(len(four)))]


def _size(values: Floats, clusters: Sequence[Any]) -> int:
    """Return how many items of these clusters say as much as one independent item, rounded up."""
    units = independent_units(values, clusters)
    mean_size = values.shape[1] / units.shape[1]
    alone = values.var(axis=1) / values.shape[1]
    together = units.var(axis=1, ddof=1) / units.shape[1]
    effect = np.divide(together, alone, out=np.full(len(values), mean_size), where=alone > 0)
    return int(np.ceil(np.clip(effect.mean(), 1.0, mean_size) - _CLOSE))


def widened_counts(
    values: Floats,
    counts: Floats,
    bounds: tuple[float | None, float | None],
    wrong: float | None = None,
) -> tuple[Floats, Floats]:
    """Return what `widened` does, as values and their counts.

    Args:
        values: [K], as for `mmbench.stats.counted.interval`.
        counts: [K] how many items have each.
        bounds: As for `only`.
        wrong: As for `only`.
    """
    ends = only(values[counts > 0], bounds, wrong)
    if ends is None:
        return values, counts
    values = np.where(counts > 0, _snapped(values, ends), values)
    return np.append(values, np.array(ends, dtype=np.float64)), np.append(counts, [EACH, EACH])
