"""Plackett-Luce strengths: one picture of many rankings. Never a decision.

A ranking is drawn by choosing the best of all, then the best of the rest, and so on, each with a
probability in proportion to its strength (Luce 1959; Plackett, Applied Statistics 1975)::

    P(s_1, ..., s_k) = prod_i lambda_(s_i) / sum_{j >= i} lambda_(s_j)

The strengths are those that make the rankings seen likeliest, found by Hunter's MM algorithm
(Annals of Statistics 2004), which never makes them less likely. A method that is always first
would be infinitely strong; so each has met, besides, a method of strength 1, and has won and lost
`prior` times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import MmbenchError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats

#: Steps of the algorithm at most, and the relative change at which it ends.
_STEPS, _ENOUGH = 100_000, 1e-10


def plackett_luce(rankings: Sequence[Sequence[int]], methods: int, *, prior: float = 0.5) -> Floats:
    """Return the strengths of methods from rankings of them.

    Args:
        rankings: Each lists methods by number, best first, without ties; it may leave some out.
        methods: k, their number.
        prior: Wins and losses against a method of strength 1, above 0.

    Returns:
        [k] strengths that add up to 1: the probability of each to be first among all.

    Raises:
        UsageError: A ranking is empty, names a method twice or one that there is not, or `prior`
            is not positive.
        MmbenchError: The algorithm has not ended after 100,000 steps.
    """
    if not (np.isfinite(prior) and prior > 0):
        raise UsageError(f"prior must be above 0, got {prior}")
    table, times = _table(rankings, methods)
    there = table < methods
    # A stage is won where another method is left behind it.
    stage = there[:, 1:] * times[:, None]
    wins = prior + np.bincount(table[:, :-1].ravel(), stage.ravel(), methods + 1)[:methods]
    strengths = np.ones(methods)
    for _ in range(_STEPS):
        of_all = np.append(strengths, 0.0)[table]
        left = np.cumsum(of_all[:, ::-1], axis=1)[:, ::-1][:, :-1]
        rates = np.divide(stage, left, out=np.zeros_like(left), where=stage > 0)
        # A method takes part in every stage up to the one that it wins; the last one, in all.
        met = np.cumsum(rates, axis=1)
        met = np.concatenate([met, met[:, -1:]], axis=1)
        # Against the method of strength 1 each has met 2 * prior times.
        chances = 2 * prior / (strengths + 1)
        chances = chances + np.bincount(table.ravel(), met.ravel(), methods + 1)[:methods]
        last, strengths = strengths, wins / chances
        share: Floats = strengths / strengths.sum()
        if np.abs(share / (last / last.sum()) - 1).max() < _ENOUGH:
            return share
    raise MmbenchError(
        f"the strengths have not settled after {_STEPS} steps: raise prior ({prior})"
    )


def _table(rankings: Sequence[Sequence[int]], methods: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the different rankings [R, L], filled up with `methods`, and how often each is."""
    often = Counter(_checked(ranking, methods) for ranking in rankings)
    length = max((len(ranking) for ranking in often), default=0)
    # One column more than any ranking needs: each has an end.
    table = np.full((len(often), length + 1), methods, dtype=np.int64)
    for row, ranking in enumerate(often):
        table[row, : len(ranking)] = ranking
    return table, np.array(list(often.values()), dtype=np.float64)


def _checked(ranking: Sequence[int], methods: int) -> tuple[int, ...]:
    found = tuple(int(method) for method in ranking)
    if not found or len(set(found)) != len(found):
        raise UsageError(f"expected a ranking to name methods, each once: {list(ranking)}")
    if min(found) < 0 or max(found) >= methods:
        raise UsageError(f"expected methods 0 to {methods - 1} in a ranking: {list(ranking)}")
    return found
