"""Is the candidate worse by less than a margin? Passed, failed, or not decided.

The benefit is candidate minus reference, turned so that more is better. A loss up to the margin is
accepted, and the burden of proof lies with the candidate::

    passed        benefit - t se >= -margin    even the worst that is credible is acceptable
    failed        benefit + t se <  -margin    even the best that is credible is not
    inconclusive  otherwise                    the data do not decide

with t the ``1 - alpha`` quantile of the degrees of freedom of the interval (Piaggio et al., JAMA
2006; Wellek, Testing Statistical Hypotheses of Equivalence, 2010). Of candidates that are worse by
the margin exactly, a share alpha passes, and a share alpha fails.

"Not significantly worse" is something else: the less one measures, the more easily it is reached.
A margin too small for the data is not refused; the verdict is then inconclusive, and says how many
seeds or items would decide. Running more seeds until it does is optional stopping: use the levels
of `mmbench.stats.group_sequential` as `alpha` then.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmbench.stats._checks import at_least, fraction
from mmbench.stats.components import Components
from mmbench.stats.crossed import Interval
from mmbench.stats.power import items_needed, seeds_needed

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"


@dataclass(frozen=True)
class Verdict:
    """What the test says.

    Attributes:
        status: `PASSED`, `FAILED` or `INCONCLUSIVE`.
        reason: Why, in a sentence.
        benefit: Candidate minus reference, more is better.
        worst: The least benefit that is credible, one-sided.
        best: The largest.
        margin: The loss that is accepted.
        p_pass: One-sided p-value of "worse by the margin or more".
        p_fail: One-sided p-value of "worse by less than the margin"; what to correct with Holm
            where many verdicts may turn red.
        alpha: Level of both.
    """

    status: str
    reason: str
    benefit: float
    worst: float
    best: float
    margin: float
    p_pass: float
    p_fail: float
    alpha: float


def judge(
    difference: Interval,
    margin: float,
    *,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    components: Components | None = None,
) -> Verdict:
    """Judge a candidate.

    Args:
        difference: Candidate minus reference, from `mmbench.stats.crossed.difference`.
        margin: The loss that is accepted, at least 0, in the metric's unit.
        higher_is_better: The metric's direction.
        alpha: One-sided level, of passing and of failing wrongly.
        components: Where the variance sits, from `mmbench.stats.components.estimate_difference`:
            an inconclusive verdict then says what would decide.

    Raises:
        UsageError: A margin below 0, or an alpha outside (0, 1).
    """
    from scipy.special import stdtr, stdtrit

    at_least("margin", margin, 0)
    benefit = difference.value if higher_is_better else -difference.value
    half = float(stdtrit(difference.df, 1 - fraction("alpha", alpha))) * difference.se
    worst, best = benefit - half, benefit + half
    if difference.se:
        t = (benefit + margin) / difference.se
        p_pass, p_fail = float(stdtr(difference.df, -t)), float(stdtr(difference.df, t))
    else:
        p_pass, p_fail = float(benefit < -margin), float(benefit >= -margin)
    if worst >= -margin:
        status = PASSED
        reason = f"{_change(worst)} at worst; a loss of {margin:.4g} is accepted"
    elif best < -margin:
        status = FAILED
        reason = f"{_change(best)} at best; a loss of {margin:.4g} is accepted"
    else:
        status = INCONCLUSIVE
        reason = f"between {_change(worst)} and {_change(best)}; margin {margin:.4g}"
        reason += _advice(difference, margin, alpha, components)
    return Verdict(status, reason, benefit, worst, best, margin, p_pass, p_fail, alpha)


def _change(benefit: float) -> str:
    return f"a loss of {-benefit:.4g}" if benefit < 0 else f"a gain of {benefit:.4g}"


def _advice(
    difference: Interval, margin: float, alpha: float, components: Components | None
) -> str:
    """Say what would show equal models to be no worse, in four cases of five."""
    if components is None:
        return ""
    if margin == 0:
        return "; with a margin of 0 no number of seeds or items shows that equal models are equal"
    seeds = None
    if components.scope == Components.scope:
        seeds = seeds_needed(components, difference.items, margin, sides=1, alpha=alpha)
    items = items_needed(components, difference.seeds, margin, sides=1, alpha=alpha)
    offers = []
    if seeds is not None and seeds > min(difference.seeds):
        offers.append(f"{seeds} seeds of each")
    if items is not None and items > difference.items:
        offers.append(f"{items:,} items")
    if offers:
        return f"; if they are equal, {' or '.join(offers)} would show it in 80 % of cases"
    if seeds is None and items is None:
        return "; more seeds or more items alone would not show that equal models are equal"
    return "; so much would show that equal models are: they may differ by about the margin"
