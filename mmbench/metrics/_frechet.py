"""Frechet distance of the normal distributions fitted to two sets of features."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats

#: How many groups are left out in turn to see how the distance falls with the number of images.
GROUPS = 10


def frechet(real: Floats, generated: Floats) -> tuple[float, Floats]:
    """Return the distance and, [N], how far each item moves it.

    ``|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))`` with means m and unbiased covariances S
    (Dowson and Landau, Journal of Multivariate Analysis 1982). The last trace is the sum of the
    singular values of ``R_1 R_2'``, with R the triangular factors of the centred features, so that
    no covariance is squared or inverted and singular ones do no harm. The optimal transport from
    one normal distribution to the other is the derivative by its covariance.

    Args:
        real: [N, D] features, N at least 2.
        generated: [N, D].
    """
    size = len(real)
    apart = real.mean(axis=0) - generated.mean(axis=0)
    x, y = real - real.mean(axis=0), generated - generated.mean(axis=0)
    (q_x, r_x), (q_y, r_y) = np.linalg.qr(x), np.linalg.qr(y)
    left, values, right = np.linalg.svd(r_x @ r_y.T)
    spread = (x**2).sum(axis=1) + (y**2).sum(axis=1)
    distance = float(apart @ apart + (spread.sum() - 2 * values.sum()) / (size - 1))
    carried = (q_x @ left) ** 2 @ values + (q_y @ right.T) ** 2 @ values
    moves = 2 * (x - y) @ apart + (spread - carried) * (size / (size - 1))
    return distance, np.asarray(moves - moves.mean())


def extrapolated(real: Floats, generated: Floats) -> tuple[float, Floats]:
    """Return the distance at infinitely many images and, [N], how far each item moves it.

    The expected distance of samples of n falls as ``d + c / n`` (Chong and Forsyth, CVPR 2020).
    The line goes through all N items, and through the mean over the samples without one of ten
    groups; its end at 1 / n = 0 is the delete-group jackknife. Which group an item is in follows
    from its features, so that the order of the items changes nothing.

    Args:
        real: [N, D] features, N at least 20.
        generated: [N, D].
    """
    size = len(real)
    whole, moves = frechet(real, generated)
    group = groups(real, generated, GROUPS)
    without, inverse, moved = [], [], np.zeros(size)
    for gone in range(GROUPS):
        kept = group != gone
        distance, part = frechet(real[kept], generated[kept])
        without.append(distance)
        inverse.append(1 / kept.sum())
        moved[kept] += part * (size / kept.sum()) / GROUPS
    reach = (1 / size) / (np.mean(inverse) - 1 / size)
    value = whole + reach * (whole - np.mean(without))
    pseudo = moves + reach * (moves - moved)
    return float(value), np.asarray(pseudo - pseudo.mean())


def groups(real: Floats, generated: Floats, count: int) -> NDArray[np.int64]:
    """Return [N] the group of each item: in turn, in the order of checksums of their features."""
    sums = [[zlib.crc32(row.tobytes()) for row in side] for side in (generated, real)]
    group = np.empty(len(real), dtype=np.int64)
    group[np.lexsort(sums)] = np.arange(len(real)) % count
    return group
