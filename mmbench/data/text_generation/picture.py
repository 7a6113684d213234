"""Draws what a verse is to speak of: one to three things of one kind and colour, at a place.

32 x 32 pixels. Things stand in one to three of three columns, at any height; which, and how high,
says nothing, nor does the even noise on every pixel.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.scenecap.noise import byte_noise
from mmbench.data.text_generation.verse import PLACES, THINGS

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

SIDE = 32
SHAPE = (3, SIDE, SIDE)
#: Pixels of a thing's side, its outline included, of a column, and rows that it may begin at.
THING, COLUMN, ROWS = 10, 11, 22
#: Even numbers in [0, 1) that a picture takes: the order of the columns, and heights.
DRAWS = 6
COLOURS = np.array(
    [(210, 40, 40), (40, 160, 60), (40, 70, 210), (235, 205, 40), (246, 246, 246)], dtype=np.int16
)
OUTLINE = 24
_STENCILS = {
    "kite": "...##... ..####.. .######. ######## .######. ..####.. ...##... ...#....",
    "bell": "...##... ..####.. ..####.. ..####.. .######. .######. ######## ...##...",
    "boat": "...#.... ...##... ...###.. ...#.... ######## .######. ..####.. ........",
    "star": "...##... ...##... ######## .######. ..####.. .######. .##..##. ##....##",
}


@cache
def stencils() -> Array:
    """Return what of each thing is colour (2), outline (1) and nothing (0), [4, 10, 10] int."""
    found = np.zeros((len(THINGS), THING, THING), dtype=np.int64)
    for stencil, name in zip(found, THINGS, strict=True):
        rows = [[mark == "#" for mark in row] for row in _STENCILS[name].split()]
        inside = np.pad(np.array(rows), 1)
        around = inside.copy()
        for axis in (0, 1):
            around |= np.roll(around, 1, axis) | np.roll(around, -1, axis)
        stencil[:] = np.where(inside, 2, around)
    return found


@cache
def grounds() -> Array:
    """Return the picture of each place without things and noise, [4, 3, 32, 32] int16."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    far, near = np.array([168, 196, 214]), {
        "hill": np.array([150, 172, 110]),
        "sea": np.array([96, 148, 176]),
        "sky": np.array([214, 222, 226]),
        "town": np.array([150, 132, 124]),
    }  # fmt: skip
    marks = {
        "hill": y > 22 - 0.05 * (SIDE - x) * x * 0.7,
        "sea": (y > 12) & ((y + (x // 4) % 2) % 4 < 3),
        "sky": ((x - 8) ** 2 / 40 + (y - 8) ** 2 / 9 < 1)
        | ((x - 21) ** 2 / 60 + (y - 20) ** 2 / 12 < 1),
        "town": (y > 8 + 7 * ((x // 6) % 2)) & (x % 6 != 0),
    }  # fmt: skip
    drawn = [np.where(marks[p], near[p][:, None, None], far[:, None, None]) for p in PLACES]
    return np.stack(drawn).astype(np.int16)


def render(facts: Array, draws: Floats, raw: Array, noise: int) -> Array:
    """Draw pictures.

    Args:
        facts: [n, 4] count less one, colour, thing, place.
        draws: [n, DRAWS] in [0, 1).
        raw: [n, 3, 32, 32] random bytes.
        noise: Even noise of at most so many levels.

    Returns:
        [n, 3, 32, 32] uint8.
    """
    count, colour, thing, place = facts.T
    pixels = grounds()[place].copy()
    order = np.argsort(draws[:, :3], axis=1, kind="stable")
    tops = (draws[:, 3:] * ROWS).astype(np.int64)
    items, inside = np.arange(len(facts)), np.arange(THING)
    masks = stencils()[thing][:, None]  # [n, 1, 10, 10]
    for copy in range(3):
        there = (count >= copy)[:, None, None, None]
        rows = tops[:, copy, None] + inside
        columns = COLUMN * order[:, copy, None] + inside
        where = (items[:, None, None, None], np.arange(3)[None, :, None, None],
                 rows[:, None, :, None], columns[:, None, None, :])  # fmt: skip
        fill = np.where(masks == 2, COLOURS[colour][:, :, None, None], np.int16(OUTLINE))
        pixels[where] = np.where(there & (masks > 0), fill, pixels[where])
    return np.asarray(np.clip(pixels + byte_noise(raw, noise), 0, 255), dtype=np.uint8)
