"""Verdicts: passed, regressed, inconclusive or missing, each with figures and a reason.

A verdict is a test of non-inferiority (`mmbench.stats.noninferiority`): passed where even the worst
that is credible is a loss within the margin, regressed where even the best is a larger one. The
interval is that of `mmbench.stats.crossed`: items paired, seeds of both sides on their own. Where
the policy plans looks, each takes its share of alpha (`mmbench.stats.group_sequential`), since
adding seeds until it passes would pass anything.

A candidate is mostly the reference with a change or two, so its seeds are taken to vary at least as
much as those of both sides together do: three seeds that happen to agree are no evidence, and early
looks, which ask for far tails, would be passed by them (tests/test_decisions.py: .095 of candidates
that are worse by the margin, at a level of .05, and .045 with this floor). A candidate with one
seed takes its spread from the reference: else any unlucky seed would be a regression. One seed on
both sides is about these weights.

Red verdicts are corrected for how many there could have been (Holm); green ones are not: all have
to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mmbench import compare, registry
from mmbench.compare import Side
from mmbench.errors import MmbenchError
from mmbench.gate.policy import ADVISORY, CRITICAL, Gate, Policy
from mmbench.gate.sides import Pair
from mmbench.scoring import alone, combine, difference
from mmbench.stats import components, group_sequential, noninferiority, power
from mmbench.stats.clusters import independent_units
from mmbench.stats.components import Components
from mmbench.stats.crossed import SEEDS_AND_ITEMS, Interval, satterthwaite
from mmbench.stats.holm import holm

if TYPE_CHECKING:
    from mmbench.metrics import Metric
    from mmbench.types import Floats

PASSED, REGRESSED, INCONCLUSIVE, MISSING = "passed", "regressed", "inconclusive", "missing"
REFERENCE, ANCHOR = "reference", "first anchor"
#: Exit codes.
FINE, FAILED, UNDECIDED, LACKING = 0, 1, 3, 4
#: What may be done about an inconclusive verdict.
FAIL, WARN, PASS = "fail", "warn", "pass"
#: Items named beside a regression.
_WORST = 3
_NAN = float("nan")


@dataclass(frozen=True)
class Verdict:
    """One model, task, split and metric.

    Attributes:
        task: The task.
        model: The model, as the reference calls it.
        candidate_model: The model that is held against it.
        split: The split.
        metric: The metric.
        tier: How much it counts.
        status: `PASSED`, `REGRESSED`, `INCONCLUSIVE` or `MISSING`.
        reason: Why.
        against: `REFERENCE` or `ANCHOR`.
        reference: The reference's score; NaN where there is none, as is all that follows.
        candidate: The candidate's.
        change: Candidate minus reference.
        low: Lower end of what is credible, one-sided at `alpha`.
        high: Upper end.
        margin: The loss that is accepted, in the metric's unit.
        p: One-sided p-value of "worse by less than the margin".
        adjusted: The same after Holm's correction.
        alpha: One-sided level of this look.
        detectable: The smallest margin that would be decided in four of five cases, if this is not.
        higher_is_better: The metric's direction.
        scope: What the interval is about.
        worst: Items on which the candidate lost most; where it regressed.
    """

    task: str
    model: str
    split: str
    metric: str
    tier: str
    status: str
    reason: str
    against: str = REFERENCE
    reference: float = _NAN
    candidate: float = _NAN
    change: float = _NAN
    low: float = _NAN
    high: float = _NAN
    margin: float = _NAN
    p: float = _NAN
    adjusted: float = _NAN
    alpha: float = _NAN
    detectable: float = _NAN
    higher_is_better: bool = True
    scope: str = ""
    worst: tuple[str, ...] = ()
    candidate_model: str = ""


@dataclass(frozen=True)
class Bits:
    """Whether seeds of the same number gave the same bits: "changed" is not "worse"."""

    task: str
    model: str
    same: int
    of: int

    @property
    def told(self) -> str:
        """Say it in words."""
        where = "/".join(dict.fromkeys((self.task, self.model)))
        if not self.of:
            return f"{where}: no seed of the same number to compare bit by bit"
        if self.same == self.of:
            return f"{where}: same bits as the reference"
        return f"{where}: changed: {self.of - self.same} of {self.of} seeds say something else"


@dataclass(frozen=True)
class Outcome:
    """What a gate says.

    Attributes:
        verdicts: In the order of the pairs.
        bits: For each pair.
        notes: What else is to be known.
        on_inconclusive: `FAIL`, `WARN` or `PASS`.
        alpha: One-sided level, over all looks.
    """

    verdicts: tuple[Verdict, ...]
    bits: tuple[Bits, ...] = ()
    notes: tuple[str, ...] = ()
    on_inconclusive: str = FAIL
    alpha: float = 0.05

    def of(self, status: str, *tiers: str) -> list[Verdict]:
        """Return the verdicts of a status, of these tiers or all."""
        return [v for v in self.verdicts if v.status == status and (not tiers or v.tier in tiers)]

    @property
    def exit_code(self) -> int:
        """1 for a regression that counts; 4 for a critical one missing; 3 for one undecided."""
        if [v for v in self.of(REGRESSED) if v.tier != ADVISORY]:
            return FAILED
        if self.of(MISSING, CRITICAL):
            return LACKING
        if self.of(INCONCLUSIVE, CRITICAL) and self.on_inconclusive == FAIL:
            return UNDECIDED
        return FINE


def judge(
    pairs: Sequence[Pair],
    policy: Policy,
    *,
    anchors: Sequence[Pair] = (),
    notes: Sequence[str] = (),
    on_inconclusive: str = FAIL,
) -> Outcome:
    """Judge all that the policy asks about.

    Args:
        pairs: Reference and candidate.
        policy: Margins, tiers and looks.
        anchors: The first anchor and the candidate, where the reference was promoted since:
            small losses, each within its margin, add up.
        notes: What else is to be known.
        on_inconclusive: `FAIL`, `WARN` or `PASS`.
    """
    found = []
    notes = list(notes)
    for against, group in ((REFERENCE, pairs), (ANCHOR, anchors)):
        for pair in group:
            asked = _asked(pair, policy)
            if not asked and against == REFERENCE:
                notes.append(f"{pair.task}/{pair.model}: the policy asks nothing about it")
            found += [replace(_verdict(pair, gate, policy), against=against) for gate in asked]
    found += [
        _unmatched(g) for g in policy.gates if not any(g.fits(p.task, p.model) for p in pairs)
    ]
    return Outcome(
        verdicts=tuple(_corrected(found, policy.alpha)),
        bits=tuple(Bits(p.task, p.model, *p.same) for p in pairs if not p.lacking),
        notes=tuple(notes),
        on_inconclusive=on_inconclusive,
        alpha=policy.alpha,
    )


def _asked(pair: Pair, policy: Policy) -> list[Gate]:
    """Return the gates that fit, the first of each metric and split."""
    found: dict[tuple[str, str], Gate] = {}
    for gate in policy.gates:
        if gate.fits(pair.task, pair.model):
            found.setdefault((gate.metric or pair.main, gate.split), gate)
    return list(found.values())


def _unmatched(gate: Gate) -> Verdict:
    return Verdict(
        task=gate.task or "(every task)",
        model=gate.model,
        split=gate.split,
        metric=gate.metric or "(main metric)",
        tier=gate.tier,
        status=MISSING,
        reason="the reference has nothing of this kind: check the names in the policy",
    )


def _verdict(pair: Pair, gate: Gate, policy: Policy) -> Verdict:
    """Judge one metric of a pair."""
    metric = gate.metric or pair.main
    made = Verdict(pair.task, pair.model, gate.split, metric, gate.tier, MISSING, "")
    if pair.candidates:
        made = replace(made, candidate_model=pair.candidates[0].record.model)
    if pair.lacking:
        # A candidate that cannot be trained where the reference can is worse, not absent.
        status = REGRESSED if pair.lacking == pair.diverged else MISSING
        return replace(made, status=status, reason=pair.lacking)
    if metric not in pair.metrics.get(gate.split, ()):
        has = ", ".join(pair.metrics.get(gate.split, ())) or f"no split {gate.split!r}"
        return replace(made, reason=f"the reference was not scored with it; it has: {has}")
    if gate.split not in pair.splits:
        return replace(made, reason=f"the candidate has no split {gate.split!r}")
    old, new = pair.splits[gate.split]
    try:
        compare.check(new, old, [metric])
        candidate, reference = (combine(metric, s.rows(metric), s.clusters) for s in (new, old))
    except MmbenchError as error:
        return replace(made, reason=str(error))
    margin = gate.loss(reference.value)
    made = replace(
        made,
        reference=reference.value,
        candidate=candidate.value,
        change=candidate.value - reference.value,
        margin=margin,
        higher_is_better=reference.higher_is_better,
        scope=compare.scope(new, old),
    )
    if pair.diverged:
        return replace(made, status=REGRESSED, reason=pair.diverged)
    if pair.unchanged:
        return replace(made, status=PASSED, reason="nothing has changed: the same bits")
    if reason := alone(len(new.ids), new.clusters):
        return replace(made, status=INCONCLUSIVE, reason=reason)
    return _judged(made, new, old, margin, policy)


def _judged(made: Verdict, new: Side, old: Side, margin: float, policy: Policy) -> Verdict:
    metric = registry.load("metric", made.metric)
    look = _look(new, old, metric, policy)
    if look.early:
        return replace(made, status=INCONCLUSIVE, reason=look.early)
    new = look.side
    found = difference(made.metric, new.rows(made.metric), old.rows(made.metric), new.clusters)
    found = _floored(found, look.floor)
    said = noninferiority.judge(
        found, margin, higher_is_better=metric.higher_is_better, alpha=look.alpha
    )
    sign = 1.0 if metric.higher_is_better else -1.0
    ends = sorted((sign * said.worst, sign * said.best))
    status = {
        noninferiority.PASSED: PASSED,
        noninferiority.FAILED: REGRESSED,
        noninferiority.INCONCLUSIVE: INCONCLUSIVE,
    }[said.status]
    reason = said.reason
    if status == INCONCLUSIVE:
        reason += _advice(found, margin, look)
    worst = compare.flips(new, old, made.metric, _WORST) if status == REGRESSED else []
    lost = [f.id for f in worst if f.change * sign < 0]
    own = combine(made.metric, new.rows(made.metric), new.clusters)
    return replace(
        made,
        status=status,
        reason=reason,
        candidate=own.value,
        change=found.value,
        low=ends[0],
        high=ends[1],
        p=said.p_fail,
        adjusted=said.p_fail,
        alpha=look.alpha,
        detectable=_detectable(look, found) if status == INCONCLUSIVE else _NAN,
        scope=(look.borrowed or compare.scope(new, old)) + look.told,
        worst=tuple(lost[:_WORST]),
    )


@dataclass(frozen=True)
class _Look:
    """One of the planned looks.

    Attributes:
        side: The candidate with the seeds of this look.
        alpha: One-sided level of this look.
        parts: Where the variance sits.
        ahead: The planned numbers of seeds after this one.
        early: Why it cannot be looked at yet.
        told: The look in words.
        borrowed: The scope where the candidate's one seed takes its variance from the reference.
        floor: What the variance of the difference is the sum of at least: (term, degrees of
            freedom) pairs.
    """

    side: Side
    alpha: float
    parts: Components
    ahead: tuple[int, ...] = ()
    early: str = ""
    told: str = ""
    borrowed: str = ""
    floor: tuple[tuple[float, float], ...] = ()


def _look(new: Side, old: Side, metric: Metric, policy: Policy) -> _Look:
    """Return the present look and its share of alpha."""
    plan = policy.seeds
    count = len(new.families)
    if plan and count > plan[-1]:
        # More seeds than were planned would be one look more than the level allows for.
        new = replace(new, families=new.families[: plan[-1]], members=new.members[: plan[-1]])
        count = plan[-1]
    a, b = new.values(metric), old.values(metric)
    parts = components.estimate_difference(a, b, new.clusters)
    floor = _floor(a, b, parts, new.clusters)
    borrowed = ""
    if count == 1 and len(b) > 1:
        seed, rest = parts.seed[1], parts.rest[1]
        parts = Components((seed, seed), max(0.0, parts.item - rest), (rest, rest))
        borrowed = (
            f"1+{len(b)} seeds x {len(new.ids):,} items; one training set; the candidate's seeds "
            f"are taken to vary as the reference's"
        )
    if not plan:
        return _Look(new, policy.alpha, parts, borrowed=borrowed, floor=floor)
    if count < plan[0]:
        early = f"the first look is planned at {plan[0]} seeds, the candidate has {count}"
        return _Look(new, policy.alpha, parts, early=early)
    looks = sorted({*plan, count})
    units = len(set(new.clusters)) if new.clusters is not None else len(new.ids)
    times = _times(parts, [(seeds, len(b)) for seeds in looks], units)
    place = looks.index(count)
    share = group_sequential.spent_boundaries(times, alpha=policy.alpha, sides=1).nominal[place]
    told = f"; look {place + 1} of {len(looks)}, level {share:.4f}"
    ahead = tuple(looks[place + 1 :])
    return _Look(new, max(share, 1e-12), parts, ahead, told=told, floor=floor)


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
    seed = ((len(a) - 1) * parts.seed[0] + (len(b) - 1) * parts.seed[1]) / df
    of_items = (float(paired.var(ddof=1)) / units, float(units - 1))
    return (of_items, (seed * (1 / len(a) + 1 / len(b)), float(df)))


def _floored(found: Interval, floor: Sequence[tuple[float, float]]) -> Interval:
    """Return a difference whose variance is not below the floor."""
    total = sum(term for term, _ in floor)
    if total <= found.se**2:
        return found
    return replace(found, se=total**0.5, df=satterthwaite(floor), scope=SEEDS_AND_ITEMS)


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


def _advice(found: Interval, margin: float, look: _Look) -> str:
    """Say what would settle it, with looks that keep the level."""
    if margin == 0:
        return "; with a margin of 0 no number of seeds or items shows that equal models are equal"
    if look.ahead:
        return f"; the next look is planned at {look.ahead[0]} seeds"
    offers = []
    seeds = _seeds(found, margin, look) if found.scope == SEEDS_AND_ITEMS else None
    if seeds is not None and seeds > min(found.seeds):
        offers.append(
            f"{seeds} seeds of each, looked at as planned by 'seeds = [{found.seeds[0]}, {seeds}]'"
        )
    items = power.items_needed(look.parts, found.seeds, margin, sides=1, alpha=look.alpha)
    if items is not None and items > found.items:
        offers.append(f"{items:,} items")
    if offers:
        return f"; if they are equal, {' or '.join(offers)} would settle it in 80 % of cases"
    if seeds is None and items is None:
        return "; neither more seeds nor more items alone would settle it: widen the margin or both"
    return "; if they were equal, so much would show it: they may differ by about the margin"


def _seeds(found: Interval, margin: float, look: _Look) -> int | None:
    """Return the seeds of each side that settle it at a second look of a group-sequential test."""
    level = look.alpha
    wanted = None
    for _ in range(3):  # the level of the last look depends on how far it is away
        wanted = power.seeds_needed(look.parts, found.items, margin, sides=1, alpha=level)
        if wanted is None or wanted <= found.seeds[0]:
            return wanted
        now = (found.seeds[0], found.seeds[-1])
        times = _times(look.parts, [now, (wanted, wanted)], found.items)
        level = group_sequential.spent_boundaries(times, alpha=look.alpha, sides=1).nominal[-1]
    return wanted


def _detectable(look: _Look, found: Interval) -> float:
    try:
        return power.detectable(
            look.parts, found.seeds, found.items, alpha=look.alpha, estimated=True
        ).margin
    except MmbenchError:
        return _NAN


def _corrected(found: Sequence[Verdict], alpha: float) -> list[Verdict]:
    """Correct what could turn red for how many could: those that count, and those that do not."""
    made = list(found)
    for counts in (True, False):
        family = [
            place for place, v in enumerate(made) if v.p == v.p and (v.tier != ADVISORY) == counts
        ]
        adjusted = holm([made[place].p for place in family]) if family else []
        for place, p in zip(family, adjusted, strict=True):
            v = replace(made[place], adjusted=p)
            # A look of several has a level of its own, below alpha: the p-value is held against it.
            if v.status == REGRESSED and p > min(alpha, v.alpha):
                reason = (
                    f"worse than the margin by itself (p {v.p:.3f}), but not among {len(family)} "
                    f"questions (Holm p {p:.3f})"
                )
                v = replace(v, status=INCONCLUSIVE, reason=reason, worst=())
            made[place] = v
    return made
