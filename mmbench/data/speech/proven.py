"""Bounds that are proven: what no predictor passes on a spoken and typed request.

Given what the items of a split show, the right answers are distributed by their posterior, so the
expected score of any predictor on just these items is at most that of the posterior: its largest
probability (accuracy), its entropy (log loss), one less its squared length (Brier score). The
oracle knows more than a model does (the noise), which only makes the bound looser. On N items a
score may pass it by its own standard error.

Of word error rate and BLEU nothing is proven here, nor of waveforms, whose likelihood is not known.
"""

from __future__ import annotations

from itertools import combinations
from math import log
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.speech import lexicon
from mmbench.data.speech.oracle import posterior
from mmbench.data.speech.references import law_of

if TYPE_CHECKING:
    from mmbench.types import Split


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven bounds: metric -> modalities joined by ``+`` -> expected value at best."""
    found: dict[str, dict[str, float]] = {}
    if not _known(split):
        return found
    names = tuple(split.inputs)
    for size in range(1, len(names) + 1):
        for heard in combinations(names, size):
            for metric, value in _figures(split, frozenset(heard)).items():
                found.setdefault(metric, {})["+".join(heard)] = value
    return found


def late_bounds(split: Split) -> dict[str, float]:
    """Return what late fusion of all modalities reaches at best.

    In one request of four two things are typed, and "the first" or "the second" is spoken. Take
    noise away, and permute the things in all ways: late fusion, log-linear or a mixture with fixed
    weights, has a loss that is convex in the decisions of its modalities, so averaging the
    decisions over all permutations makes it no worse. "The first" alone then says of all things the
    same, and the two typed ones are told apart by their order alone, however it was spoken: each
    has at most one half, on average of logarithms. So a quarter of the requests costs one bit.
    """
    if not _known(split):
        return {}
    anyone = _figures(split, frozenset(split.inputs))["bits"]
    bits = max(1.0 / len(lexicon.KINDS), anyone)
    return {"bits": bits, "nll": bits * log(2)}


def late_references(split: Split) -> dict[str, float]:
    """Return what the late fusion with the least log loss gets right: it guesses one of two."""
    if not _known(split):
        return {}
    anyone = _figures(split, frozenset(split.inputs))["accuracy"]
    return {"accuracy": min(1.0 - 0.5 / len(lexicon.KINDS), anyone)}


def _known(split: Split) -> bool:
    law = law_of(split)
    return law.structure == "intent" and law.render == "features"


def _figures(split: Split, heard: frozenset[str]) -> dict[str, float]:
    chances = posterior(split, heard)
    entropy = -(chances * np.log(np.maximum(chances, 1e-300))).sum(axis=1).mean()
    top = float(chances.max(axis=1).mean())
    return {
        "accuracy": top,
        "micro_f1": top,  # equals accuracy: every item has one class
        "bits": float(entropy / log(2)),
        "nll": float(entropy),
        "brier": float(1.0 - (chances**2).sum(axis=1).mean()),
    }
