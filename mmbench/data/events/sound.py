"""Turns clips into spectrograms: a sound for each bounce, on or off it, over a throbbing drone.

Everything is integer arithmetic: the same bytes on every platform.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench.data.events.world import FRAMES, SOUNDS, Clips, touches

#: Steps of the spectrogram in a frame of the video.
STEPS = 2
#: Channels, steps, mel bands.
SHAPE = (1, STEPS * FRAMES, 16)
SILENCE = 60
#: The bands of the drone, by valence, and how loud it is. It throbs: every second step is silent,
#: so that it can be told from the colour of a microphone, which encoders take out.
DRONE = (slice(1, 3), slice(13, 15))
DRONE_LEVEL = 45


@cache
def states() -> NDArray[np.int16]:
    """Return the clean frame of everything heard, [4 sounds, 2 valences, silent or not, 2, 16]."""
    table = np.full((len(SOUNDS), len(DRONE), 2, STEPS, SHAPE[2]), SILENCE, dtype=np.int16)
    for valence, bands in enumerate(DRONE):
        table[:, valence, :, 0, bands] += DRONE_LEVEL

    def add(sound: str, step: int, bands: slice, level: int) -> None:
        table[SOUNDS.index(sound), :, 1, step, bands] += level

    add("knock", 0, slice(3, 7), 90)  # low, and short
    add("knock", 1, slice(3, 7), 30)
    for step, level in enumerate((90, 70)):  # a comb that rings
        add("bell", step, slice(4, 13, 4), level)
    add("clap", 0, slice(0, 16), 60)  # everywhere, and gone
    add("chirp", 0, slice(5, 8), 80)  # rises
    add("chirp", 1, slice(9, 12), 80)
    return table


def clean(clips: Clips) -> NDArray[np.int16]:
    """Return the spectrograms of N clips without noise, [N, 1, 32, 16]."""
    heard = touches()[clips.arrangement, clips.heard].astype(np.int64)  # [N, 16]
    frames = states()[clips.sound[:, None], clips.valence[:, None], heard]  # [N, 16, 2, 16]
    return frames.reshape(len(clips), *SHAPE)
