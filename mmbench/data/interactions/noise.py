"""Normal numbers that are the same on every platform once they are rounded to 1/256."""

from __future__ import annotations

import numpy as np

from mmbench import rng
from mmbench.data.interactions.structures import Floats

#: What a unit of the sequences is divided into; they are stored as multiples of 1/256.
GRID = 256


def normals(seed: int, *names: object, shape: tuple[int, ...]) -> Floats:
    """Return standard normal numbers of a stream, row by row.

    Box and Muller's transform (Annals of Mathematical Statistics 1958) of pairs of raw words:
    ``sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v)``. None lies beyond 8.7.

    Args:
        seed: The data seed.
        names: The stream.
        shape: Its number of elements has to be even. Where a row (one item) has an even number
            too, the first n rows do not depend on how many follow.
    """
    raw = rng.words(seed, *names, count=int(np.prod(shape)))
    unit = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # in (0, 1), never 0
    radius = np.sqrt(-2.0 * np.log(unit[0::2]))
    angle = 2.0 * np.pi * unit[1::2]
    found = np.empty(len(unit))
    found[0::2] = radius * np.cos(angle)
    found[1::2] = radius * np.sin(angle)
    return found.reshape(shape)


def quantised(values: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Round to multiples of 1/256, exact in float32; values have to lie within 128."""
    return (np.rint(values * GRID).astype(np.int16) / np.float32(GRID)).astype(np.float32)
