"""What is held against what: records of two folders or of two models, or two files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmbench import catalog, store, versus
from mmbench.compare import Side
from mmbench.errors import MmbenchError, NotComparableError, UsageError
from mmbench.paired import task_of


@dataclass(frozen=True)
class Pair:
    """A model on a task: the reference's seeds, and the candidate's.

    Attributes:
        task: Its name.
        model: As the reference calls it.
        main: The task's main metric.
        metrics: The metrics that the reference was scored with, by split.
        splits: Split -> reference and candidate on it.
        lacking: Why there is nothing to hold against the reference; empty where there is.
        diverged: What the candidate's runs say that diverged; empty where none did.
        same: Seeds of the same number that gave the same bits, and all that both have.
        unchanged: Whether all seeds of both are the same, to the bit.
        candidates: The candidate's records.
        references: The reference's records.
    """

    task: str
    model: str
    main: str
    metrics: Mapping[str, Sequence[str]] = field(default_factory=dict)
    splits: Mapping[str, tuple[Side, Side]] = field(default_factory=dict)
    lacking: str = ""
    diverged: str = ""
    same: tuple[int, int] = (0, 0)
    unchanged: bool = False
    candidates: tuple[store.Stored, ...] = ()
    references: tuple[store.Stored, ...] = ()


def is_file(name: str) -> bool:
    """Whether a name is that of a file of predictions."""
    return Path(name).suffix.lower() in versus.ENDINGS


# --- records -------------------------------------------------------------------------------------


def is_folder(name: str) -> bool:
    """Whether a name is that of a results folder, which stands for all that it holds."""
    return Path(name).is_dir() and not (Path(name) / store.RECORD).exists()


def members(name: str, results: Path, what: str, problems: list[str]) -> list[store.Stored]:
    """Return the records that a name stands for.

    Args:
        name: A results folder, a record's folder, a model (``hybrid``, ``captioning/hybrid``), or
            the beginning of a record's name.
        results: Where names are looked up.
        what: The option that named it.
        problems: Takes what could not be read.

    Raises:
        NotComparableError: There are none.
    """
    folder = Path(name)
    if is_folder(name):
        found, unreadable = store.scan_below(folder)
        problems += unreadable
        if not found:
            more = f": {unreadable[0]}" if unreadable else ""
            raise NotComparableError(
                f"{what} {name}: holds no records{more}; expected a results folder, a record, a "
                f"model, or a file of predictions"
            )
        return found
    if (folder / store.RECORD).exists():
        return [store.read(folder)]
    found, unreadable = store.scan(results)
    problems += unreadable
    named = [s for s in found if name in (s.record.model, f"{s.record.task}/{s.record.model}")]
    return named or [store.resolve(results, name)]


def pairs(
    reference: Sequence[store.Stored],
    candidate: Sequence[store.Stored],
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    whole: bool = True,
) -> tuple[list[Pair], list[str]]:
    """Put together what bears one task, budget and model; where each has one model, those two.

    Args:
        reference: Records.
        candidate: Records.
        tasks: Only these.
        models: Only these of the reference.
        whole: Whether the candidate has to have all that the reference has.

    Returns:
        A pair for each of the reference's, and what stands beside them, in words.
    """
    old, new = (_by_model(side, tasks) for side in (reference, candidate))
    old = {key: own for key, own in old.items() if not models or key[2] in models}
    notes = []
    found = []
    taken = set()
    for key, own in old.items():
        match = key if key in new else _only(key, old, new)
        if match is not None:
            taken.add(match)
        elif not whole:
            continue
        found.append(pair(key, own, new.get(match, []) if match else []))
    beside = sorted({f"{task}/{model}" for task, _, model in new if (task, _, model) not in taken})
    if beside:
        notes.append(f"not in the reference, so not held against it: {', '.join(beside)}")
    return found, notes


_Key = tuple[str, str, str]


def _by_model(side: Sequence[store.Stored], tasks: Sequence[str]) -> dict[_Key, list[store.Stored]]:
    found: dict[_Key, list[store.Stored]] = {}
    for stored in side:
        record = stored.record
        if not tasks or record.task in tasks:
            found.setdefault((record.task, record.budget, record.model), []).append(stored)
    return found


def _only(
    key: _Key,
    old: Mapping[_Key, Sequence[store.Stored]],
    new: Mapping[_Key, Sequence[store.Stored]],
) -> _Key | None:
    """Return the candidate's only model on a task if it is the reference's only one too."""
    there = [other for other in new if other[:2] == key[:2]]
    alone = sum(other[:2] == key[:2] for other in old) == 1
    return there[0] if len(there) == 1 and alone else None


def pair(key: _Key, old: Sequence[store.Stored], new: Sequence[store.Stored]) -> Pair:
    """Put the reference's records of one model beside the candidate's.

    Args:
        key: Task, budget and the model as the reference calls it.
        old: The reference's.
        new: The candidate's, perhaps none.

    Raises:
        NotComparableError: No run of the reference was finished.
    """
    task, _, model = key
    reference = _finished(old)
    if not reference:
        raise NotComparableError(
            f"{old[0].record.name}: {old[0].record.status}: {old[0].record.reason}: a reference "
            f"has to be finished"
        )
    made = Pair(
        task=task,
        model=model,
        main=task_of(old[0].record).metrics.main,
        metrics={split: list(of) for split, of in reference[0].record.scores.items()},
        references=tuple(reference),
    )
    if not new:
        return replace(made, lacking="the candidate has no record of it")
    made = replace(made, diverged=_diverged(old, new))
    candidate = _finished(new)
    if not candidate:
        others = next((s.record for s in new if s.record.status != "diverged"), new[0].record)
        return replace(made, lacking=made.diverged or f"{others.status}: {others.reason}")
    try:
        splits = _splits(reference, candidate, made.metrics, model)
        same = _same(reference, candidate)
    except MmbenchError as error:
        return replace(made, lacking=str(error))
    return replace(
        made,
        splits=splits,
        same=same,
        unchanged=same[0] == len(reference) == len(candidate),
        candidates=tuple(candidate),
    )


def _finished(members: Sequence[store.Stored]) -> list[store.Stored]:
    """Return what was finished; test items that were limited count where there is nothing else."""
    there = [s for s in members if s.record.status == "finished"]
    return [s for s in there if s.record.ranked] or there


def _diverged(old: Sequence[store.Stored], new: Sequence[store.Stored]) -> str:
    """Say how many of the candidate's seeds diverged, if a larger share did than before."""
    before, now = ([s.record for s in of if s.record.status == "diverged"] for of in (old, new))
    if not now or len(now) / len(new) <= len(before) / len(old):
        return ""
    return f"{len(now)} of {len(new)} seeds diverged: {now[0].reason}"


