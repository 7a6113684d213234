"""Sets of points as pictures: seen along the third axis, near ones dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmbench.types import Array

#: Pixels of a side, and of a point.
SIDE, DOT = 96, 3


def drawn(points: Array) -> Array:
    """Return points [N, d] as grey pixels [96, 96] uint8; the middle of a picture is the origin.

    The picture reaches as far as the farthest coordinate does, and no less far than 2, so that sets
    of about unit variance are drawn to one scale.
    """
    pixels = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    flat = np.zeros((len(points), 3))
    flat[:, : min(3, points.shape[1])] = points[:, :3]
    reach = max(2.0, float(np.abs(flat).max(initial=0.0)))
    corner = np.rint((flat[:, :2] / reach + 1.0) / 2.0 * (SIDE - DOT)).astype(np.int64)
    for nearest_last in np.argsort(flat[:, 2], kind="stable"):
        x, y = corner[nearest_last]
        shade = np.uint8(np.rint(95.0 - 80.0 * flat[nearest_last, 2] / reach))
        pixels[SIDE - DOT - y : SIDE - y, x : x + DOT] = shade
    return pixels
