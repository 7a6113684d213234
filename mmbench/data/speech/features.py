"""Voice and lips as feature vectors at 25 frames a second, and how likely a frame is in a state.

Voice: 12 numbers. An onset is a loud direction of its group and a faint one of its place, a rime
two directions that all words share, rest is 0. White noise is added at the signal-to-noise ratio of
the item, and the whole is scaled to unit variance, as an automatic gain would. Lips: 8 numbers, a
direction for the place of the onset, for the rime and for closed lips, in noise of their own;
covered lips are exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench.data.interactions.noise import normals, quantised
from mmbench.data.interactions.sequences import directions
from mmbench.data.speech.lexicon import GROUPS, PLACES, WORDS
from mmbench.data.speech.timing import STATE_COUNT, STATES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Numbers of a frame.
AUDIO, VIDEO = 12, 8
#: States of a word that are its onset; the others are its rime.
ONSET = 2
#: Squared length of what the voice says at an onset: one a number, of which the place has a part.
POWER, PLACE_POWER = float(AUDIO), 0.65
#: Length of what the lips show; the deviation of their noise is 1.
SHOWN = 2.3


@cache
def audio_means() -> Floats:
    """Return what the voice says in each state, [49, 12], of mean power 1."""
    basis = directions(AUDIO)
    means = np.zeros((STATE_COUNT, AUDIO))
    for word in range(len(WORDS)):
        group, place = divmod(word, PLACES)
        for state in range(STATES):
            if state < ONSET:
                mean = (POWER - PLACE_POWER) ** 0.5 * basis[:, group]
                mean = mean + PLACE_POWER**0.5 * basis[:, GROUPS + place]
            else:
                mean = POWER**0.5 * basis[:, GROUPS + PLACES + state - ONSET]
            means[1 + STATES * word + state] = mean
    return means


@cache
def video_means() -> Floats:
    """Return what the lips show in each state, [49, 8]."""
    basis = directions(VIDEO)
    means = np.empty((STATE_COUNT, VIDEO))
    means[0] = SHOWN * basis[:, PLACES + STATES - ONSET]
    for word in range(len(WORDS)):
        for state in range(STATES):
            column = word % PLACES if state < ONSET else PLACES + state - ONSET
            means[1 + STATES * word + state] = SHOWN * basis[:, column]
    return means


def deviation(snr_db: Floats) -> Floats:
    """Return the deviation of the voice's noise, for a signal of mean power 1.

    >>> deviation(np.array([0.0, 20.0])).tolist()
    [1.0, 0.1]
    """
    return np.asarray(10.0 ** (-snr_db / 20.0))


def audio(states: Ints, snr_db: Floats, noise: Floats) -> NDArray[np.float32]:
    """Return the voice of states [N, T] at ratios [N], [N, T, 12]; noise is standard normal."""
    spread = deviation(snr_db)[:, None, None]
    return quantised((audio_means()[states] + spread * noise) / np.sqrt(1.0 + spread**2))


def video(states: Ints, covered: NDArray[np.bool_], noise: Floats) -> NDArray[np.float32]:
    """Return the lips, [N, T, 8], of states [N, T]; exactly 0 where they are covered."""
    return quantised((video_means()[states] + noise) * ~covered[..., None])


def audio_scores(x: NDArray[np.float32], snr_db: Floats) -> Floats:
    """Return the log-likelihood of each state, up to a number for each frame: [N, T, 49]."""
    spread = deviation(snr_db)[:, None, None]
    scaled = np.asarray(x, dtype=np.float64) * np.sqrt(1.0 + spread**2)
    return _scores(scaled, audio_means()) / spread**2


def video_scores(x: NDArray[np.float32]) -> Floats:
    """Return the same of the lips; 0 for all states where they are covered."""
    seen = np.asarray(np.asarray(x).any(axis=2))
    return _scores(np.asarray(x, dtype=np.float64), video_means()) * seen[..., None]


def _scores(x: Floats, means: Floats) -> Floats:
    return each_once(means, lambda own: x @ own.T - 0.5 * (own**2).sum(axis=1))


def each_once(means: Floats, scores: Callable[[Floats], Floats]) -> Floats:
    """Score states by their means [K, d], equal ones to the same bits: [..., K].

    Words that look alike on the lips tie exactly, and the search breaks ties by the words' order. A
    matrix product may round two equal columns differently, as the processor has it: then rounding
    would say which word was said, on each machine another. So equal means are scored once.
    """
    own, of_state = np.unique(means, axis=0, return_inverse=True)
    return np.asarray(scores(own)[..., of_state.reshape(-1)])


def noise(seed: int, *names: object, items: int, frames: int, width: int) -> Floats:
    """Return standard normal noise, [N, T, d]."""
    return normals(seed, *names, shape=(items, frames, width))
