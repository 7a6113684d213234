"""Kernel distance of two sets of paired features, as a U-statistic of their pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmbench.types import Floats

#: Rows of a block of kernel values.
_ROWS = 256


def placements(real: Floats, generated: Floats) -> Floats:
    """Return [N] the mean, over all other items, of each item's kernel distance.

    With ``k(x, y) = (x . y / D + 1)^3`` and item i the pair of a real image x_i and a generated one
    y_i, ``h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)``; the placement of item i
    is the mean of h_ij over j other than i.

    Args:
        real: [N, D] features, N at least 2.
        generated: [N, D].
    """
    size = len(real)
    total = np.zeros(size)
    for start in range(0, size, _ROWS):
        rows = slice(start, min(start + _ROWS, size))
        own = np.arange(rows.start, rows.stop)
        among = _kernel(real[rows], real)
        among += _kernel(generated[rows], generated)
        among -= _kernel(real[rows], generated)
        among -= _kernel(generated[rows], real)
        among[own - start, own] = 0.0
        total[rows] = among.sum(axis=1)
    return total / (size - 1)


def _kernel(left: Floats, right: Floats) -> Floats:
    base = left @ right.T
    base /= left.shape[1]
    base += 1.0
    cube = base * base
    cube *= base
    return cube
