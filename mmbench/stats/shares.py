"""Shares of items that are right: what to add where nearly all of them are alike.

The spread of items that are only right or wrong says too little near a bound, and of items that
are all right it says nothing: the interval of 3 of 3 would be a point. Two right and two wrong
items are added before the interval is taken, not to the value (Agresti and Coull, The American
Statistician 1998, doi:10.1080/00031305.1998.10480550). Exactly computed (tests/stats), the interval
then covers 93 % and more for shares between 2 and 98 % of 20 items and more, where without them it
covers 63 % of the time at 98 % of 50 items.

With several seeds every seed gets the same four. Clusters get none: nobody knows of what size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmbench.types import Floats

#: How many items of each sort are added.
EACH = 2
#: How far a number may be from a bound and still stand for it: pseudo-values are rounded.
_CLOSE = 1e-9


def only(values: Floats, bounds: tuple[float | None, float | None]) -> bool:
    """Whether all values lie on the bounds, so that items are only right or wrong.

    Args:
        values: Of any shape.
        bounds: What no item can go beyond, None on a side without a bound.
    """
    if None in bounds:
        return False
    ends = np.array(bounds, dtype=np.float64)
    return bool((np.abs(values[..., None] - ends).min(axis=-1) < _CLOSE).all())


def widened(values: Floats, bounds: tuple[float | None, float | None]) -> Floats:
    """Return [S, N + 4] values with the four added, or [S, N] as they are.

    Args:
        values: [S, N], as for `mmbench.stats.crossed.interval`.
        bounds: As for `only`.
    """
    if not only(values, bounds):
        return values
    four = np.repeat(np.array(bounds, dtype=np.float64), EACH)
    return np.concatenate([values, np.tile(four, (len(values), 1))], axis=1)


def widened_counts(
    values: Floats, counts: Floats, bounds: tuple[float | None, float | None]
) -> tuple[Floats, Floats]:
    """Return what `widened` does, as values and their counts.

    Args:
        values: [K], as for `mmbench.stats.counted.interval`.
        counts: [K] how many items have each.
        bounds: As for `only`.
    """
    if not only(values[counts > 0], bounds):
        return values, counts
    return np.append(values, np.array(bounds, dtype=np.float64)), np.append(counts, [EACH, EACH])
