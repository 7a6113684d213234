"""The jackknife, for a metric of which nothing is known but its value on any items.

Leaving items out shows how far they move the value (Quenouille, Biometrika 1956; Tukey, Annals of
Mathematical Statistics 1958). Leaving out one item at a time costs little where items are few;
else they are left out in random groups. The value must not depend on the order of the items. No
jackknife is right for a value that jumps, such as the largest of anything; for quantiles, groups
are and single items are not (Shao and Wu, Annals of Statistics 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats

#: At least so many values are computed: the interval has one degree of freedom fewer.
_FEWEST = 100
#: The values are computed of about so many items in all, however many items there are.
_WORK = 2_000_000


def jackknife(
    size: int,
    value: Callable[[NDArray[np.int64]], float],
    alike: NDArray[np.int64] | None = None,
    clusters: Sequence[Any] | None = None,
) -> tuple[float, Floats]:
    """Return the value of all items, and pseudo-values [N] for its interval.

    The mean of the pseudo-values is the value, and the variance of that mean is that of the
    jackknife with G groups left out in turn. For groups of one size::

        (G - 1) / G  sum_g (value_(-g) - value_(.))^2

    with value_(-g) that without group g and value_(.) the mean of those. What a group moves the
    value by is shared out evenly, over its clusters and over the items of each, so that what adds
    up the items of a cluster gets the same variance. No bias is corrected.

    G is N for up to 1,414 items and 100 from 20,000 items on, and the groups follow from N (or
    from the clusters) alone: two models on the same items have the same groups, whatever they say,
    so that the difference of their pseudo-values is that of the jackknife of the difference. The t
    distribution is taken with N - 1 degrees of freedom where there are G - 1, which makes
    intervals up to 1.2 % too narrow.

    Args:
        size: N.
        value: From the numbers of the items that are left, [n] increasing, to their value.
        alike: [N] items with the same number are the same in everything: where items are left out
            one at a time, the value without one of them is that without any other, and is computed
            once. None: all may differ.
        clusters: [N] names; what has the same name is left out together. None: with more than
            1,414 items, those of a cluster are in several groups, and the interval does not see
            what they have in common.
    """
    everyone = np.arange(size)
    whole = float(value(everyone))
    unit = _units(size, clusters)
    count = int(unit.max(initial=-1)) + 1
    if count < 2:
        return whole, np.full(size, whole)
    group_of_unit = _groups(count, max(_FEWEST, _WORK // size))
    group = group_of_unit[unit]
    order, sizes = np.argsort(group, kind="stable"), np.bincount(group)
    groups = np.split(order, np.cumsum(sizes)[:-1])
    if alike is None or len(groups) < size:
        without = np.array([value(np.delete(everyone, items)) for items in groups])
    else:  # group g is item g
        _, first, code = np.unique(alike, return_index=True, return_inverse=True)
        without = np.array([value(np.delete(everyone, item)) for item in first])[code]
    # The mean of U numbers has the variance sum d^2 / (U (U - 1)); here G of them are different.
    scale = np.sqrt((count - 1) / (len(groups) - 1))
    moved = scale * (size - sizes) * (whole - without)  # by the items of each group, in all
    moved -= sizes * (moved.sum() / size)
    of_unit = (moved / np.bincount(group_of_unit))[group_of_unit] / np.bincount(unit)
    return whole, np.asarray(whole + of_unit[unit], dtype=np.float64)


def _units(size: int, clusters: Sequence[Any] | None) -> NDArray[np.int64]:
    """Return [N] the number of what is left out with each item: its cluster, or itself."""
    if clusters is None:
        return np.arange(size)
    numbers: dict[Any, int] = {}
    found = [numbers.setdefault(name, len(numbers)) for name in clusters]
    return np.array(found, dtype=np.int64)


def _groups(units: int, limit: int) -> NDArray[np.int64]:
    """Return the group of each unit: one each where they are few, else random ones of one size."""
    group = np.arange(units)
    if units > limit:
        group[rng.permutation(0, "jackknife", units, count=units)] = np.arange(units) % limit
    return group
