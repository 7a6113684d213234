"""Turns facts into pictures and tones: shapes as SceneCap draws them, on a picture of 32 x 32.

What no caption tells varies: tint and slope of the ground, the exact colour, and where in its
quarter the object is. Integer arithmetic on raw random words: the same bytes on every platform.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmbench.data.generation.world import attributes_of
from mmbench.data.scenecap.noise import byte_noise
from mmbench.data.scenecap.render import CELL, blend, colours, ground, masks
from mmbench.data.scenecap.sound import FLOOR
from mmbench.data.scenecap.world import Ints

#: Channels, height, width of a picture; channels, frames, mel bands of a tone.
IMAGE, TONE = (3, 32, 32), (1, 12, 16)
#: Pixels of a quarter's side, and those at which an object's cell may begin: the first, how many.
QUARTER = IMAGE[1] // 2
BEGINS, PLACES = (QUARTER - CELL) // 2 - 1, 3
#: Random integers that each needs beside its noise: see `pictures` and `tones`.
IMAGE_DRAWS, TONE_DRAWS = 10, 4
#: Bands of a tone, the lowest that a low and a high one may begin at, and how far up that varies.
BANDS, LOWEST, VARIES = 2, (1, 9), 4
LEVEL, LOUDNESS = 140, 25


def pictures(
    facts: Ints, draws: Ints, noise: NDArray[np.uint8], amplitude: int
) -> NDArray[np.uint8]:
    """Render N items to [N, 3, 32, 32] uint8.

    Args:
        facts: [N, 7].
        draws: [N, IMAGE_DRAWS] integers below 2**16: ground (3), its slope (2), where in its
            quarter the object is (2), how far its colour is off (3).
        noise: [N, 3, 32, 32] random bytes.
        amplitude: Noise of at most so many levels either way.
    """
    canvas = ground(draws[:, :5], IMAGE[1])
    seen, steps = attributes_of(facts), np.arange(CELL)
    start = QUARTER * np.stack([seen["place"] // 2, seen["place"] % 2], axis=1)
    start += BEGINS + (draws[:, 5:7] * PLACES >> 16)
    here = (np.arange(len(facts))[:, None, None], slice(None))
    there = (start[:, :1, None] + steps[:, None], start[:, 1:, None] + steps)
    under = canvas[(*here, *there)].transpose(0, 3, 1, 2)  # [N, 12, 12, 3] -> [N, 3, 12, 12]
    painted = blend(
        under, colours(seen["colour"], draws[:, 7:]), masks()[seen["shape"], seen["size"], 1, 1]
    )
    canvas[(*here, *there)] = painted.transpose(0, 2, 3, 1)
    noisy = canvas + byte_noise(noise, amplitude)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def tones(facts: Ints, draws: Ints, noise: NDArray[np.uint8], amplitude: int) -> NDArray[np.uint8]:
    """Render the tones of N items to [N, 1, 12, 16] uint8: a few bands that sound for a while.

    Args:
        facts: [N, 7].
        draws: [N, TONE_DRAWS] integers below 2**16: onset, length, pitch, loudness.
        noise: [N, 1, 12, 16] random bytes.
        amplitude: Noise of at most so many levels either way.
    """
    onset, length = draws[:, 0] * 4 >> 16, 5 + (draws[:, 1] * 4 >> 16)
    frame = np.arange(TONE[1])[None] - onset[:, None]
    sounds = (frame >= 0) & (frame < length[:, None])  # [N, 12]
    lowest = np.array(LOWEST)[facts[:, -1]] + (draws[:, 2] * VARIES >> 16)
    band = np.arange(TONE[2])[None] - lowest[:, None]
    level = LEVEL + (draws[:, 3] * (2 * LOUDNESS + 1) >> 16) - LOUDNESS
    heard = (sounds[:, :, None] & ((band >= 0) & (band < BANDS))[:, None]) * level[:, None, None]
    total = FLOOR + heard[:, None] + byte_noise(noise, amplitude)
    return np.asarray(np.clip(total, 0, 255), dtype=np.uint8)
