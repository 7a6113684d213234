"""How much each item moves a metric: what intervals and paired tests are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics._contract import Metric, ratio

if TYPE_CHECKING:
    from mmbench.types import Floats


def influence(metric: Metric, stats: Floats) -> Floats:
    """Return how far each item moves the value: psi [N], which add up to 0.

    ``psi_i = grad value(S) . (s_i - S / N)`` with ``S`` the sum of the rows. To first order,
    leaving item i out changes the value by ``-psi_i`` (the infinitesimal jackknife: Efron, The
    Jackknife, the Bootstrap and Other Resampling Plans, 1982). For the mean of scores x this is
    ``(x_i - mean) / N``.

    Args:
        metric: A function of sums.
        stats: The rows [N, S] of its items.
    """
    sums = stats.sum(axis=0)
    gradient = metric.gradient or (
        lambda at: _differences(metric.of_sums, at, np.abs(stats).sum(0))
    )
    return np.asarray((stats - sums / len(stats)) @ gradient(sums), dtype=np.float64)


def pseudo_values(metric: Metric, stats: Floats) -> Floats:
    """Return [N] numbers whose mean is the metric's value and whose spread is that of its items.

    They are ``value + N * psi_i``; for a mean, the scores themselves. What holds for means of
    items then holds for every metric (see `mmbench.stats.crossed`).

    Raises:
        UsageError: The metric has no finite value or gradient at these statistics.
    """
    with np.errstate(all="ignore"):
        if metric.whole is not None:
            pseudo = metric.of_rows(stats)[1]
        else:
            value = metric.of_sums(stats.sum(axis=0))
            pseudo = np.asarray(value + len(stats) * influence(metric, stats), dtype=np.float64)
    if not np.isfinite(pseudo).all():
        raise UsageError(f"metric {metric.name!r}: its value of these items is not finite")
    return pseudo


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
