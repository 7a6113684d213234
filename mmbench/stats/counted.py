"""The interval of one seed where many items have the same number: from each number's count.

It is `mmbench.stats.crossed.interval` of the numbers themselves, without laying them out: a
million right or wrong answers are two numbers and two counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.stats import student
from mmbench.stats._checks import fraction
from mmbench.stats.crossed import THESE_WEIGHTS, Interval

if TYPE_CHECKING:
    from mmbench.types import Floats


def interval(values: Floats, counts: Floats, level: float = 0.95) -> Interval:
    """Return the interval of the mean of N items that have K numbers.

    Args:
        values: [K] the numbers, finite.
        counts: [K] how many items have each; they add up to N.
        level: Nominal coverage, between 0 and 1.

    Raises:
        UsageError: Fewer than two items, numbers that are not finite, or a level outside (0, 1).
    """
    if not np.isfinite(values).all():
        raise UsageError("expected finite numbers, got some that are not")
    items = int(counts.sum())
    if items < 2:
        raise UsageError(f"an interval needs at least two items, got {items}")
    mean = float((counts * values).sum()) / items
    variance = float((counts * (values - mean) ** 2).sum()) / (items - 1)
    se, df = (variance / items) ** 0.5, float(items - 1)
    half = student.quantile(0.5 + fraction("level", level) / 2, df) * se
    return Interval(mean, mean - half, mean + half, se, df, (1,), items, THESE_WEIGHTS, level)
