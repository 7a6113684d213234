"""Laws of a label and of observations that have finitely many values: what is best, exactly.

Where a picture or a record shows values of a finite set, everything that anyone can get out of it
is a sum over these values. Nothing is simulated, so bounds from here have no error of their own.
"""

from __future__ import annotations

from functools import reduce
from math import log
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmbench.types import Array, Floats


def pick(chances: Floats, unit: Floats) -> Array:
    """Return for each item a value with the chances of its row.

    Args:
        chances: [N, K], each row adding up to about 1.
        unit: [N] even in [0, 1).

    Returns:
        [N] int64.
    """
    steps = np.cumsum(chances, axis=1)
    return np.asarray((steps[:, :-1] <= unit[:, None] * steps[:, -1:]).sum(axis=1), dtype=np.int64)


def independent(*parts: Floats) -> Floats:
    """Return p(all parts | y) of parts that are independent given y: [C, K_i] each, [C, K].

    Without parts there is one observation, nothing, which is certain; the first axis is then 1.
    """
    return reduce(
        lambda one, two: (one[:, :, None] * two[:, None, :]).reshape(len(two), -1),
        parts,
        np.ones((1, 1)),
    )


def best(joint: Floats) -> dict[str, float]:
    """Return the best that can be expected of whoever sees the observation.

    Args:
        joint: [C, K], p(y, observation); it sums to 1.

    Returns:
        ``accuracy``, ``micro_f1`` (the same), ``bits`` and ``nll`` (log loss), ``brier``; of two
        classes also ``auroc``: by the lemma of Neyman and Pearson no order of the items has a
        larger one than that by p(y = 1 | observation).
    """
    seen = np.maximum(joint.sum(axis=0), np.finfo(np.float64).tiny)
    chances = joint / seen
    bits = float(-(joint * np.log2(np.maximum(chances, 1e-300))).sum())
    accuracy = float(joint.max(axis=0).sum())
    found = {
        "accuracy": accuracy,
        "micro_f1": accuracy,
        "bits": bits,
        "nll": bits * log(2),
        "brier": float(1.0 - (joint * chances).sum()),
    }
    if len(joint) == 2:
        found["auroc"] = _auroc(joint, chances[1])
    return found


def _auroc(joint: Floats, score: Floats) -> float:
    """Return p(score of the second class's item > of the first's) + half of p(equal)."""
    # Equal posteriors of different observations differ by rounding.
    _, level = np.unique(np.round(score, 12), return_inverse=True)
    wrong, right = (np.bincount(level.ravel(), weights=row) for row in joint)
    below = np.cumsum(wrong) - wrong
    return float((right * (below + wrong / 2)).sum() / (wrong.sum() * right.sum()))
