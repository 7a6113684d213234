"""Clusters: the units that items share (speaker, video, image), which vary independently.

Items of one cluster are alike, so a hundred questions about one image say less than a hundred
about a hundred images. Whatever is resampled, swapped or counted here is therefore the cluster;
without clusters each item is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats


def numbered(clusters: Sequence[Any], items: int) -> NDArray[np.int64]:
    """Return [N] the number of each item's cluster, in the order in which they first appear.

    Args:
        clusters: [N] names: anything hashable, tuples too.
        items: N.

    Raises:
        UsageError: Another number of names than of items, or a name that is missing (None, NaN):
            whether those items belong together, nobody can say.
    """
    if len(clusters) != items:
        raise UsageError(f"expected {items} cluster names, one an item: {len(clusters)}")
    known: dict[Any, int] = {}
    found = np.empty(items, dtype=np.int64)
    for item, name in enumerate(clusters):
        if name is None or name != name:
            raise UsageError(f"item {item} has no cluster name ({name}): name one for each item")
        found[item] = known.setdefault(name, len(known))
    return found


def cluster_sums(rows: Floats, clusters: Sequence[Any] | None) -> Floats:
    """Return the rows of clusters: the sums of their items' rows.

    Args:
        rows: [..., N, S] statistics of items that add up.
        clusters: [N] names, or None: each item is its own cluster.

    Returns:
        [..., C, S].

    Raises:
        UsageError: As in `numbered`, or there are fewer than two units.
    """
    if clusters is not None:
        unit = numbered(clusters, rows.shape[-2])
        sums = np.zeros((*rows.shape[:-2], int(unit.max()) + 1, rows.shape[-1]))
        np.add.at(np.moveaxis(sums, -2, 0), unit, np.moveaxis(rows, -2, 0))
        rows = sums
    _refuse_one(rows.shape[-2], clusters)
    return rows


def independent_units(values: Floats, clusters: Sequence[Any] | None) -> Floats:
    """Return numbers of independent units with the same means over units as over items.

    A cluster stands for the sum of its items' deviations from the mean, scaled::

        u_c = mean + (C / N) sum_{j in c} (x_j - mean)

    which is the linearised ratio estimator of survey sampling (Cochran, Sampling Techniques, 1977,
    section 9A): the variance of its mean also counts that clusters differ in size.

    Args:
        values: [S, N], or whatever else ends with N.
        clusters: [N] names, or None: the values themselves.

    Returns:
        [S, C].

    Raises:
        UsageError: As in `numbered`, or there are fewer than two units.
    """
    if clusters is not None:
        mean = values.mean(axis=-1, keepdims=True)
        sums = cluster_sums((values - mean)[..., None], clusters)[..., 0]
        values = mean + sums * (sums.shape[-1] / values.shape[-1])
    _refuse_one(values.shape[-1], clusters)
    return values


def _refuse_one(units: int, clusters: Sequence[Any] | None) -> None:
    if units < 2:
        name = "items" if clusters is None else "clusters"
        raise UsageError(f"an interval needs at least two {name}, got {units}")
