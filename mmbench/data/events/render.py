"""Turns clips into video: a bright ball before a grey wall, over a floor.

Everything is integer arithmetic: the same bytes on every platform.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench.data.events.world import (
    FRAMES,
    MOTIONS,
    PLACES,
    ROLES,
    Clips,
    Ints,
    roles,
)

#: Frames, height, width.
SHAPE = (FRAMES, 24, 24)
WALL, GROUND = 100, 120
#: The first row of the floor.
GROUND_ROW = 21
#: By how much the ball is brighter than the wall, by arousal.
BRIGHTNESS = (32, 56)
#: Rows of the ball's centre: half way, at the top, on the floor.
HEIGHTS = (12, 6, 18)
#: The column in which a ball of place 0 begins.
COLUMN = 10
#: Twice the radius, in pixels.
DIAMETER = 6
# Per step of a motion: columns and rows that the ball is moved by, its diameter, whether it shines.
_STEPS: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "left": ((-2, 0, 6, 1), (-3, 0, 6, 1), (-5, 0, 6, 1), (-6, 0, 6, 1)),
    "right": ((2, 0, 6, 1), (3, 0, 6, 1), (5, 0, 6, 1), (6, 0, 6, 1)),
    "circle": ((4, 0, 6, 1), (0, -4, 6, 1), (-4, 0, 6, 1), (0, 4, 6, 1)),
    "grow": ((0, 0, 7, 1), (0, 0, 8, 1), (0, 0, 9, 1), (0, 0, 10, 1)),
    "shrink": ((0, 0, 5, 1), (0, 0, 4, 1), (0, 0, 4, 1), (0, 0, 3, 1)),
    "blink": ((0, 0, 6, 0), (0, 0, 6, 1), (0, 0, 6, 0), (0, 0, 6, 1)),
}
# What of its last step a motion leaves behind: a place, or a size.
_STAYS = ("left", "right", "grow", "shrink")
# Sub-pixels a side.
_FINE = 4


@cache
def states() -> NDArray[np.int16]:
    """Return the clean frame of all that can be seen, [4 places, 6 motions, 2, 10 roles, 24, 24].

    The third axis is arousal; the roles are those of `world.roles`.
    """
    rows = np.empty((PLACES, len(MOTIONS), len(BRIGHTNESS), ROLES, *SHAPE[1:]), dtype=np.int16)
    for place in range(PLACES):
        for motion, name in enumerate(MOTIONS):
            last = _STEPS[name][-1]
            moved = last if name in _STAYS else (0, 0, DIAMETER, 1)
            for role in range(ROLES):
                height = HEIGHTS[role % 3] if role < 6 else HEIGHTS[0]
                x, y, size, shines = (0, 0, DIAMETER, 1) if role < 3 else moved
                if role >= 6:
                    x, y, size, shines = _STEPS[name][role - 6]
                mask = _disc(COLUMN + place + x, height + y, size)
                for arousal, brightness in enumerate(BRIGHTNESS):
                    rows[place, motion, arousal, role] = _frame(mask, shines * brightness)
    return rows


def _disc(column: int, row: int, diameter: int) -> Ints:
    """Return the coverage, 0..16, of each pixel by a disc around the corner of a pixel."""
    across = 2 * (np.arange(SHAPE[2] * _FINE) - column * _FINE) + 1
    down = 2 * (np.arange(SHAPE[1] * _FINE) - row * _FINE) + 1
    inside = across[None, :] ** 2 + down[:, None] ** 2 <= (diameter * _FINE) ** 2
    cells = inside.reshape(SHAPE[1], _FINE, SHAPE[2], _FINE)
    return np.asarray(cells.sum(axis=(1, 3)), dtype=np.int64)


def _frame(mask: Ints, brightness: int) -> Ints:
    wall = np.full(SHAPE[1:], WALL)
    wall[GROUND_ROW:] = GROUND
    full = _FINE * _FINE
    return wall + ((WALL + brightness - wall) * mask * (brightness > 0) + full // 2) // full


def clean(clips: Clips) -> NDArray[np.int16]:
    """Return the frames of N clips without noise, [N, 16, 24, 24]."""
    role = roles()[clips.arrangement, clips.seen]  # [N, 16]
    place, motion, arousal = (x[:, None] for x in (clips.place, clips.motion, clips.arousal))
    return states()[place, motion, arousal, role]