def _splits(
    reference: Sequence[store.Stored],
    candidate: Sequence[store.Stored],
    splits: Mapping[str, Sequence[str]],
    model: str,
) -> dict[str, tuple[Side, Side]]:
    """Read the item statistics of both.

    Raises:
        MmbenchError: They cannot be held against each other, or read.
    """
    versus.refuse_apart(candidate[0].record, reference[0].record)
    sides = [
        versus.one_model(own, f"{what} {model}")
        for what, own in (("reference", reference), ("candidate", candidate))
    ]
    return {
        split: (
            versus.record_side(sides[0], split, "reference"),
            versus.record_side(sides[1], split, "candidate"),
        )
        for split in splits
        if split in candidate[0].record.scores
    }


def _same(reference: Sequence[store.Stored], candidate: Sequence[store.Stored]) -> tuple[int, int]:
    """Count the seeds of the same number whose items scored the same to the bit."""
    old = {s.record.seed: s for s in reference}
    both = [(old[s.record.seed], s) for s in candidate if s.record.seed in old]
    return sum(bits(one) == bits(other) for one, other in both), len(both)


def bits(stored: store.Stored) -> str:
    """Return a digest of what a run said: of the item statistics, whatever file holds them."""
    digest = hashlib.sha256()
    for split, items in sorted(store.read_items(stored).items()):
        rows = {family: of for family, (_, of) in items.families.items()}
        digest.update(f"{split} {_digest(items.ids, rows)}".encode())
    return digest.hexdigest()


def _of_side(side: Side) -> str:
    return _digest(side.ids, side.families[0])


def _digest(ids: Sequence[str], families: Mapping[str, Any]) -> str:
    """Return a digest of what all metrics made of all items."""
    digest = hashlib.sha256("\0".join(ids).encode())
    for family, rows in sorted(families.items()):
        digest.update(f"\0{family} {rows.shape}".encode())
        digest.update(rows.astype("<f8").tobytes())
    return digest.hexdigest()


# --- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """How files of predictions are read.

    Attributes:
        tasks: Their task, if they have one.
        metrics: What they are scored with.
        own: Whether the task's own metrics are wanted too, its main one first.
        split: Which test split.
        references: What is right, where there is no task.
        columns: Role -> column.
        models: Only these models of the reference; of records.
        clusters: Column of the unit that items share.
        data: Folder of the user's data.
        allow_missing: Whether items without a prediction count as failures.
    """

    tasks: Sequence[str] = ()
    metrics: Sequence[str] = ()
    own: bool = False
    split: str = "test"
    references: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    models: Sequence[str] = ()
    clusters: str | None = None
    data: Path | None = None
    allow_missing: bool = False


def of_files(reference: str, candidate: str, how: Files, warnings: list[str]) -> Pair:
    """Score two files of predictions and put them together: one checkpoint each, these weights.

    Raises:
        UsageError: Nobody says what is right, or by which metric.
        DataError: As `mmbench.score`.
    """
    wanted = list(how.metrics)
    if how.own and len(how.tasks) == 1:
        wanted = list(dict.fromkeys([*catalog.task(how.tasks[0]).metrics.names, *wanted]))
    asked = versus.Asked(
        reference,
        candidate,
        how.tasks,
        wanted,
        how.split,
        data=how.data,
        allow_missing=how.allow_missing,
    )
    made = [
        versus.evaluated(name, asked, how.references, how.columns, how.clusters)
        for name in (reference, candidate)
    ]
    for name, found in zip((reference, candidate), made, strict=True):
        warnings += [f"{Path(name).name}: {told}" for told in found.warnings]
    old, new = made
    task = old.task.name if old.task else Path(how.references or reference).name
    split = old.split or how.split
    sides = (versus.file_side(old, "reference"), versus.file_side(new, "candidate"))
    metrics = [metric for metric in old.asked if metric in old.scores]
    if not metrics:
        raise UsageError(
            f"{reference}: no metric could be computed: {next(iter(old.reasons.values()))}"
        )
    same = int(_of_side(sides[0]) == _of_side(sides[1]))
    return Pair(
        task=task,
        model=Path(candidate).stem,
        main=metrics[0],
        metrics={split: metrics},
        splits={split: sides},
        same=(same, 1),
        unchanged=bool(same),
    )
