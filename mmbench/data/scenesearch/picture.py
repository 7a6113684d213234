"""Turns shapes and colours into images: one shape somewhere on a ground.

Everything is integer arithmetic on raw random words: the same bytes on every platform.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench.data.scenecap.noise import byte_noise
from mmbench.data.scenesearch.world import VALUES, Ints

#: Channels, height, width.
SHAPE = (3, 32, 32)
#: Pixels of a shape's side, and how many pixels one of its squares has.
SIDE, SQUARE = 16, 2
#: A shape begins at one of so many places down and across, so many pixels apart.
PLACES, APART = 5, 4
#: Each channel of a shape's colour, and of the ground, varies by so much either way.
JITTER = 10
#: Random integers that an image needs beside its noise: place (2), jitter (3 and 3).
DRAWS = 8

_GLYPHS = {
    "disc": "..####.. .######. ######## ######## ######## ######## .######. ..####..",
    "square": "........ .######. .######. .######. .######. .######. .######. ........",
    "triangle": "...##... ...##... ..####.. ..####.. .######. .######. ######## ########",
    "diamond": "...##... ..####.. .######. ######## ######## .######. ..####.. ...##...",
    "cross": "...##... ...##... ...##... ######## ######## ...##... ...##... ...##...",
    "ring": "..####.. .##..##. ##....## ##....## ##....## ##....## .##..##. ..####..",
    "frame": "######## ######## ##....## ##....## ##....## ##....## ######## ########",
    "bar": "........ ........ ........ ######## ######## ........ ........ ........",
    "pillar": "...##... ...##... ...##... ...##... ...##... ...##... ...##... ...##...",
    "arrow": "...##... ....##.. .....##. ######## ######## .....##. ....##.. ...##...",
    "crescent": "..####.. .###.... ###..... ###..... ###..... ###..... .###.... ..####..",
    "stairs": "##...... ##...... ####.... ####.... ######.. ######.. ######## ########",
}
PALETTE = {
    "red": (220, 30, 40),
    "yellow": (250, 230, 30),
    "blue": (30, 80, 230),
    "white": (252, 252, 252),
    "green": (0, 140, 60),
    "pink": (255, 120, 200),
    "orange": (250, 130, 0),
    "black": (6, 6, 6),
    "cyan": (0, 200, 210),
    "purple": (130, 40, 180),
    "brown": (120, 70, 20),
    "lime": (150, 225, 40),
}
#: The ground at each time of day.
GROUNDS = {
    "day": (170, 190, 225),
    "dusk": (190, 145, 135),
    "night": (50, 55, 95),
    "storm": (90, 125, 105),
}


@cache
def masks() -> NDArray[np.bool_]:
    """Return which pixels each shape covers, [12, 16, 16] bool."""
    table = [
        [[square == "#" for square in row] for row in _GLYPHS[name].split()]
        for name in VALUES["shape"]
    ]
    return np.array(table).repeat(SQUARE, axis=1).repeat(SQUARE, axis=2)


def render(
    shape: Ints, colour: Ints, ground: Ints, draws: Ints, noise: NDArray[np.uint8], amplitude: int
) -> NDArray[np.uint8]:
    """Render N images to [N, 3, 32, 32] uint8.

    Args:
        shape: [N] which of the shapes.
        colour: [N] which of the colours.
        ground: [N] which of the grounds.
        draws: [N, DRAWS] integers below 2**16.
        noise: [N, 3, 32, 32] random bytes.
        amplitude: Noise of at most so many levels either way.
    """
    jitter = (draws[:, 2:] * (2 * JITTER + 1) >> 16) - JITTER
    paints = np.array([PALETTE[name] for name in VALUES["colour"]])[colour] + jitter[:, :3]
    grounds = np.array([GROUNDS[name] for name in VALUES["ground"]])[ground] + jitter[:, 3:]
    canvas = np.broadcast_to(grounds[:, :, None, None], noise.shape).copy()
    item = np.arange(len(shape))[:, None, None]
    along = np.arange(SIDE)
    down, across = ((draws[:, k] * PLACES >> 16)[:, None] * APART + along for k in (0, 1))
    rows, columns = down[:, :, None], across[:, None, :]
    inside = masks()[shape][..., None]  # [N, 16, 16, 1]
    under = canvas[item, :, rows, columns]
    canvas[item, :, rows, columns] = np.where(inside, paints[:, None, None, :], under)
    return np.asarray(np.clip(canvas + byte_noise(noise, amplitude), 0, 255), dtype=np.uint8)
