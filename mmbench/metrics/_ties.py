"""Measures of ranked retrieval where candidates are tied: the mean over all orders of the tied.

Whoever sorts breaks ties by chance, or by the order in which things are stored, which often is
the order of the right answers: a model whose similarities are all equal then scores perfectly.
Here every measure is its expected value when tied candidates are put in random order (McSherry and
Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
Scores, ECIR 2008): such a model scores exactly what guessing scores.

In a group of t tied candidates with r right ones behind c candidates that are better, place
``c + i`` holds a right one with probability ``r / t``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.metrics._places import Places
    from mmbench.types import Floats

    Ints = NDArray[np.int64]


def hit(first: Places, k: int) -> Floats:
    """Return [G] the probability that a right answer stands among the first `k`.

    Args:
        first: The first group of each asker.
        k: At least 1.
    """
    drawn = np.clip(k - first.above, 0, first.tied)
    missed = np.ones(len(drawn))
    wrong = first.tied - first.right
    # All of the `drawn` places are wrong: a product of at most `k` factors, which passes 0 exactly.
    for place in range(int(drawn.max(initial=0))):
        still = place < drawn
        missed[still] *= (wrong[still] - place) / (first.tied[still] - place)
    return 1.0 - missed


def rank(first: Places) -> Floats:
    """Return [G] the expected rank of the best right answer, from 1.

    Args:
        first: The first group of each asker.
    """
    return np.asarray(first.above + (first.tied + 1) / (first.right + 1))


def reciprocal(first: Places) -> Floats:
    """Return [G] the expected reciprocal of the rank of the best right answer.

    Args:
        first: The first group of each asker.
    """
    out = 1.0 / (first.above + 1)
    unsure = np.flatnonzero(first.tied > first.right)
    shapes = np.stack([first.above, first.tied, first.right], axis=1)[unsure]
    kinds, which = np.unique(shapes, axis=0, return_inverse=True)
    values = np.array([_reciprocal(*(int(x) for x in kind)) for kind in kinds])
    if len(unsure):
        out[unsure] = values[which.reshape(-1)]
    return out


def _reciprocal(above: int, tied: int, right: int) -> float:
    """Return the mean of 1 / rank of the first right one among the tied."""
    place = np.arange(tied - right)
    # The first right one stands at place 0, 1, ...: each time, the wrong ones left over the left.
    ahead = np.cumprod((tied - right - place) / (tied - place))
    chance = right / (tied - np.arange(tied - right + 1)) * np.concatenate([[1.0], ahead])
    return float((chance / (above + 1 + np.arange(tied - right + 1))).sum())


def average_precision(places: Places, total: Ints) -> Floats:
    """Return [A] the expected average precision; 0 where an asker has no group.

    The mean over right answers of the share of right ones at and above its place.

    Args:
        places: All groups; a right answer that is in none counts 0.
        total: [A] how many right answers each asker has.
    """
    c, t, r, before = (
        x.astype(np.float64) for x in (places.above, places.tied, places.right, places.before)
    )
    harmonic = _prefix(1.0 / np.arange(1, _longest(places) + 1))
    # Of the right ones within the group, (i - 1) (r - 1) / (t - 1) stand before a right one at i.
    inside = (r - 1) / np.maximum(t - 1, 1)
    reach = harmonic[places.above + places.tied] - harmonic[places.above]
    spread = r / t * ((before + 1 - inside * (c + 1)) * reach + inside * t)
    gain = np.where(t == 1, (before + 1) / (c + 1), spread)
    found = np.bincount(places.asker, gain, minlength=len(total))
    return np.asarray(found / np.maximum(total, 1))


def ndcg(places: Places, total: Ints, k: int) -> Floats:
    """Return [A] the expected nDCG of the first `k`, a right answer gaining 1.

    A right answer at rank i counts ``1 / log2(i + 1)``; the sum is divided by what it would be
    with all right answers on top.

    Args:
        places: All groups that can reach the first `k`.
        total: [A] how many right answers each asker has.
        k: At least 1.
    """
    reach = max(_longest(places), int(total.max(initial=0)))
    weight = _prefix(1.0 / np.log2(np.arange(2, min(reach, k) + 2)))
    ends, starts = (np.minimum(x, k) for x in (places.above + places.tied, places.above))
    gain = places.right / places.tied * (weight[ends] - weight[starts])
    best = weight[np.minimum(total, k)]
    found = np.bincount(places.asker, gain, minlength=len(total))
    return np.asarray(found / np.where(best > 0, best, 1.0))


def _longest(places: Places) -> int:
    return int((places.above + places.tied).max(initial=1))


def _prefix(terms: Floats) -> Floats:
    """Return the sums of the first 0, 1, ... terms."""
    return np.concatenate([[0.0], np.cumsum(terms)])
