"""Has something crept in over many commits? Experimental: `mmbench.stats.detector`.

A folder holds what each commit scored, in the order of the names of its entries: results folders,
or files of predictions. All are held against one reference, and against the first anchor where the
reference was promoted since. Its error is shared by all of them, and so is that of the items, which
are the same for all; only the commits' seeds are fresh. So the margin is widened by the error that
is shared, and the detector is given the one that is not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmbench import compare, registry, store
from mmbench.errors import MmbenchError, NotComparableError
from mmbench.gate import sides
from mmbench.gate.policy import Gate, Policy
from mmbench.gate.sides import Pair
from mmbench.gate.verdicts import REFERENCE
from mmbench.scoring import alone, combine, difference
from mmbench.stats import detector
from mmbench.stats.clusters import independent_units
from mmbench.types import Floats

#: Fewer commits tell nothing.
LEAST = 3


@dataclass(frozen=True)
class Watched:
    """One metric of one model along the commits.

    Attributes:
        task: The task.
        model: The model, as the reference calls it.
        split: The split.
        metric: The metric.
        tier: How much it counts.
        against: `REFERENCE` or the first anchor.
        commits: Names of those that could be held against it.
        changes: Commit minus reference.
        evidence: ln of the detector's statistic after each.
        threshold: ln of the value that raises the alarm.
        alarm: The commit at which it was raised; empty where it never was.
        margin: The loss that is accepted, with what the shared error adds.
        left_out: Commits that could not be held against it, with the reason.
    """

    task: str
    model: str
    split: str
    metric: str
    tier: str
    against: str
    commits: tuple[str, ...]
    changes: tuple[float, ...]
    evidence: tuple[float, ...]
    threshold: float
    alarm: str
    margin: float
    left_out: tuple[str, ...] = ()


def entries(folder: Path) -> list[Path]:
    """Return the commits of a folder, in the order of their names; numbers count as numbers.

    Raises:
        NotComparableError: There are too few.
    """
    try:
        found = [p for p in folder.iterdir() if not p.name.startswith(".")]
    except OSError as error:
        raise NotComparableError(f"--history {folder}: {error.strerror}") from None
    kept = [
        p for p in found if p.is_dir() or (sides.is_file(p.name) and ".promotions." not in p.name)
    ]
    if len(kept) < LEAST:
        raise NotComparableError(
            f"--history {folder}: holds {len(kept)} commits, expected {LEAST} at least: a results "
            f"folder or a file of predictions each, in the order of their names"
        )
    return sorted(kept, key=_natural)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts if p]


def watch(
    reference: str,
    commits: Sequence[Path],
    policy: Policy,
    how: sides.Files,
    results: Path,
    against: str = REFERENCE,
    problems: list[str] | None = None,
) -> list[Watched]:
    """Hold all commits against one reference.

    Args:
        reference: As for the gate.
        commits: As `entries` returns them.
        policy: What is asked; looks do not matter here.
        how: How files are read.
        results: Where names of records are looked up.
        against: What the reference is called.
        problems: Takes what could not be read.
    """
    problems = [] if problems is None else problems
    held: list[tuple[str, list[Pair]]] = []
    left: list[str] = []
    for commit in commits:
        try:
            held.append((commit.name, _pairs(reference, commit, how, results, problems)))
        except MmbenchError as error:
            left.append(f"{commit.name}: {error}")
    seen: dict[tuple[str, str], list[tuple[str, Pair]]] = {}
    for name, pairs in held:
        for pair in pairs:
            task_model = (pair.task, "" if sides.is_file(reference) else pair.model)
            seen.setdefault(task_model, []).append((name, pair))
    found = []
    for (task, model), along in seen.items():
        done: set[tuple[str, str]] = set()
        for gate in policy.gates:
            metric = gate.metric or along[0][1].main
            if gate.fits(task, model) and (metric, gate.split) not in done:
                done.add((metric, gate.split))
                found.append(_watched(task, model, gate, metric, along, left, against))
    return [one for one in found if one is not None]


def _pairs(
    reference: str, commit: Path, how: sides.Files, results: Path, problems: list[str]
) -> list[Pair]:
    if sides.is_file(reference):
        return [sides.of_files(reference, str(commit), how, problems)]
    old = sides.members(reference, results, "--reference", problems)
    new, unreadable = store.scan(commit)
    problems += unreadable
    return sides.pairs(old, new, how.tasks, how.models)[0]


def _watched(
    task: str,
    model: str,
    gate: Gate,
    metric: str,
    along: Sequence[tuple[str, Pair]],
    left: Sequence[str],
    against: str,
) -> Watched | None:
    loaded = registry.load("metric", metric)
    left = list(left)
    names, changes, fresh, shared, margin = [], [], [], 0.0, 0.0
    for name, pair in along:
        if pair.lacking or gate.split not in pair.splits:
            left.append(f"{name}: {pair.lacking or f'no split {gate.split!r}'}")
            continue
        old, new = pair.splits[gate.split]
        try:
            compare.check(new, old, [metric])
            reference = combine(metric, old.rows(metric), old.clusters)
        except MmbenchError as error:
            left.append(f"{name}: {error}")
            continue
        if reason := alone(len(new.ids), new.clusters):
            left.append(f"{name}: {reason}")
            continue
        margin = gate.loss(reference.value)
        a, b = new.values(loaded), old.values(loaded)
        found = difference(metric, new.rows(metric), old.rows(metric), new.clusters)
        own = _seed_error(independent_units(a, new.clusters))
        names.append(name)
        changes.append(found.value)
        # Weights without seeds have no fresh error that could be measured: all of it counts twice.
        fresh.append(own or found.se or 1e-12)
        rest = found.se**2 - own**2 if own else found.se**2
        shared = max(shared, max(rest, _seed_error(independent_units(b, old.clusters)) ** 2) ** 0.5)
    if len(names) < LEAST:
        return None
    said = detector.detect(
        changes,
        np.array(fresh),
        margin,
        higher_is_better=loaded.higher_is_better,
        reference_se=shared,
    )
    return Watched(
        task=task,
        model=model,
        split=gate.split,
        metric=metric,
        tier=gate.tier,
        against=against,
        commits=tuple(names),
        changes=tuple(changes),
        evidence=tuple(float(x) for x in said.log_statistics),
        threshold=float(np.log(said.threshold)),
        alarm="" if said.alarm is None else names[said.alarm],
        margin=said.margin,
        left_out=tuple(left),
    )


def _seed_error(values: Floats) -> float:
    """Return the standard error of a mean over seeds, on these items; 0 where there is one."""
    if len(values) < 2:
        return 0.0
    return float(values.mean(axis=1).std(ddof=1) / len(values) ** 0.5)
