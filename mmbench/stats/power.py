"""What a design could detect, and how many seeds or items would settle a question.

The test is that of `mmbench.stats.crossed`: estimate over standard error, against a t distribution
with Satterthwaite's degrees of freedom. Its power is computed for that test as it is, with a
standard error and degrees of freedom that are estimated anew each time and a floor at the variance
of items. For normal effects the mean squares are independent of the estimate, so that ::

    power = E Phi(distance / se - t_DF(1 - alpha / sides) SE / se)

over the chi-squared distributions of the mean squares (capitals: as estimated). With one seed
this is the noncentral t distribution. Normal quantiles in place of this promise too much: with
three seeds, an effect said to be found in 80 % of cases would be found in 46-77 %, least often
where seeds differ more than items do.

Variances that were estimated from as few seeds are known no better than the standard error is:
three seeds that happen to agree would print an effect that other seeds find in half of the cases.
Where it is told so (`estimated`), the effect that is printed is found in 80 % of cases on average
over what might have been estimated::

    power = E Phi(distance / se * SE' / se - t_DF(1 - alpha / sides) SE / se)

with SE' the standard error as the plan's own mean squares might have come out.

Two questions have two distances. *Superiority* ("is there a difference?", two-sided): the distance
is the true difference; the smallest one that is found is the minimum detectable effect. *Non-
inferiority* ("is it worse by less than the margin?", one-sided): the distance is the margin plus
the true difference; the smallest margin that can be shown is that of models that are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.stats._checks import at_least, fraction, one_or_two_sides
from mmbench.stats.components import Components, Design, design

if TYPE_CHECKING:
    from mmbench.types import Floats

#: Seeds and items that are tried at most.
MOST_SEEDS, MOST_ITEMS = 1000, 10**9
#: Points at which the mean squares are tried.
_POINTS = 2048


@dataclass(frozen=True)
class Detectable:
    """What a design can tell, in the score's unit.

    Attributes:
        difference: The smallest true difference that is found (two-sided) with the power asked for.
        margin: The smallest margin by which equal models are shown to be no worse (one-sided).
        se: Standard error to expect.
        df: Its degrees of freedom.
        scope: As in `Components`.
    """

    difference: float
    margin: float
    se: float
    df: float
    scope: str


def detectable(
    components: Components,
    seeds: int | tuple[int, ...],
    items: int,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    estimated: bool = False,
) -> Detectable:
    """Return the minimum detectable effect of a design, for both questions.

    Args:
        components: Where the variance sits.
        seeds: Of each model; one number for all.
        items: Items or clusters.
        alpha: Level: of the two-sided test of superiority, of the one-sided test of
            non-inferiority.
        power: Probability of finding it.
        estimated: Whether the components are an estimate from seeds and items as many as these.

    Raises:
        UsageError: A number out of its range.
    """
    plan = design(components, seeds, items)
    difference, margin = (_distance(plan, sides, alpha, power, estimated) for sides in (2, 1))
    return Detectable(difference, margin, plan.se, plan.df, components.scope)


def power_of(
    components: Components,
    seeds: int | tuple[int, ...],
    items: int,
    distance: float,
    *,
    sides: int = 2,
    alpha: float = 0.05,
) -> float:
    """Return the probability that a design settles a question.

    Args:
        components: Where the variance sits.
        seeds: Of each model; one number for all.
        items: Items or clusters.
        distance: From the hypothesis: the true difference, or the margin plus the true difference;
            at least 0.
        sides: 2 for superiority, 1 for non-inferiority.
        alpha: Level of the test.

    Raises:
        UsageError: A number out of its range.
    """
    plan = design(components, seeds, items)
    return _power(plan, at_least("distance", distance, 0), one_or_two_sides(sides), alpha)


def seeds_needed(
    components: Components,
    items: int,
    distance: float,
    *,
    sides: int = 2,
    alpha: float = 0.05,
    power: float = 0.8,
) -> int | None:
    """Return how many seeds of each model settle a question on these items.

    Args:
        components: Where the variance sits.
        items: Items or clusters that there are.
        distance: As in `power_of`, above 0.
        sides: As in `power_of`.
        alpha: As in `power_of`.
        power: Probability of settling it.

    Returns:
        At least 2; None where 1,000 do not suffice: the items are too few then.

    Raises:
        UsageError: A number out of its range, or the seed variance is not known.
    """
    if components.scope != Components.scope:
        raise UsageError("how many seeds are needed cannot be told from one seed: run two or more")

    def enough(seeds: int) -> bool:
        return _settles(design(components, seeds, items), distance, sides, alpha, power)

    return _smallest(enough, 2, MOST_SEEDS)


def items_needed(
    components: Components,
    seeds: int | tuple[int, ...],
    distance: float,
    *,
    sides: int = 2,
    alpha: float = 0.05,
    power: float = 0.8,
) -> int | None:
    """Return how many items (or clusters) settle a question with these seeds.

    Args:
        components: Where the variance sits.
        seeds: Of each model; one number for all.
        distance: As in `power_of`, above 0.
        sides: As in `power_of`.
        alpha: As in `power_of`.
        power: Probability of settling it.

    Returns:
        At least 2; None where a milliard does not suffice: the seeds are too few then.

    Raises:
        UsageError: A number out of its range.
    """

    def enough(items: int) -> bool:
        return _settles(design(components, seeds, items), distance, sides, alpha, power)

    return _smallest(enough, 2, MOST_ITEMS)


def _settles(plan: Design, distance: float, sides: int, alpha: float, power: float) -> bool:
    if not distance > 0:
        raise UsageError(f"distance must be above 0, got {distance}: no design settles a tie")
    return _power(plan, distance, one_or_two_sides(sides), alpha) >= fraction("power", power)


def _power(plan: Design, distance: float, sides: int, alpha: float) -> float:
    if plan.se == 0:
        return 1.0 if distance > 0 else alpha
    return _passing(
        _limits(plan, _mean_squares(_dfs(plan)), sides, alpha), distance / plan.se, sides
    )


def _passing(limits: Floats, shift: float | Floats, sides: int) -> float:
    from scipy.special import ndtr

    found = ndtr(shift - limits).mean()
    return float(found + ndtr(-shift - limits).mean() if sides == 2 else found)


def _dfs(plan: Design) -> tuple[float, ...]:
    return tuple(float(df) for _, df in plan.terms)


@lru_cache(maxsize=16)  # the metrics of one comparison have the same seeds and items
def _mean_squares(df: tuple[float, ...]) -> Floats:
    """Return mean squares of expectation 1 as they may come out [n, terms]."""
    from scipy.special import gammaincinv

    degrees = np.array(df)
    return np.asarray(2 * gammaincinv(degrees / 2, _even(len(df))) / degrees)


def _squares(plan: Design, drawn: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the terms as they may come out [n, terms], their sum, and it floored at the items'."""
    terms = drawn * np.array([expected for expected, _ in plan.terms])
    total = terms.sum(axis=1)
    return terms, total, np.maximum(total, terms[:, 0])


