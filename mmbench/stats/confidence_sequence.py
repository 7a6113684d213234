"""Intervals that hold at all looks at once: stop whenever you like, for whatever reason.

An interval of nominal 95 % covers at one look. A confidence sequence covers, with probability 95 %,
at every look there ever will be, so seeds may be added until a verdict falls, and stopping needs
no plan. The price is width: at its tightest about 3.0 standard errors, where one look takes 2.0.

Both kinds average the likelihood ratio over normal effects (Robbins, Annals of Mathematical
Statistics 1970): under the hypothesis that average is a nonnegative martingale that starts at 1,
and by Ville's inequality it ever reaches ``1 / alpha`` with probability alpha at most. The width
of the normal prior is free, but must be fixed before looking; it is set to
``-2 ln a + ln(-2 ln a) + 1`` squared standard errors of the place where the sequence is to be
tightest (Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics 2021, arXiv:1810.08240;
Waudby-Smith et al., arXiv:2103.06476).

- `of_seeds` is exact, for normal scores of seeds of unknown variance, on these items, and for
  stopping that depends on t statistics: their Bayes factor with a right-Haar prior on the scale
  (Lai 1976; Wang & Ramdas 2023, arXiv:2310.03722; Perez-Ortiz, Lardy, de Heide & Grunwald 2024,
  arXiv:2208.07610).
- `of_interval` speaks about seeds and items, from the estimate and its standard error at each
  look, as information grows; asymptotic, with the t quantile of the same probability in place of
  the normal one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmbench.errors import UsageError
from mmbench.stats._checks import at_least, fraction, numbers
from mmbench.stats.crossed import Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def of_seeds(scores: ArrayLike, *, tightest: int = 10, level: float = 0.95) -> tuple[float, float]:
    """Return the interval for the mean over all seeds, on these items, at this look.

    With n seeds, ``t = sqrt(n) (mean - m) / sd``, ``g`` the variance of the prior in units of the
    scores' variance and ``v = n - 1``, the interval holds those m for which ::

        (1 + n g)^(-1/2) ((1 + t^2 / v) / (1 + t^2 / (v (1 + n g))))^((v + 1) / 2) < 1 / alpha

    Args:
        scores: [n] scores of seeds, or differences of two models' s-th seeds, in the order in
            which they came; to be called at each look with all of them so far.
        tightest: The number of seeds at which the sequence is to be tightest, fixed in advance.
        level: Probability of covering at all looks.

    Returns:
        Both ends; infinite where the seeds are too few to bound anything.

    Raises:
        UsageError: Fewer than two seeds, or an argument out of its range.
    """
    x = numbers("scores", scores, "[seeds]", 1)
    seeds = at_least("the number of seeds", len(x), 2)
    grown = 1 + seeds * _prior(level) / at_least("tightest", tightest, 1)
    # The inequality solved for t^2 / v.
    ratio = (grown / (1 - level) ** 2) ** (1 / seeds)
    if ratio >= grown:
        return -math.inf, math.inf
    square = (ratio - 1) / (1 - ratio / grown)
    half = math.sqrt(square * (seeds - 1) / seeds) * float(x.std(ddof=1))
    return float(x.mean()) - half, float(x.mean()) + half


def of_interval(look: Interval, *, tightest: float) -> tuple[float, float]:
    """Return the interval at this look that holds at all looks, about seeds and items.

    With the information ``I = 1 / se^2`` and the prior variance g of the effect::

        |estimate - truth| < sqrt((1 + I g) / g (2 ln(1 / alpha) + ln(1 + I g))) / I

    Args:
        look: The estimate at this look, from `mmbench.stats.crossed`; its level is the level of
            the sequence.
        tightest: The standard error at which the sequence is to be tightest, fixed in advance:
            what the plan promises at its end (`mmbench.stats.components.design`).

    Returns:
        Both ends.

    Raises:
        UsageError: `tightest` is not above 0.
    """
    from scipy.special import ndtr, stdtrit

    if not (math.isfinite(tightest) and tightest > 0):
        raise UsageError(f"tightest must be a standard error above 0, got {tightest}")
    if look.se == 0:
        return look.value, look.value
    grown = 1 + _prior(look.level) * (tightest / look.se) ** 2
    bound = 2 * math.log(1 / (1 - look.level)) + math.log(grown)
    tail = float(ndtr(-math.sqrt(grown / (grown - 1) * bound)))
    half = -float(stdtrit(look.df, tail)) * look.se
    return look.value - half, look.value + half


def _prior(level: float) -> float:
    """Return the prior variance, over the squared standard error where it is tightest."""
    twice = -2 * math.log(1 - fraction("level", level))
    return twice + math.log(twice) + 1
