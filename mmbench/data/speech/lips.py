"""Lips as pictures: a dark ellipse on a grey face, 16 x 16 pixels, as open as the state."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.scenecap.noise import byte_noise, random_bytes
from mmbench.data.speech.features import ONSET
from mmbench.data.speech.lexicon import PLACES, WORDS
from mmbench.data.speech.timing import FRAMES, SILENT, STATE_COUNT, STATES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Pixels a side.
SIDE = 16
SHAPE = (FRAMES, SIDE, SIDE)
#: Grey of the face and of what is between the lips; noise of so many levels either way.
FACE, MOUTH, NOISE = 150, 60, 60
# Half the width and half the height in pixels: at rest, at each place's onset, in the rime.
_REST, _PLACES, _RIMES = (4.5, 0.4), ((3.6, 0.5), (4.6, 1.7), (3.2, 2.8)), ((5.6, 4.4), (4.8, 3.2))


@cache
def axes() -> Floats:
    """Return half the width and half the height of the mouth in each state, [49, 2]."""
    found = np.empty((STATE_COUNT, 2))
    found[SILENT] = _REST
    for word in range(len(WORDS)):
        for state in range(STATES):
            at = _PLACES[word % PLACES] if state < ONSET else _RIMES[state - ONSET]
            found[1 + STATES * word + state] = at
    return found


def pictures(
    seed: int, *names: object, states: Ints, covered: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return [N, T, 16, 16] uint8: states [N, T], black where the lips are covered.

    Where the mouth is, and how large, is drawn once for an utterance; noise for every pixel.
    """
    items, frames = states.shape
    drawn = rng.uniform(seed, *names, "face", count=items * 3).reshape(items, 3)
    middle = (SIDE - 1) / 2 + 1.5 * (2.0 * drawn[:, :2] - 1.0)
    size = 1.0 + 0.12 * (2.0 * drawn[:, 2] - 1.0)
    half = axes()[states] * size[:, None, None]  # [N, T, 2]
    pixel = np.arange(SIDE)
    across = ((pixel - middle[:, :1])[:, None] / half[..., :1]) ** 2  # [N, T, 16]
    down = ((pixel - middle[:, 1:])[:, None] / half[..., 1:]) ** 2
    radius = np.sqrt(down[..., :, None] + across[..., None, :])
    # Edges are a pixel soft: distance to the rim in pixels, by the smaller axis.
    inside = np.clip(0.5 + (1.0 - radius) * half.min(axis=2)[..., None, None], 0.0, 1.0)
    grey = np.rint(FACE - (FACE - MOUTH) * inside).astype(np.int16)
    raw = random_bytes(seed, *names, "grain", shape=(items, frames, SIDE, SIDE))
    noisy = np.clip(grey + byte_noise(raw, NOISE), 1, 255)
    return np.asarray((noisy * ~covered[..., None, None]).astype(np.uint8))
