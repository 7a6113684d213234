"""The whole of a gate: find what belongs together, judge it, watch the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmbench.errors import NotComparableError, UsageError, refuse_unknown
from mmbench.folders import results_around
from mmbench.gate import history, promotion, sides, verdicts
from mmbench.gate.policy import Policy


@dataclass(frozen=True)
class Held:
    """What came of it.

    Attributes:
        outcome: The verdicts.
        pairs: What they are about.
        candidate: What was held against the reference.
        watched: The history, where one was asked for.
        problems: What could not be read.
    """

    outcome: verdicts.Outcome
    pairs: list[sides.Pair]
    candidate: str
    watched: list[history.Watched] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def hold(
    reference: str,
    candidate: str | None,
    policy: Policy,
    how: sides.Files,
    results: Path,
    commits: Sequence[Path] = (),
    on_inconclusive: str = verdicts.FAIL,
) -> Held:
    """Hold a candidate against a reference, and against its first anchor.

    Args:
        reference: A results folder, a record, a model, or a file of predictions.
        candidate: The same of what is new; None: the last of the commits.
        policy: What is asked.
        how: How files are read, and which tasks and models are meant.
        results: Where names of models and records are looked up.
        commits: What each commit scored, in order (`history.entries`).
        on_inconclusive: See `verdicts.Outcome`.

    Raises:
        UsageError: There is no candidate, or one of the two is a file and the other is not.
        NotComparableError: There is nothing to hold.
        StoreError: The book of promotions is damaged.
    """
    if candidate is None:
        if not commits:
            raise UsageError("--candidate: is missing: what is held against the reference?")
        candidate = str(commits[-1])
    place, problems = Path(reference), list[str]()
    told = promotion.recover(place)
    pairs, notes, known = _pairs(reference, candidate, how, results, problems)
    anchor = promotion.anchor_of(place)
    old: list[sides.Pair] = []
    if anchor.is_dir():
        old = promotion.anchored(place, pairs, problems)
    elif anchor.exists():
        old = [sides.of_files(str(anchor), candidate, how, problems)]
    outcome = verdicts.judge(
        pairs,
        policy,
        anchors=old,
        notes=[*([told] if told else []), *notes],
        on_inconclusive=on_inconclusive,
        known=known,
    )
    watched = []
    for name, against in ((reference, verdicts.REFERENCE), (str(anchor), verdicts.ANCHOR)):
        if commits and (against == verdicts.REFERENCE or anchor.exists()):
            watched += history.watch(name, commits, policy, how, results, against, problems)
    if commits and anchor.exists() and not any(w.against == verdicts.ANCHOR for w in watched):
        told = "the history is not held against the first anchor: its models are called otherwise"
        outcome = replace(outcome, notes=(*outcome.notes, told))
    return Held(outcome, pairs, candidate, watched, problems)


def _pairs(
    reference: str, candidate: str, how: sides.Files, results: Path, problems: list[str]
) -> tuple[list[sides.Pair], list[str], set[tuple[str, str]]]:
    kinds = [sides.is_file(name) for name in (reference, candidate)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"--candidate {candidate}: a file of predictions is held against another one, records "
            f"against records; 'mmbench score --save' makes a record of a file"
        )
    if kinds[0]:
        return [sides.of_files(reference, candidate, how, problems)], [], set()
    old = sides.members(reference, results, "--reference", problems)
    new = sides.members(candidate, results, "--candidate", problems)
    refuse_unknown("task", [*how.tasks], {s.record.task for s in old})
    refuse_unknown("model", [*how.models], {s.record.model for s in old})
    whole = sides.is_folder(candidate) and results_around(Path(candidate)) == Path(candidate)
    found, notes = sides.pairs(old, new, how.tasks, how.models, whole)
    if not found:
        raise NotComparableError(
            f"--candidate {candidate}: has nothing of what the reference has: "
            f"{', '.join(sorted({f'{s.record.task}/{s.record.model}' for s in old}))}"
        )
    return found, notes, {(s.record.task, s.record.model) for s in old}
