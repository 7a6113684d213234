"""Bounds that are proven: what a part of the modalities, or late fusion, cannot pass on a split.

Motion, sound, arousal, valence and synchrony are drawn evenly and independently of one another.
Arousal and motion leave no trace in the audio, sound and valence none in the video, and neither
stream depends on synchrony: its phase is even whether it is synchronous or not (see `world`). So
whatever a predictor makes of one stream, it is right about the rest with the probability of a
guess. Noise and absence only take away; what is counted here is left open by clean clips.
"""

from __future__ import annotations

from math import log, log2
from typing import TYPE_CHECKING

from mmbench.data.events.posterior import posterior
from mmbench.data.events.references import law_of
from mmbench.data.events.world import EMOTIONS, MOTIONS, SOUNDS, SYNCHRONY

if TYPE_CHECKING:
    from mmbench.types import Split

#: Output -> modality -> how many classes are left, all alike, when it is known all that it says.
_LEFT = {
    "clip": {
        "video": len(SOUNDS) * len(SYNCHRONY),
        "audio": len(MOTIONS) * len(SYNCHRONY),
    },
    "synchrony": {"video": len(SYNCHRONY), "audio": len(SYNCHRONY)},
    "emotion": {"video": len(EMOTIONS) // 2, "audio": len(EMOTIONS) // 2},
}
_HEARD = (frozenset({"video"}), frozenset({"audio"}), frozenset({"video", "audio"}))
#: Slot of a caption -> modality -> how many fillers are left.
_SLOTS = {
    "motion_f1": {"audio": len(MOTIONS)},
    "sound_f1": {"video": len(SOUNDS)},
    "relation_f1": {"video": len(SYNCHRONY), "audio": len(SYNCHRONY)},
}


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven bounds: metric -> modality -> expected value at best.

    Of a class with n of its kind left even, accuracy is at most 1/n and the log loss at least log
    n. A caption holds one filler of each of these slots at most, right with probability 1/n; said
    of k of N clips, its expected F1 is ``2 k / n / (k + N)``, largest where it is always said: 1/n.
    They are expectations: on N clips a score may pass one by its own standard error.
    """
    law_of(split)
    found: dict[str, dict[str, float]] = {}
    for name, left in _LEFT.items():
        for metric, of in (("accuracy", lambda n: 1 / n), ("bits", log2), ("nll", log)):
            table = {modality: float(of(n)) for modality, n in left.items()}
            for key in _called(split, name, metric):
                found[key] = table
    if "caption" in split.references:
        for metric, left in _SLOTS.items():
            found[metric] = {modality: 1 / n for modality, n in left.items()}
    if "events" in split.references:
        table = {"+".join(sorted(heard)): _frames_right(split, heard) for heard in _HEARD}
        for key in _called(split, "events", "frame_accuracy"):
            found[key] = table
    return found


def _frames_right(split: Split, heard: frozenset[str]) -> float:
    """Return how many frames of these clips are right in expectation, at best.

    Given what is looked at, a class that is said of a frame is right with its posterior
    probability, at most that of the likeliest. The posterior is exact but for the rounding of
    pixels to whole levels.
    """
    return float(posterior(split, heard).events.max(axis=2).mean())


def late_bounds(split: Split) -> dict[str, float]:
    """Return what late fusion reaches at best, where that is proven: metric -> expected value.

    Given the right motion and sound, a log-linear fusion has log odds ``f(video) + g(audio)`` of
    synchrony. Its expected log loss is convex in f and g, and f = g = 0 is stationary, for the
    derivative along any change h(video) is ``E[h(video) (1/2 - P(sync | video))] = 0``, and so for
    the audio: late fusion has no bit of synchrony. A mixture with fixed weights has a loss that is
    convex in what is mixed, and stands still at the guess for the same reason.
    """
    found: dict[str, float] = {}
    for name in ("clip", "synchrony"):
        for metric, value in (("bits", 1.0), ("nll", log(2))):
            found |= dict.fromkeys(_called(split, name, metric), value)
    return found


def late_references(split: Split) -> dict[str, float]:
    """Return what the late fusion with the least log loss scores: references, no bounds.

    It knows all but synchrony, and guesses that. Other late fusions may be right about it more
    often: by additive scores of the two phases that are right for all synchronous clips and for
    half of the others, up to 3/4, with a log loss worse than chance. No word of a caption tells the
    phase of either stream, so what was said before tells a branch nothing of the other.
    """
    found: dict[str, float] = {}
    for name in ("clip", "synchrony"):
        found |= dict.fromkeys(_called(split, name, "accuracy"), 0.5)
    if "caption" in split.references:
        found["relation_f1"] = 0.5
    return found


def _called(split: Split, output: str, metric: str) -> list[str]:
    """Return what a metric of an output is called, as the main output and as another one."""
    if output not in split.references:
        return []
    return [f"{output}.{metric}", *([metric] if output == next(iter(split.references)) else [])]
