"""What tuning costs: the score to expect from the best of n trials.

A method tuned with more trials scores higher, whatever the method. A curve of the expected best
score against the number of trials makes budgets comparable (Dodge, Gururangan, Card, Schwartz &
Smith, Show Your Work, EMNLP 2019, arXiv:1909.03004).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.stats._checks import numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mmbench.types import Floats


def expected_best(
    scores: ArrayLike, *, higher_is_better: bool = True, replacement: bool = True
) -> Floats:
    """Return the expected best score of n trials, for n = 1 ... B.

    With the scores sorted, ``v_(1) <= ... <= v_(B)``, n trials drawn with replacement have the
    expected maximum ::

        E_n = sum_b v_(b) ((b / B)^n - ((b - 1) / B)^n)

    which is Dodge et al.'s, and too low, as trials drawn twice are lost: at n = B it does not
    reach the best score. Without replacement, weights ``(C(b, n) - C(b - 1, n)) / C(B, n)`` make
    it unbiased (Tang et al., Showing Your Work Doesn't Always Work, ACL 2020, arXiv:2004.13705).

    >>> expected_best([0.2, 0.6]).round(3).tolist()
    [0.4, 0.5]

    Args:
        scores: [B] validation scores of independent trials; a failed trial counts as the floor.
        higher_is_better: False for errors and losses: the expected minimum.
        replacement: Draw with replacement, as published.

    Returns:
        [B]: place n - 1 is for n trials.

    Raises:
        UsageError: No list of finite numbers.
    """
    sign = 1.0 if higher_is_better else -1.0
    ordered = np.sort(sign * numbers("scores", scores, "[trials]", 1))
    trials = np.arange(1.0, len(ordered) + 1)
    chances = _with_replacement(trials) if replacement else _without(trials)
    return np.asarray(sign * (np.diff(chances, axis=1, prepend=0.0) @ ordered))


def trials_needed(
    scores: ArrayLike, target: float, *, higher_is_better: bool = True, replacement: bool = True
) -> int | None:
    """Return the smallest n whose expected best score reaches `target`; None where no n <= B does.

    Args:
        scores: As in `expected_best`.
        target: The score to reach.
        higher_is_better: As in `expected_best`.
        replacement: As in `expected_best`.

    Raises:
        UsageError: No list of finite numbers, or a target that is none.
    """
    if not np.isfinite(target):
        raise UsageError(f"target must be a finite score, got {target}")
    best = expected_best(scores, higher_is_better=higher_is_better, replacement=replacement)
    reached = best >= target if higher_is_better else best <= target
    return int(np.argmax(reached)) + 1 if reached.any() else None


def _with_replacement(trials: Floats) -> Floats:
    """Return [n, b] the probability that all of n trials are among the b lowest."""
    return np.asarray((trials / len(trials)) ** trials[:, None])


def _without(trials: Floats) -> Floats:
    from scipy.special import gammaln

    n, b, total = trials[:, None], trials[None, :], len(trials)
    # log C(b, n) - log C(B, n), where there are n among b.
    fits = b >= n
    left = np.where(fits, b - n, 0)
    logs = gammaln(b + 1) - gammaln(left + 1) - gammaln(total + 1) + gammaln(total - n + 1)
    return np.where(fits, np.exp(logs), 0.0)
