"""When what is said: the frames of a sentence, and which state of which word each one is.

Hidden Markov model: a word is `STATES` states one after the other, each frame stays in its state
with the chance `STAY`. A sentence begins and ends with `REST` frames of rest. Voice and lips are
shown at the same 25 frames a second. Lips may lead the voice: at the time t they show what the
voice says `lead` frames later.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmbench.data.speech.lexicon import MOST, NONE, WORDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STATES = 4
STAY = 0.55
#: Frames of rest before and behind.
REST = 3
#: Frames of an utterance at most, rest included.
FRAMES = 112
#: Milliseconds of a frame.
MILLISECONDS = 40
#: The number of the state of rest; that of the state s of the word w is ``1 + STATES * w + s``.
SILENT = 0
STATE_COUNT = 1 + STATES * len(WORDS)

# An utterance longer than `FRAMES` (six words: one in half a million) stays in no state for longer.
_SHORT = (FRAMES - 2 * REST) // (MOST * STATES)


def durations(words: Ints, uniforms: Floats) -> Ints:
    """Return the frames of each state, [N, 6, 4], 0 where there is no word.

    Args:
        words: [N, 6].
        uniforms: [N, 6, 4] in 0..1, geometric durations by inversion.
    """
    # floor(log(1 - u) / log(stay)) by comparison, so that no logarithm rounds it.
    powers = STAY ** np.arange(1, FRAMES)
    frames = 1 + np.searchsorted(-powers, -(1.0 - uniforms), side="left")
    frames = np.where((words != NONE)[..., None], frames, 0)
    long = frames.sum(axis=(1, 2)) > FRAMES - 2 * REST
    frames[long] = np.minimum(frames[long], _SHORT)
    return np.asarray(frames, dtype=np.int64)


def paths(words: Ints, frames: Ints) -> tuple[Ints, Ints]:
    """Return the state of every frame, [N, FRAMES], rest behind the end; and lengths [N]."""
    items = len(words)
    ends = REST + np.cumsum(frames.reshape(items, -1), axis=1)  # [N, 24]
    time = np.arange(FRAMES)
    states = np.full((items, FRAMES), SILENT, dtype=np.int64)
    numbers = 1 + STATES * words[..., None] + np.arange(STATES)  # [N, 6, 4]
    numbers = numbers.reshape(items, -1)
    begins = np.concatenate([np.full((items, 1), REST), ends[:, :-1]], axis=1)
    for column in range(ends.shape[1]):
        here = (time >= begins[:, column, None]) & (time < ends[:, column, None])
        np.copyto(states, numbers[:, column, None], where=here)
    return states, ends[:, -1] + REST


def moved(states: Ints, lead: Ints) -> Ints:
    """Return what the lips show, [N, T]: what is said `lead` [N] frames later, rest at the end."""
    time = np.arange(states.shape[1]) + lead[:, None]
    found = np.take_along_axis(states, np.minimum(time, states.shape[1] - 1), axis=1)
    return np.where(time < states.shape[1], found, SILENT)


def covered(lengths: Ints, share: float, uniforms: Floats) -> NDArray[np.bool_]:
    """Return the frames in which the lips are covered, [N, FRAMES]: one stretch of an utterance.

    Args:
        lengths: [N] frames.
        share: How much of each utterance, 0..1.
        uniforms: [N] where the stretch begins.
    """
    count = np.rint(share * lengths).astype(np.int64)
    begin = np.floor(uniforms * (lengths - count + 1)).astype(np.int64)
    time = np.arange(FRAMES)
    return np.asarray((time >= begin[:, None]) & (time < (begin + count)[:, None]))
