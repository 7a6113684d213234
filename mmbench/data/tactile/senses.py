"""Renders what is touched, seen and smelled of things; all that is not a state of theirs is noise.

* touch [20, 6]: six taxels while a finger presses and lets go; how hard they are pressed is the
  force, when it begins and where it is felt varies.
* form [64, 3]: 40 to 64 points of the surface, turned at random, in no order. Forms have the same
  mean squared distance from the middle, so that size is size.
* odour [8]: eight receptors, each of which likes some odours; the strength varies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench import rng
from mmbench.data.interactions.noise import normals, quantised
from mmbench.data.interactions.sequences import directions

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

STEPS, TAXELS = 20, 6
POINTS, FEWEST = 64, 40
RECEPTORS = 8
#: What a force of 0 presses, and each more; noise on a taxel.
_REST, _EACH, _TOUCH_NOISE = 0.5, 0.25, 0.06
#: Root of the mean squared distance from the middle, for each size; noise on a coordinate.
_SIZES, _FORM_NOISE = np.array([0.7, 1.0, 1.4]), 0.03
_ODOUR_NOISE = 0.2
#: Thickness of rings and rods.
_THIN = 0.12


def touch(seed: int, split: str, force: Array, noise: float) -> Array:
    """Return [N, 20, 6] float32."""
    unit = _units(seed, split, "touch", len(force), 2)
    begin, place = 4.0 * unit[:, :1], 1.0 + (TAXELS - 3.0) * unit[:, 1:]
    time = (np.arange(STEPS) - begin) / (STEPS - 4.0)
    press = np.where((time > 0) & (time < 1), np.sin(np.pi * time) ** 2, 0.0)
    felt = np.exp(-((np.arange(TAXELS) - place) ** 2) / 2)
    felt /= np.sqrt((felt**2).sum(axis=1, keepdims=True))
    pressed = (_REST + _EACH * force)[:, None, None] * press[:, :, None] * felt[:, None, :]
    shape = (len(force), STEPS, TAXELS)
    static = normals(seed, "tactile", split, "touch noise", shape=shape)
    return quantised(pressed + noise * _TOUCH_NOISE * static)


def odour(seed: int, split: str, odours: Array, noise: float) -> Array:
    """Return [N, 8] float32."""
    strength = 0.8 + 0.4 * _units(seed, split, "strength", len(odours), 1)
    liked = directions(RECEPTORS)[:, 1:5].T * np.sqrt(RECEPTORS)  # plus and minus 1
    shape = (len(odours), RECEPTORS)
    static = normals(seed, "tactile", split, "odour noise", shape=shape)
    return quantised(strength * liked[odours] + noise * _ODOUR_NOISE * static)


def form(seed: int, split: str, forms: Array, sizes: Array, noise: float) -> tuple[Array, Array]:
    """Return points [N, 64, 3] float32, 0 behind each item's last one, and their numbers [N]."""
    items = len(forms)
    counts = FEWEST + rng.integers(
        seed, "tactile", split, "points", count=items, below=POINTS - FEWEST + 1
    )
    even = _units(seed, split, "surface", items, 3 * POINTS).reshape(items, POINTS, 3)
    # Spread along a rod or a ring, so that few points cover it.
    along = (np.arange(POINTS) + even[:, :, 0]) / counts[:, None]
    bell = normals(seed, "tactile", split, "sphere", shape=(items, POINTS, 4))[:, :, :3]
    made = np.choose(
        forms[:, None, None], [_ball(bell), _ring(along, even), _box(even), _rod(along, even)]
    )
    turn = _rotations(normals(seed, "tactile", split, "turn", shape=(items, 4)))
    shape = (items, POINTS, 4)
    static = normals(seed, "tactile", split, "form noise", shape=shape)[:, :, :3]
    turned = (turn[:, None] * made[:, :, None, :]).sum(axis=3)  # no library of linear algebra
    points = _SIZES[sizes][:, None, None] * turned + noise * _FORM_NOISE * static
    order = np.argsort(rng.words(seed, "tactile", split, "order", count=items * POINTS).reshape(
        items, POINTS), axis=1, kind="stable")  # fmt: skip
    real = np.arange(POINTS) < counts[:, None]
    # In no order: the real ones first, among themselves as they come.
    order = np.take_along_axis(
        order, np.argsort(~np.take_along_axis(real, order, 1), axis=1, kind="stable"), 1
    )
    points = np.take_along_axis(points, order[:, :, None], axis=1)
    return quantised(points * real[:, :, None]), counts


def _ball(bell: Floats) -> Floats:
    return np.asarray(bell / np.sqrt((bell**2).sum(axis=2, keepdims=True)))


def _box(even: Floats) -> Floats:
    """Return points on a cube's faces; half a side is such that the mean squared distance is 1."""
    half = np.sqrt(3.0 / 5.0)
    side = (even[:, :, 0] * 6).astype(np.int64)
    spread = half * (2.0 * even - 1.0)
    spread[:, :, 0] = half * (2.0 * (even[:, :, 0] * 6 - side) - 1.0)
    face = np.where(side < 3, -half, half)
    axes = np.arange(3) == (side % 3)[:, :, None]
    return np.asarray(np.where(axes, face[:, :, None], spread))


def _ring(along: Floats, even: Floats) -> Floats:
    angle, around = 2 * np.pi * along, 2 * np.pi * even[:, :, 1]
    radius = np.sqrt(1.0 - _THIN**2) + _THIN * np.cos(around)
    return np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), _THIN * np.sin(around)], axis=2
    )


def _rod(along: Floats, even: Floats) -> Floats:
    half, around = np.sqrt(3.0 * (1.0 - _THIN**2)), 2 * np.pi * even[:, :, 1]
    return np.stack(
        [half * (2.0 * along - 1.0), _THIN * np.cos(around), _THIN * np.sin(around)], axis=2
    )


def _rotations(four: Floats) -> Floats:
    """Return [N, 3, 3] rotations, even over all of them, from normal numbers [N, 4]."""
    w, x, y, z = (four / np.sqrt((four**2).sum(axis=1, keepdims=True))).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def _units(seed: int, split: str, name: str, items: int, each: int) -> Floats:
    found = rng.uniform(seed, "tactile", split, name, count=items * each)
    return found.reshape(items, each)
