"""Redundant, unique and synergistic information of two sources about a target.

Bertschinger, Rauh, Olbrich, Jost & Ay, "Quantifying unique information" (Entropy 2014): among all
laws Q of (Y, X1, X2) with P's margins of (Y, X1) and of (Y, X2), take the one whose sources
together say least of the target. What P's say beyond that is synergy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmbench.data.interactions.structures import Floats

# Rounds at most, and rounds of one projection.
_ROUNDS = 5000
_PROJECTIONS = 500
# The longest step, and what is left of a cell at least, so that none is lost to underflow.
_LONGEST = 32.0
_LEAST = 1e-100


@dataclass(frozen=True)
class Parts:
    """What two sources say of a target, in bits; the four add up to I(X1 X2; Y).

    Attributes:
        redundant: Both say it.
        first: Only the first says it.
        second: Only the second says it.
        synergy: Only both together say it.
        gap: By how much `synergy` may be too small, and so may `redundant`; `first` and `second`
            too large: the duality gap at which the search stopped.
    """

    redundant: float
    first: float
    second: float
    synergy: float
    gap: float


def decompose(table: Floats, tolerance: float = 1e-4) -> Parts:
    """Decompose the information of two sources.

    Args:
        table: [Y, X1, X2], p(y, x1, x2); it sums to 1.
        tolerance: The gap in bits at which to stop.

    Raises:
        ValueError: It is no law of three variables.

    Examples:
        >>> exclusive_or = np.array([[[0.25, 0], [0, 0.25]], [[0, 0.25], [0.25, 0]]])
        >>> round(decompose(exclusive_or).synergy, 3)
        1.0
    """
    if table.ndim != 3 or (table < 0).any() or abs(table.sum() - 1.0) > 1e-9:
        raise ValueError(f"expected p(y, x1, x2) that sums to 1, got the shape {table.shape}")
    both = information(table.reshape(len(table), -1))
    one, two = information(table.sum(axis=2)), information(table.sum(axis=1))
    law, gap = least_informative(table, tolerance)
    least = information(law.reshape(len(law), -1))
    return Parts(one + two - least, least - two, least - one, both - least, gap)


def information(joint: Floats) -> float:
    """Return I(Y; X) in bits of a table [Y, X]."""
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log2(joint[there] / product[there])).sum())


def least_informative(table: Floats, tolerance: float) -> tuple[Floats, float]:
    """Return the law Q with P's margins (Y, X1) and (Y, X2) and the least I(X1 X2; Y), and the gap.

    ``I_Q = min_R sum_y p(y) KL(Q(. | y) || R)`` is convex in Q and R together, so both can be
    improved in turn (Csiszar & Tusnady 1984): R is the mean of the Q(. | y), and Q(. | y) is the
    projection of R onto the margins, by scaling rows and columns in turn (Sinkhorn). Here longer
    steps from Q past R, ``Q^(1-h) R^h``, are taken while they lower I_Q; h = 1 always does. Every
    so often a linear programme bounds how much there is left (Frank & Wolfe 1956).
    """
    rows, columns = table.sum(axis=2, keepdims=True), table.sum(axis=1, keepdims=True)
    label = np.maximum(table.sum(axis=(1, 2), keepdims=True), np.finfo(float).tiny)
    law = rows * columns / label  # given y, the sources are independent
    value, step, gap, look = _conditional(law), 1.0, np.inf, 8
    for turn in range(1, _ROUNDS + 1):
        tried = _projected(_stepped(law, step), rows, columns)
        score = _conditional(tried)
        if step > 1.0 and score > value:
            step = max(1.0, step / 4)
            continue
        law, value, step = tried, score, min(step * 1.5, _LONGEST)
        if turn >= look:
            look = int(look * 1.5)
            gap = _gap(law, rows, columns)
            if gap < tolerance:
                break
    return law, gap


def _conditional(law: Floats) -> float:
    """Return -H(Y | X1 X2) in bits."""
    there = law > 0
    chances = _ratio(law, np.broadcast_to(law.sum(axis=0), law.shape))
    return float((law[there] * np.log2(chances[there])).sum())


def _stepped(law: Floats, step: float) -> Floats:
    """Return, for each y, ``Q^(1-h) R^h``, scaled; 0 where Q is."""
    mean = np.broadcast_to(law.sum(axis=0), law.shape)
    there = law > 0
    log = np.full(law.shape, -np.inf)
    log[there] = (1.0 - step) * np.log(law[there]) + step * np.log(mean[there])
    top = log.max(axis=(1, 2), keepdims=True)
    scaled = np.exp(log - np.where(np.isfinite(top), top, 0.0))
    return np.where(there, np.maximum(scaled, _LEAST), 0.0)


def _projected(law: Floats, rows: Floats, columns: Floats) -> Floats:
    """Scale the rows and columns of each y [X1, X2] until they have the margins."""
    for _ in range(_PROJECTIONS):
        law = law * _ratio(rows, law.sum(axis=2, keepdims=True))
        sums = law.sum(axis=1, keepdims=True)
        law = law * _ratio(columns, sums)
        if np.abs(sums - columns).max() < 1e-12:
            break
    return law


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.asarray(np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0))


def _gap(law: Floats, rows: Floats, columns: Floats) -> float:
    """Return a bound in bits on I_Q less the least: that of the linear function that touches it.

    The slope of I_Q by Q(y, x) is ``log2 Q(y | x)``; over the laws of each y with given margins a
    linear function is least at a transport plan.
    """
    from scipy.optimize import linprog

    chances = _ratio(law, np.broadcast_to(law.sum(axis=0), law.shape))
    slope = np.log2(np.maximum(chances, 1e-300))
    left = float((law * slope).sum())
    first, second = law.shape[1:]
    margins = np.vstack(
        [np.kron(np.eye(first), np.ones(second)), np.kron(np.ones(first), np.eye(second))]
    )
    for cost, row, column in zip(slope, rows, columns, strict=True):
        want = np.concatenate([row.ravel(), column.ravel()])
        # The last equation follows from the others; with it, rounding could contradict them.
        plan = linprog(cost.ravel(), A_eq=margins[:-1], b_eq=want[:-1], method="highs")
        left -= float(plan.fun)
    return max(0.0, left)
