"""Turns scenes into spectrograms: an animal that calls once to four times, and the air around it.

Everything is integer arithmetic on raw random words: the same bytes on every platform.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench.data.scenecap.noise import byte_noise
from mmbench.data.scenesearch.world import VALUES, Ints, Scenes

#: Channels, frames, mel bands.
SHAPE = (1, 16, 20)
#: Frames from one call to the next, the last of which is silent.
PERIOD = 4
#: Bands that animals call in; each of those above is one of the airs.
CALLING = 16
#: Level of silence, and above it those of a call and of the air.
FLOOR, CALL, AIR = 40, 140, 100
#: Overall loudness varies by so much either way.
LOUDNESS = 10
#: Random integers that a spectrogram needs beside its noise: how many calls, when the
#: first one is, how loud all.
DRAWS = 3


@cache
def templates() -> NDArray[np.int64]:
    """Return where each animal calls, [12, 4 frames, 20 bands] of 0 and 1.

    Four pitches, each steady, rising or falling.
    """
    table = np.zeros((len(VALUES["sound"]), PERIOD, SHAPE[2]), dtype=np.int64)
    for sound in range(len(table)):
        low, way = sound % 4 * (CALLING // 4), sound // 4
        for frame in range(PERIOD - 1):
            band = low + (1, frame, 2 - frame)[way]
            table[sound, frame, band : band + 2] = 1
    return table


def render(
    scenes: Scenes, draws: Ints, noise: NDArray[np.uint8], amplitude: int
) -> NDArray[np.uint8]:
    """Render N scenes to [N, 1, 16, 20] uint8.

    Args:
        scenes: Who calls, in what air.
        draws: [N, DRAWS] integers below 2**16.
        noise: [N, 1, 16, 20] random bytes.
        amplitude: Noise of at most so many levels either way.
    """
    most = SHAPE[1] // PERIOD
    calls = 1 + (draws[:, :1] * most >> 16)
    begin = (draws[:, 1:2] * (most - calls + 1) >> 16) * PERIOD
    frame = np.arange(SHAPE[1])[None, :] - begin  # [N, 16]
    calling = (frame >= 0) & (frame < PERIOD * calls)
    level = templates()[scenes.sound[:, None], frame % PERIOD] * calling[:, :, None] * CALL
    around = np.arange(SHAPE[2])[None, :] == CALLING + scenes.air[:, None]  # [N, 20]
    loudness = (draws[:, 2] * (2 * LOUDNESS + 1) >> 16) - LOUDNESS
    heard = level + AIR * around[:, None, :]
    heard = np.where(heard > 0, heard + loudness[:, None, None], 0)
    total = FLOOR + heard[:, None] + byte_noise(noise, amplitude)
    return np.asarray(np.clip(total, 0, 255), dtype=np.uint8)
