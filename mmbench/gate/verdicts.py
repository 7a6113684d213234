"""Verdicts: passed, regressed, inconclusive or missing, each with figures and a reason.

A verdict is a test of non-inferiority (`mmbench.stats.noninferiority`): passed where even the worst
that is credible is a loss within the margin, regressed where even the best is a larger one. The
interval is that of `mmbench.stats.crossed`: items paired, seeds of both sides on their own. Where
the policy plans looks, each takes its share of alpha (`mmbench.stats.group_sequential`), since
adding seeds until it passes would pass anything (`mmbench.gate.looks`).

Red verdicts are corrected for how many there could have been (Holm); green ones are not: all have
to be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from mmbench import compare, registry
from mmbench.compare import Side
from mmbench.errors import MmbenchError
from mmbench.gate import looks
from mmbench.gate.policy import ADVISORY, CRITICAL, Gate, Policy
from mmbench.gate.sides import Pair
from mmbench.scoring import alone, combine
from mmbench.stats import noninferiority
from mmbench.stats.holm import holm

PASSED, REGRESSED, INCONCLUSIVE, MISSING = "passed", "regressed", "inconclusive", "missing"
REFERENCE, ANCHOR = "reference", "first anchor"
#: Exit codes.
FINE, FAILED, UNDECIDED, LACKING = 0, 1, 3, 4
#: What may be done about an inconclusive verdict.
FAIL, WARN, PASS = "fail", "warn", "pass"
_STATUS = {
    noninferiority.PASSED: PASSED,
    noninferiority.FAILED: REGRESSED,
    noninferiority.INCONCLUSIVE: INCONCLUSIVE,
}
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
        share: The same as it was asked for, where that was a share of the reference's score.
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
    share: str = ""


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
        if self.of == 1:
            return f"{where}: changed: it says something else than the reference"
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
    known: Collection[tuple[str, str]] = (),
) -> Outcome:
    """Judge all that the policy asks about.

    Args:
        pairs: Reference and candidate.
        policy: Margins, tiers and looks.
        anchors: The first anchor and the candidate, where the reference was promoted since:
            small losses, each within its margin, add up.
        notes: What else is to be known.
        on_inconclusive: `FAIL`, `WARN` or `PASS`.
        known: Task and model of all that the reference has, though it is not asked about now.
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
        _unmatched(gate)
        for gate in policy.gates
        if not any(gate.fits(*one) for one in (*known, *((p.task, p.model) for p in pairs)))
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
        share=gate.margin if isinstance(gate.margin, str) else "",
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
    if told := looks.early(new, policy):
        return replace(made, status=INCONCLUSIVE, reason=told)
    look = looks.at(new, old, metric, policy)
    found, said = look.tested(metric, margin)
    sign = 1.0 if metric.higher_is_better else -1.0
    ends = sorted((sign * said.worst, sign * said.best))
    undecided = said.status == noninferiority.INCONCLUSIVE
    lost: list[str] = []
    if said.status == noninferiority.FAILED:
        flips = compare.flips(look.new, old, made.metric, _WORST)
        lost = [flip.id for flip in flips if flip.change * sign < 0]
    own = combine(made.metric, look.new.rows(made.metric), look.new.clusters)
    return replace(
        made,
        status=_STATUS[said.status],
        reason=said.reason + (looks.advice(found, margin, look) if undecided else ""),
        candidate=own.value,
        change=found.value,
        low=ends[0],
        high=ends[1],
        p=said.p_fail,
        adjusted=said.p_fail,
        alpha=look.alpha,
        detectable=looks.detectable(look, found) if undecided else _NAN,
        scope=look.scope,
        worst=tuple(lost[:_WORST]),
    )


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