def _limits(plan: Design, drawn: Floats, sides: int, alpha: float) -> Floats:
    """Return what the estimate has to pass, in true standard errors, as the mean squares vary."""
    from scipy.special import stdtrit

    df = np.array(plan.terms)[:, 1]
    terms, total, variance = _squares(plan, drawn)
    spread = (terms**2 / df).sum(axis=1)
    floored = total <= terms[:, 0]
    quantile = 1 - fraction("alpha", alpha) / sides
    summed = np.maximum(total**2 / spread, df.min())  # as `crossed.satterthwaite`
    limits = stdtrit(np.where(floored, df[0], summed), quantile)
    return np.asarray(limits * np.sqrt(variance) / plan.se)


def _even(width: int) -> Floats:
    """Return [n, width] points that fill the unit cube evenly, the same every time.

    Multiples of the inverse powers of the root of ``x^(d + 1) = x + 1``, a generalised golden
    ratio (Roberts, The Unreasonable Effectiveness of Quasirandom Sequences, 2018).
    """
    root = 1.5
    for _ in range(60):
        root = (1 + root) ** (1 / (width + 1))
    steps = root ** -np.arange(1.0, width + 1)
    return np.asarray((0.5 + np.arange(1, _POINTS + 1)[:, None] * steps) % 1.0)


def _distance(plan: Design, sides: int, alpha: float, power: float, estimated: bool) -> float:
    """Return the distance at which the test has the power."""
    from scipy.optimize import brentq

    if fraction("power", power) <= fraction("alpha", alpha):
        raise UsageError(f"power must be above alpha, {alpha}: got {power}")
    if plan.se == 0:
        return 0.0
    terms = len(plan.terms)
    drawn = _mean_squares(_dfs(plan) * (2 if estimated else 1))
    limits = _limits(plan, drawn[:, :terms], sides, alpha)
    told = _squares(plan, drawn[:, terms:])[2] ** 0.5 / plan.se if estimated else 1.0

    def lack(shift: float) -> float:
        return _passing(limits, shift * told, sides) - power

    upper = 4.0
    while lack(upper) < 0:
        upper *= 2
    return float(brentq(lack, 0.0, upper, xtol=1e-9)) * plan.se


def _smallest(enough: Callable[[int], bool], least: int, most: int) -> int | None:
    """Return the smallest number that is enough, if those above it are too."""
    low, high = least - 1, least
    while not enough(high):
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
