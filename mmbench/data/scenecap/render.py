"""Turns scenes into images: coloured shapes on a light ground, and a grey occluder.

Everything is integer arithmetic on raw random words: the same bytes on every platform.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench.data.scenecap.noise import byte_noise
from mmbench.data.scenecap.world import GRID, MOST, SHAPES, SIZES, Ints, Scenes

#: Pixels of a cell's side.
CELL = 12
#: Channels, height, width.
SHAPE = (3, GRID * CELL, GRID * CELL)
#: Diameter of each size in pixels.
DIAMETERS = (7, 10)
#: Red, green, blue of each colour, in the order of `world.COLOURS`.
PALETTE = (
    (215, 40, 40),
    (40, 150, 60),
    (45, 85, 205),
    (235, 200, 30),
    (140, 60, 175),
    (35, 35, 40),
)
#: Each channel of an object's colour varies by so much either way.
COLOUR_JITTER = 10
#: Random integers that an image needs beside its noise: see `render`.
DRAWS = 3 + 2 + 5 * MOST + 2
# Sub-pixels a side, and thus the coverage of a full pixel.
_FINE = 8
_FULL = _FINE * _FINE


@cache
def masks() -> NDArray[np.int32]:
    """Return coverage in 0..64, [6 shapes, 2 sizes, 3 shifts down, 3 shifts across, 12, 12]."""
    table = np.zeros((len(SHAPES), len(SIZES), 3, 3, CELL, CELL), dtype=np.int32)
    # Twice the sub-pixel distance from the cell's centre, so that everything stays an integer.
    place = 2 * np.arange(CELL * _FINE) + 1 - CELL * _FINE
    for size, diameter in enumerate(DIAMETERS):
        for down in range(3):
            for across in range(3):
                y = (place - 2 * _FINE * (down - 1))[:, None]
                x = (place - 2 * _FINE * (across - 1))[None, :]
                for shape, name in enumerate(SHAPES):
                    inside = _inside(name, x, y, diameter * _FINE)
                    fine = inside.reshape(CELL, _FINE, CELL, _FINE)
                    table[shape, size, down, across] = fine.sum(axis=(1, 3))
    return table


def _inside(shape: str, x: Ints, y: Ints, r: int) -> NDArray[np.bool_]:
    """Say which points (x across, y down, centre 0) lie in a shape of radius `r`."""
    square = x * x + y * y
    if shape == "circle":
        return square <= r * r
    if shape == "ring":
        return (square <= r * r) & (4 * square >= r * r)
    if shape == "diamond":
        return np.abs(x) + np.abs(y) <= r
    if shape == "triangle":
        return (2 * np.abs(x) <= y + r) & (y <= r)
    if shape == "cross":
        arm = 3 * np.minimum(np.abs(x), np.abs(y)) <= r
        return arm & (np.maximum(np.abs(x), np.abs(y)) <= r)
    return np.maximum(np.abs(x), np.abs(y)) <= r  # square


def render(
    scenes: Scenes, draws: Ints, noise: NDArray[np.uint8], amplitude: int
) -> NDArray[np.uint8]:
    """Render N scenes to [N, 3, 48, 48] uint8.

    Args:
        scenes: What is where.
        draws: [N, DRAWS] integers below 2**16: ground (3), its slope (2), for each object its
            shifts (2) and the jitter of its colour (3), phase and shade of the occluder (2).
        noise: [N, 3, 48, 48] random bytes.
        amplitude: Noise of at most so many levels either way.
    """
    canvas = ground(draws[:, :5])
    cells = canvas.reshape(len(scenes), 3, GRID, CELL, GRID, CELL)
    for slot in range(MOST):
        here = np.flatnonzero(scenes.visible > slot)
        _paint(cells, scenes, here, slot, draws[here, 5 + 5 * slot : 10 + 5 * slot])
    here = np.flatnonzero(scenes.occluded)
    row, column = scenes.row[here, MOST], scenes.column[here, MOST]
    cells[here, :, row, :, column, :] = _occluder(draws[here, -2:])
    noisy = canvas + byte_noise(noise, amplitude)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def ground(draws: Ints, side: int = SHAPE[1]) -> NDArray[np.int16]:
    """Return a light ground with a tint and a slope, [N, 3, side, side].

    Args:
        draws: [N, 5] integers below 2**16: tint (3), slope (2).
        side: Pixels.
    """
    tint = 205 + (draws[:, :3] * 36 >> 16)  # 205..240
    slope = (draws[:, 3:5] * 25 >> 16) - 12  # levels over half the image
    along = 2 * np.arange(side) - side + 1
    tilt = slope[:, :1, None] * along[None, :, None] + slope[:, 1:, None] * along[None, None, :]
    return np.asarray(tint[:, :, None, None] + (tilt // side)[:, None], dtype=np.int16)


def colours(names: Ints, draws: Ints) -> Ints:
    """Return the red, green and blue [n, 3] of colours [n], each a little off its own.

    Args:
        names: [n] indices into `PALETTE`.
        draws: [n, 3] integers below 2**16.
    """
    jitter = (draws * (2 * COLOUR_JITTER + 1) >> 16) - COLOUR_JITTER
    return np.asarray(np.clip(np.array(PALETTE)[names] + jitter, 0, 255), dtype=np.int64)


def blend(under: NDArray[np.int16], colour: Ints, mask: NDArray[np.int32]) -> NDArray[np.int16]:
    """Lay a colour [n, 3] on pixels [n, 3, h, w], as far as a mask [n, h, w] of 0..64 covers."""
    over = colour[:, :, None, None] - under
    return (under + (over * mask[:, None] + _FULL // 2) // _FULL).astype(np.int16)


def _paint(cells: NDArray[np.int16], scenes: Scenes, here: Ints, slot: int, draws: Ints) -> None:
    """Blend object `slot` of the scenes `here` into their cells."""
    down, across = draws[:, 0] * 3 >> 16, draws[:, 1] * 3 >> 16
    colour = colours(scenes.colour[here, slot], draws[:, 2:])
    mask = masks()[scenes.shape[here, slot], scenes.size[here, slot], down, across]
    row, column = scenes.row[here, slot], scenes.column[here, slot]
    under = cells[here, :, row, :, column, :]  # [n, 3, 12, 12]
    cells[here, :, row, :, column, :] = blend(under, colour, mask)


def _occluder(draws: Ints) -> NDArray[np.int16]:
    """Return grey diagonal stripes that fill a cell, [n, 3, 12, 12]."""
    phase, shade = draws[:, 0] * 4 >> 16, 105 + (draws[:, 1] * 31 >> 16)
    diagonal = np.arange(CELL)[:, None] + np.arange(CELL)[None, :]
    stripe = (diagonal[None] + phase[:, None, None]) // 2 % 2 * 50 - 25
    grey = shade[:, None, None] + stripe
    return np.repeat(grey[:, None], 3, axis=1).astype(np.int16)
