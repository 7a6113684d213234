"""Has a regression crept in, somewhere along a history of commits? Experimental.

Every commit is compared with a frozen reference, and an alarm is to be raised soon after the score
has fallen by more than a margin, but hardly ever before. Testing each commit at 5 % alarms in
nearly every history of 200 commits that are all fine. The e-detector of Shin, Ramdas & Rinaldo
(NEJSDS 2023, arXiv:2203.03532), in its Shiryaev-Roberts form::

    y_t = -(difference_t + margin) / se_t         above 0 where the loss passes the margin
    M_t = mean over c of M_t(c),   M_t(c) = (M_{t-1}(c) + 1) exp(c y_t - c^2 / 2)

raises the alarm when ``M_t >= A``. As long as no commit is worse than the margin, ``M_t - t`` does
not rise on average, and so

    the average number of commits up to a false alarm is at least A,
    the probability of one among the first n is at most n / A,

whatever the differences are below the margin, and for any number of rates c. This needs errors that
are normal (or sub-Gaussian) given the past, with `se` as an upper bound, known before the commit
is scored: fresh seeds for each commit.

All commits are held against the same reference, and its error is part of every one of them: this
is what a fresh `se` leaves out. With `reference_se` the margin is widened by the upper bound of
that error; both guarantees then hold with probability ``1 - reference_alpha`` over references.
Without it they fail (tests/stats).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.stats._checks import at_least, fraction, numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mmbench.types import Floats

#: Sizes of the fall beyond the margin, in standard errors, for which the detector is quickest.
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Detection:
    """What the detector says of a history.

    Attributes:
        log_statistics: [T] ln M_t after each commit.
        alarm: Number of the first commit, from 0, at which M_t has reached the threshold; None
            where it never has. What lies behind an alarm is no longer covered by the guarantee:
            start a new history when it has been dealt with.
        threshold: A, the guaranteed average number of commits up to a false alarm.
        margin: The loss that is accepted, with what the reference's error adds to it.
    """

    log_statistics: Floats
    alarm: int | None
    threshold: float
    margin: float


def detect(
    differences: ArrayLike,
    se: ArrayLike,
    margin: float,
    *,
    higher_is_better: bool = True,
    threshold: float = 1000.0,
    rates: tuple[float, ...] = RATES,
    reference_se: float = 0.0,
    reference_alpha: float = 0.05,
) -> Detection:
    """Watch a history of commits.

    Args:
        differences: [T] commit minus reference, in the order of the commits.
        se: Upper bound of the standard error of a commit's own score: one number, or [T].
        margin: The loss that is accepted, at least 0, in the metric's unit.
        higher_is_better: The metric's direction.
        threshold: A, at least 1.
        rates: What the detector is made for, see `RATES`; each above 0.
        reference_se: Standard error of the reference's score, shared by all differences; 0 where
            the reference is a number that is known.
        reference_alpha: Probability that the reference's error is larger than allowed for.

    Raises:
        UsageError: An argument out of its range, or another number of standard errors.
    """
    from scipy.special import logsumexp, ndtri

    change = numbers("differences", differences, "[commits]", 1)
    spread = numbers("se", se, "one number, or [commits]", 0, 1)
    if (spread.ndim and spread.shape != change.shape) or not (spread > 0).all():
        raise UsageError("se must be above 0: one number, or one for each difference")
    at_least("margin", margin, 0)
    at_least("threshold", threshold, 1)
    if not rates or min(rates) <= 0:
        raise UsageError(f"rates must be above 0, at least one: {rates}")
    quantile = float(ndtri(1 - fraction("reference_alpha", reference_alpha)))
    margin += quantile * at_least("reference_se", reference_se, 0)

    loss = -change if higher_is_better else change
    y = (loss - margin) / spread
    c = np.array(rates)
    # The recursion unrolled: M_t = sum over i <= t of exp(step_i + ... + step_t).
    walk = np.cumsum(c * y[:, None] - c**2 / 2, axis=0)
    before = np.concatenate([np.zeros((1, len(c))), walk[:-1]])
    logs = logsumexp(walk + np.logaddexp.accumulate(-before, axis=0), axis=1) - np.log(len(c))
    passed = np.flatnonzero(logs >= np.log(threshold))
    return Detection(logs, int(passed[0]) if len(passed) else None, threshold, margin)
