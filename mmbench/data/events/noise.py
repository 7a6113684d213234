"""Normal noise in whole levels, by a table: the same bytes on every platform."""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mmbench import rng

#: Clips that are rendered at once. Each block has streams of its own, so it is part of the data.
BLOCK = 250
_CODES = 1 << 16


@cache
def _table(deviation: int) -> NDArray[np.int16]:
    """Return the noise of each 16-bit number: the normal quantiles, rounded to whole levels."""
    law = NormalDist(0.0, deviation)
    half = [law.inv_cdf((code + 0.5) / _CODES) for code in range(_CODES // 2)]
    lower = np.rint(np.array(half)).astype(np.int16)
    return np.concatenate([lower, -lower[::-1]])


def normal(deviation: int, seed: int, *names: object, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Return normal noise of a shape, none of it beyond 4.4 deviations.

    Args:
        deviation: In levels; 0 is no noise.
        seed: The data seed.
        names: The stream.
        shape: Its number of elements has to be a multiple of 4. The first rows do not depend on how
            many follow.
    """
    if deviation == 0:
        return np.zeros(shape, dtype=np.int16)
    raw = rng.words(seed, *names, count=int(np.prod(shape)) // 4)
    codes = raw.astype("<u8", copy=False).view("<u2")
    return np.take(_table(deviation), codes).reshape(shape)


def blocks(items: int) -> list[slice]:
    """Return the blocks of `BLOCK` clips that a split is rendered in."""
    return [slice(start, min(start + BLOCK, items)) for start in range(0, items, BLOCK)]
