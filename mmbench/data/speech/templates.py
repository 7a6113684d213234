"""How likely a frame of sound or picture is in each state, where no formula says it.

The oracle knows the synthesiser: it lets it speak utterances of its own at the same noise, on a
random stream that no split has, and takes from them the mean of each state and the covariance that
all share. That is linear discriminant analysis on frames (Fisher 1936), close to the true law and
not equal to it: what is decided by it is a reference, and no bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.speech import features, grammar, lips, timing, voice
from mmbench.data.speech.lexicon import MOST
from mmbench.data.speech.timing import STATE_COUNT, STATES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Utterances that templates are taken from.
UTTERANCES = 400


@dataclass(frozen=True)
class Templates:
    """Means [49, d] of the states, and the inverse [d, d] of the covariance that they share."""

    means: Floats
    inverse: Floats

    def scores(self, x: Floats) -> Floats:
        """Return the log-likelihood of each state up to a number a frame: [..., d] -> [..., 49]."""

        def of(means: Floats) -> Floats:
            weights = means @ self.inverse
            return np.asarray(x @ weights.T - 0.5 * (weights * means).sum(axis=1))

        return features.each_once(self.means, of)


def sound_frames(spectrogram: NDArray[np.uint8]) -> Floats:
    """Return the level of each band in each frame: [N, 4 T - 2, F] -> [N, T, F]."""
    items, steps, bands = spectrogram.shape
    wide = np.pad(spectrogram, ((0, 0), (0, 2), (0, 0)))
    frames = wide.reshape(items, (steps + 2) // voice.STEPS, voice.STEPS, bands)
    # A frame's last two steps reach into the next one, and the last frame has none: the first two.
    return np.asarray(frames[:, :, :2].mean(axis=2, dtype=np.float64))


def picture_frames(pictures: NDArray[np.uint8]) -> Floats:
    """Return the mean grey of 4 x 4 blocks in each frame: [N, T, 16, 16] -> [N, T, 16]."""
    items, frames = pictures.shape[:2]
    blocks = pictures.reshape(items, frames, lips.SIDE // 4, 4, lips.SIDE // 4, 4)
    return np.asarray(blocks.mean(axis=(3, 5), dtype=np.float64).reshape(items, frames, -1))


@cache
def of_voice(seed: int, snr_db: float) -> Templates:
    """Return those of the voice at a signal-to-noise ratio."""
    states, lengths = _spoken(seed)
    names = ("speech", "templates", snr_db)
    waves = [
        voice.wave(seed, *names, item, states=row[:length], snr_db=snr_db)
        for item, (row, length) in enumerate(zip(states, lengths.tolist(), strict=True))
    ]
    return _fitted(sound_frames(voice.spectrograms(waves)), states, lengths)


@cache
def of_lips(seed: int) -> Templates:
    """Return those of the lips."""
    states, lengths = _spoken(seed)
    shown = lips.pictures(
        seed, "speech", "templates", states=states, covered=np.zeros(states.shape, dtype=np.bool_)
    )
    found = _fitted(picture_frames(shown), states, lengths)
    # The groups of a place look alike: one mean for all, of four times as many frames.
    means = found.means.copy()
    places = means[1:].reshape(-1, 3, STATES, means.shape[1]).mean(axis=0)
    means[1:] = np.tile(places, (STATE_COUNT // (3 * STATES), 1, 1)).reshape(-1, means.shape[1])
    return Templates(means, found.inverse)


def _spoken(seed: int) -> tuple[Ints, Ints]:
    def uniform(name: str, *shape: int) -> Floats:
        count = int(np.prod(shape))
        return rng.uniform(seed, "speech", "templates", name, count=count).reshape(shape)

    words = grammar.draw(grammar.loop(), uniform("words", UTTERANCES, MOST))
    frames = timing.durations(words, uniform("durations", UTTERANCES, MOST, STATES))
    return timing.paths(words, frames)


def _fitted(x: Floats, states: Ints, lengths: Ints) -> Templates:
    real = np.arange(x.shape[1]) < lengths[:, None]
    rows, labels = x[real], states[real]
    counts = np.bincount(labels, minlength=STATE_COUNT)
    means = np.stack([rows[labels == state].mean(axis=0) for state in range(STATE_COUNT)])
    apart = rows - means[labels]
    covariance = apart.T @ apart / (counts.sum() - STATE_COUNT)
    covariance += 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return Templates(means, np.linalg.inv(covariance))
