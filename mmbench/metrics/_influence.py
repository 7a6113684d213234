"""How much each item moves a metric: what intervals and paired tests are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics._coded import Coded
from mmbench.metrics._contract import Metric, ratio

if TYPE_CHECKING:
    from mmbench.metrics._contract import Rows
    from mmbench.types import Floats


def influence(metric: Metric, stats: Rows) -> Floats:
    """Return how far each item moves the value: psi [N], which add up to 0.

    ``psi_i = grad value(S) . (s_i - S / N)`` with ``S`` the sum of the rows. To first order,
    leaving item i out changes the value by ``-psi_i`` (the infinitesimal jackknife: Efron, The
    Jackknife, the Bootstrap and Other Resampling Plans, 1982). For the mean of scores x this is
    ``(x_i - mean) / N``.

    Args:
        metric: A function of sums.
        stats: The rows [N, S] of its items.
    """
    psi = _influence(metric, stats)
    return stats.spread(psi) if isinstance(stats, Coded) else psi


def _influence(metric: Metric, stats: Rows, sums: Floats | None = None) -> Floats:
    """Return `influence`; of a `Coded`, that of each row of its table."""
    sums = stats.sum(axis=0) if sums is None else sums
    gradient = metric.gradient or (lambda at: _differences(metric.of_sums, at, _sizes(stats)))
    table = stats.table if isinstance(stats, Coded) else stats
    return np.asarray((table - sums / len(stats)) @ gradient(sums), dtype=np.float64)


def _sizes(stats: Rows) -> Floats:
    """Return the sums [S] of the absolute statistics."""
    if isinstance(stats, Coded):
        return stats.with_table(np.abs(stats.table)).sum(axis=0)
    return np.asarray(np.abs(stats).sum(axis=0))


def pseudo_values(metric: Metric, stats: Rows, clusters: Sequence[Any] | None = None) -> Floats:
    """Return [N] numbers whose mean is the metric's value and whose spread is that of its items.

    They are ``value + N * psi_i``; for a mean, the scores themselves. What holds for means of
    items then holds for every metric (see `mmbench.stats.crossed`).

    Args:
        metric: Of any form.
        stats: The rows [N, S] of its items.
        clusters: [N] the unit of each item, for a metric that leaves items out in groups.

    Raises:
        UsageError: The metric has no finite value or gradient at these statistics.
    """
    pseudo = estimate(metric, stats, clusters)[1]
    if isinstance(stats, Coded) and not _sees(metric, clusters):
        return stats.spread(pseudo)
    return pseudo


def estimate(
    metric: Metric, stats: Rows, clusters: Sequence[Any] | None = None
) -> tuple[float, Floats]:
    """Return the value and what `pseudo_values` does.

    Of a `Coded` there is one for each row of its table, unless the metric sees clusters, which
    part what is equal.

    Raises:
        UsageError: As in `pseudo_values`.
    """
    with np.errstate(all="ignore"):
        if metric.whole is not None:
            value, pseudo = metric.of_distinct(stats, clusters)
        else:
            sums = stats.sum(axis=0)
            value, moved = float(metric.of_sums(sums)), _influence(metric, stats, sums)
            pseudo = np.asarray(value + len(stats) * moved, dtype=np.float64)
    if isinstance(stats, Coded) and not _sees(metric, clusters):
        pseudo = np.where(stats.counts > 0, pseudo, value)
    if not (np.isfinite(value) and np.isfinite(pseudo).all()):
        raise UsageError(f"metric {metric.name!r}: its value of these items is not finite")
    return float(value), pseudo


def _sees(metric: Metric, clusters: Sequence[Any] | None) -> bool:
    """Whether the metric is told the clusters, and then gives one pseudo-value for each item."""
    return clusters is not None and metric.sees_clusters


#: Step of the differences, relative to the size of a sum. The truncation error falls with its
#: square, the rounding error with its inverse: the cube root of the precision balances the two.
_STEP = float(np.cbrt(np.finfo(np.float64).eps))


def _differences(value: Callable[[Floats], Floats], sums: Floats, size: Floats) -> Floats:
    """Return the gradient [S] of `value` at `sums` by central differences.

    Args:
        value: The function.
        sums: Where, [S].
        size: The sum of the absolute statistics [S]: a column of zeros moves nothing, and stepping
            there would leave the range of possible sums.
    """
    steps = _STEP * size
    moves = np.diag(steps)
    changes = value(sums + moves) - value(sums - moves)
    return ratio(np.asarray(changes), 2 * steps)
