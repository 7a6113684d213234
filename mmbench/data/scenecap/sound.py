"""Turns scenes into stereo spectrograms: one beep an object, from the emitter's direction.

Everything is integer arithmetic on raw random words: the same bytes on every platform.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench.data.scenecap.noise import byte_noise
from mmbench.data.scenecap.world import SOUNDS, Ints, Scenes

#: Channels (left, right), frames, mel bands.
SHAPE = (2, 16, 24)
#: Random integers that a spectrogram needs beside its noise: onset and loudness.
DRAWS = 2
#: Frames from one beep to the next: two that sound, one that echoes.
PERIOD = 3
#: Level of silence.
FLOOR = 40
#: How much the left channel is attenuated by the emitter's column; the right one mirrors it. The
#: steps are wide because the direction has to be found by gradient descent without being named.
ATTENUATION = (0, 40, 80, 120)
#: The echo of a beep, in the frame after it, equal in both channels: a band of six mels that the
#: direction chooses, as the outer ear and the room colour what comes from different sides. Level
#: differences alone tell the direction too, but as one graded number, which small models learn to
#: compare with a place in the picture only after very many examples.
ECHO, ECHO_BANDS = 110, 6
#: The first beep begins in one of so many frames.
ONSETS = 3
#: Overall loudness varies by so much either way.
LOUDNESS = 10


@cache
def templates() -> NDArray[np.int64]:
    """Return the level above silence of each sound, [8, 3 frames, 24 bands]; 0 is silent."""
    table = np.zeros((len(SOUNDS), PERIOD, SHAPE[2]), dtype=np.int64)

    def put(sound: str, frame: int, bands: slice, level: int) -> None:
        table[SOUNDS.index(sound), frame, bands] = level

    put("chirp", 0, slice(9, 12), 150)  # rises
    put("chirp", 1, slice(14, 17), 150)
    for frame in (0, 1):
        put("buzz", frame, slice(1, 22, 4), 140)  # a comb
        put("hum", frame, slice(1, 4), 150)
        put("whistle", frame, slice(19, 21), 160)
        put("hiss", frame, slice(14, 24), 125)
    put("chime", 0, slice(6, 23, 8), 160)  # decays
    put("chime", 1, slice(6, 23, 8), 110)
    put("click", 0, slice(0, 24), 130)  # short
    put("growl", 0, slice(5, 9), 145)  # falls
    put("growl", 1, slice(0, 4), 145)
    return table


def render(
    scenes: Scenes, draws: Ints, noise: NDArray[np.uint8], amplitude: int
) -> NDArray[np.uint8]:
    """Render N scenes to [N, 2, 16, 24] uint8.

    Args:
        scenes: What sounds, how often, from where.
        draws: [N, DRAWS] integers below 2**16: onset and loudness.
        noise: [N, 2, 16, 24] random bytes.
        amplitude: Noise of at most so many levels either way.
    """
    frame = np.arange(SHAPE[1])[None, :] - (draws[:, :1] * ONSETS >> 16)  # [N, 16]
    sounding = (frame >= 0) & (frame < PERIOD * scenes.count[:, None])
    level = templates()[scenes.sound[:, None], frame % PERIOD]  # [N, 16, 24]
    level = np.where(sounding[:, :, None], level, 0)
    loudness = (draws[:, 1] * (2 * LOUDNESS + 1) >> 16) - LOUDNESS
    quieter = np.array(ATTENUATION)
    gain = loudness[:, None] - np.stack([quieter[scenes.pan], quieter[::-1][scenes.pan]], axis=1)
    heard = np.where(level[:, None] > 0, level[:, None] + gain[:, :, None, None], 0)
    echoing = sounding & (frame % PERIOD == PERIOD - 1)  # [N, 16]
    band = np.arange(SHAPE[2])[None, :] // ECHO_BANDS == scenes.pan[:, None]  # [N, 24]
    echo = (echoing[:, :, None] & band[:, None, :]) * (ECHO + loudness[:, None, None])
    total = FLOOR + np.maximum(heard, 0) + echo[:, None] + byte_noise(noise, amplitude)
    quantised: NDArray[np.uint8] = np.clip(total, 0, 255).astype(np.uint8)
    return quantised
