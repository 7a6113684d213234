"""McNemar's test: do two systems get equally many items right? For these weights.

Only items that one gets right and the other wrong speak: b of them for the first, c for the
second. If the systems are equally good, b is binomial with b + c trials and probability one half
(McNemar, Psychometrika 1947)::

    p = min(1, 2 BinCDF(min(b, c); b + c, 1/2))

The exact test never rejects too often, and with few such items much too rarely. The mid-p variant
counts the outcome seen by half; it is closer to the level and may pass it slightly (Fagerland,
Lydersen & Laake, BMC Medical Research Methodology 2013, doi:10.1186/1471-2288-13-91).

Items have to be independent: where they come in clusters, use `mmbench.stats.permutation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class McNemar:
    """The outcome of the test.

    Attributes:
        first_only: b, items that only the first system gets right.
        second_only: c, items that only the second gets right.
        p_value: Two-sided.
        least: The smallest p-value that b + c such items allow.
    """

    first_only: int
    second_only: int
    p_value: float
    least: float


def compare(first: ArrayLike, second: ArrayLike, *, mid_p: bool = False) -> McNemar:
    """Test whether two systems get equally many of the same items right.

    Args:
        first: [N] right (1 or True) or wrong (0 or False), one an item.
        second: [N] the same items in the same order.
        mid_p: Count the outcome seen by half.

    Raises:
        UsageError: Other values than right and wrong, or different numbers of items.
    """
    a, b = _right("first", first), _right("second", second)
    if len(a) != len(b):
        raise UsageError(f"the first system answers {len(a)} items, the second {len(b)}")
    only = int((a & ~b).sum()), int((b & ~a).sum())
    return McNemar(*only, p_value(*only, mid_p=mid_p), p_value(0, sum(only), mid_p=mid_p))


def p_value(first_only: int, second_only: int, *, mid_p: bool = False) -> float:
    """Return the two-sided p-value from the two counts.

    >>> round(p_value(2, 9), 4), round(p_value(2, 9, mid_p=True), 4)
    (0.0654, 0.0386)

    Args:
        first_only: b, at least 0.
        second_only: c, at least 0.
        mid_p: Count the outcome seen by half: ``p - pmf(b)``, and ``1 - pmf(b) / 2`` where b = c.
            Where both are 0, nothing speaks against equality and p is 1 either way.

    Raises:
        UsageError: A count is negative.
    """
    from scipy.special import bdtr

    least, trials = min(first_only, second_only), first_only + second_only
    if least < 0:
        raise UsageError(f"counts of items must not be negative: {first_only}, {second_only}")
    both_tails = min(1.0, 2 * float(bdtr(least, trials, 0.5)))
    if not mid_p or trials == 0:
        return both_tails
    below = float(bdtr(least - 1, trials, 0.5)) if least else 0.0
    here = float(bdtr(least, trials, 0.5)) - below
    return both_tails - (here / 2 if first_only == second_only else here)


def _right(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    x = np.asarray(values)
    if x.ndim != 1 or not np.isin(x, (0, 1)).all():
        raise UsageError(f"{name}: expected right (1) or wrong (0) for each item, shape [items]")
    return x.astype(np.bool_)
