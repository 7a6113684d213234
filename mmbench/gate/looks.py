"""The looks of a gate: which seeds count at each, its level, the test, and what would settle it.

A candidate is mostly the reference with a change or two, so its seeds are taken to vary at least as
much as those of both sides together do: three seeds that happen to agree are no evidence, and early
looks, which ask for far tails, would be passed by them (tests/test_decisions.py: .095 of candidates
that are worse by the margin, at a level of .05, and .045 with this floor). A candidate with one
seed takes its spread from the reference: else any unlucky seed would be a regression. One seed on
both sides is about these weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mmbench import compare
from mmbench.compare import Side
from mmbench.errors import MmbenchError
from mmbench.gate.policy import Policy
from mmbench.scoring import difference
from mmbench.stats import components, group_sequential, noninferiority, power
from mmbench.stats.clusters import independent_units
from mmbench.stats.components import Components
from mmbench.stats.crossed import SEEDS_AND_ITEMS, Interval, satterthwaite

if TYPE_CHECKING:
    from mmbench.metrics import Metric
    from mmbench.types import Floats

_NAN = float("nan")


@dataclass(frozen=True)
class Look:
    """One of the planned looks, or the only one.

    Attributes:
        new: The candidate with the seeds of this look.
        old: The reference.
        alpha: One-sided level of this look.
        parts: Where the variance sits.
        scope: What the verdict is about, in words.
        floor: What the variance of the difference is the sum of at least: (term, degrees of
            freedom) pairs.
        planned: Whether the policy plans looks.
        ahead: The planned numbers of seeds after this one.
    """

    new: Side
    old: Side
    alpha: float
    parts: Components
    scope: str
    floor: tuple[tuple[float, float], ...] = ()
    planned: bool = False
    ahead: tuple[int, ...] = ()

    def tested(self, metric: Metric, margin: float) -> tuple[Interval, noninferiority.Verdict]:
        """Return candidate minus reference, and what the test of non-inferiority says of it."""
        new, old = self.new, self.old
        found = difference(metric.name, new.rows(metric.name), old.rows(metric.name), new.clusters)
        found = _floored(found, self.floor)
        better = metric.higher_is_better
        return found, noninferiority.judge(found, margin, higher_is_better=better, alpha=self.alpha)


def early(new: Side, policy: Policy) -> str:
    """Say why a candidate cannot be looked at yet; empty where it can."""
    count = len(new.families)
    if policy.seeds and count < policy.seeds[0]:
        return f"the first look is planned at {policy.seeds[0]} seeds, the candidate has {count}"
    return ""


def at(new: Side, old: Side, metric: Metric, policy: Policy) -> Look:
    """Return the present look and its share of alpha.

    Between two planned looks the seeds of the first of them count, and behind the last one those of
    the last: a look that was not planned is one more than the level allows for.
    """
    plan = policy.seeds
    if plan:
        count = max(seeds for seeds in plan if seeds <= len(new.families))
        new = replace(new, families=new.families[:count], members=new.members[:count])
    a, b = new.values(metric), old.values(metric)
    parts = components.estimate_difference(a, b, new.clusters)
    floor = _floor(a, b, parts, new.clusters)
    scope = compare.scope(new, old)
    if len(a) == 1 and len(b) > 1:
        seed, rest = parts.seed[1], parts.rest[1]
        parts = Components((seed, seed), max(0.0, parts.item - rest), (rest, rest))
        scope = (
            f"1+{len(b)} seeds x {len(new.ids):,} items; one training set; the candidate's seeds "
            f"are taken to vary as the reference's"
        )
    if not plan:
        return Look(new, old, policy.alpha, parts, scope, floor)
    units = len(set(new.clusters)) if new.clusters is not None else len(new.ids)
    times = _times(parts, [(seeds, len(b)) for seeds in plan], units)
    place = plan.index(len(a))
    share = group_sequential.spent_boundaries(times, alpha=policy.alpha, sides=1).nominal[place]
    scope += f"; look {place + 1} of {len(plan)}, level {share:.4f}"
    ahead = tuple(plan[place + 1 :])
    return Look(new, old, max(share, 1e-12), parts, scope, floor, True, ahead)


def _floor(
    a: Floats, b: Floats, parts: Components, clusters: Sequence[Any] | None
) -> tuple[tuple[float, float], ...]:
    """Return what items and the seeds of both sides together make of the variance.

    Args:
        a: [S_1, N] pseudo-values of the candidate.
        b: [S_2, N] of the reference.
        parts: Their components.
        clusters: [N] the unit of each item.
    """
    df = len(a) + len(b) - 2
    if df == 0:
        return ()  # one seed each: these weights
    paired = independent_units(a.mean(axis=0) - b.mean(axis=0), clusters)
    units = paired.shape[-1]
    of_items = (float(paired.var(ddof=1)) / units, float(units - 1))
    scale = 1 / len(a) + 1 / len(b)
    if 1 in (len(a), len(b)):
        # Few seeds of one side stand for both: as they differ, nothing taken off for items.
        known = a if len(b) == 1 else b
        return (of_items, (float(known.mean(axis=1).var(ddof=1)) * scale, float(df)))
    seed = ((len(a) - 1) * parts.seed[0] + (len(b) - 1) * parts.seed[1]) / df
    return (of_items, (seed * scale, float(df)))


def _floored(found: Interval, floor: Sequence[tuple[float, float]]) -> Interval:
    """Return a difference whose variance is not below the floor."""
    total = sum(term for term, _ in floor)
    if total <= found.se**2:
        return found
    df = satterthwaite(floor)
    if 1 in found.seeds:
        df = min(df, floor[-1][1])  # what is taken over is known no better than from those seeds
    return replace(found, se=total**0.5, df=df, scope=SEEDS_AND_ITEMS)


def _times(parts: Components, seeds: Sequence[tuple[int, int]], items: int) -> list[float]:
    """Return the information at each look; one that adds hardly any adds the least that counts."""
    try:
        found = list(group_sequential.information(parts, seeds, items))
    except MmbenchError:  # no variance at all
        found = [own / seeds[-1][0] for own, _ in seeds]
    step = 1.001e-3
    for place in range(len(found) - 2, -1, -1):
        found[place] = min(found[place], found[place + 1] - step)
    return found


def advice(found: Interval, margin: float, look: Look) -> str:
    """Say what would settle it.

    Seeds are added at a look that has to be planned. A look without a plan has spent the level on
    this candidate, so the plan is for the next one.
    """
    if margin == 0:
        return "; with a margin of 0 no number of seeds or items shows that equal models are equal"
    if look.ahead:
        return f"; the next look is planned at {look.ahead[0]} seeds"
    offers = []
    seeds = _seeds(found, margin, look) if found.scope == SEEDS_AND_ITEMS else None
    if seeds is not None and seeds > min(found.seeds):
        now = found.seeds[0]
        plan = [now, seeds] if 1 < now < seeds else [max(seeds, 2)]
        offers.append(f"{seeds} seeds of each, 'seeds = {plan}' in the policy,")
    items = power.items_needed(look.parts, found.seeds, margin, sides=1, alpha=look.alpha)
    if items is not None and items > found.items:
        offers.append(f"{items:,} items")
    if offers:
        told = f"; of equal models, {' or '.join(offers)} would settle 80 % of cases"
        spent = "the last look is spent" if look.planned else "this look has spent its level"
        return f"{told}: {spent}, so plan it for the next candidate"
    if seeds is None and items is None:
        return "; neither more seeds nor more items alone would settle it: widen the margin or both"
    return "; if they were equal, so much would show it: they may differ by about the margin"


def _seeds(found: Interval, margin: float, look: Look) -> int | None:
    """Return the seeds of each side that settle it at the second of two planned looks."""
    level = look.alpha
    wanted = None
    for _ in range(3):  # the level of the last look depends on how far it is away
        wanted = power.seeds_needed(look.parts, found.items, margin, sides=1, alpha=level)
        if wanted is None or wanted <= found.seeds[0]:
            return wanted
        now = (found.seeds[0], found.seeds[-1])
        if now[0] < 2:
            return wanted
        times = _times(look.parts, [now, (wanted, wanted)], found.items)
        level = group_sequential.spent_boundaries(times, alpha=look.alpha, sides=1).nominal[-1]
    return wanted


def detectable(look: Look, found: Interval) -> float:
    """Return the smallest margin that would be decided in four of five cases."""
    try:
        return power.detectable(
            look.parts, found.seeds, found.items, alpha=look.alpha, estimated=True
        ).margin
    except MmbenchError:
        return _NAN
