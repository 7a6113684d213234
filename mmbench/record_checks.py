"""The checks of one record: each holds a part of it against another part.

Checksums against files, digests against the definition, scores against item statistics, these
against predictions, and all of it against what is proven to be possible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from mmbench import catalog, paired, provenance, rescore, scoring, store
from mmbench.admission import line
from mmbench.data import _load
from mmbench.errors import MmbenchError, StoreError, counted
from mmbench.external import _content
from mmbench.records import leaks
from mmbench.spec import ModelSpec, TaskSpec, digest
from mmbench.store import Items, Stored, StoredScore
from mmbench.trust import FAILED

OK, NOTE = "ok", "note"
#: Relative difference up to which two numbers are the same.
SAME = 1e-9
#: What scoring the predictions of a stranger may raise beside what it explains.
_UNFIT = (TypeError, ValueError, AttributeError, KeyError, IndexError, pa.ArrowException)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        outcome: `OK`, `NOTE` (it lowers what can be shown) or `FAILED`.
        said: What was found.
    """

    name: str
    outcome: str
    said: str


# --- what is there -------------------------------------------------------------------------------


def files(stored: Stored) -> list[Check]:
    """Hold every file against its checksum; committed records leave the large ones out."""
    known = (store.ITEMS, store.PREDICTIONS, store.WEIGHTS)
    listed, checks, absent = stored.record.files, [], []
    for name in (*listed, *(n for n in known if n not in listed)):
        path = stored.folder / name
        if not path.exists():
            if name in listed:
                absent.append(name)
            continue
        try:
            store.checked(stored, name)
        except StoreError as error:
            said = str(error).removeprefix(f"{path}: ")
            if name not in listed:
                said = "is none of the files that the record was stored with"
            checks.append(Check("files", FAILED, f"{name} {said}"))
    if store.ITEMS in absent:
        checks.append(Check("files", FAILED, f"{store.ITEMS} is missing"))
        absent.remove(store.ITEMS)
    if absent:
        names = " and ".join(line(name.partition(".")[0]) for name in absent)
        checks.append(Check("files", NOTE, f"{names} are not stored here"))
    return checks or [Check("files", OK, f"{counted(len(listed), 'file')} match their checksums")]


def task(record: store.Record) -> list[Check]:
    """Hold the task of the definition against its digest, and against the task as it is now."""
    task = _task_then(record)
    if (task.name, task.version) != (record.task, record.task_version):
        said = f"the definition is of {task.name}@{task.version}, the record of "
        return [Check("task", FAILED, f"{said}{record.task}@{record.task_version}")]
    if _content.digest_of(task, record.budget) != record.task_digest:
        return [Check("task", FAILED, "its digest does not follow from the definition")]
    checks = [*_counts(record, task)]
    if task.dataset.name == _content.DATASET:
        return checks or [Check("task", OK, "its digest follows from the file of references")]
    try:
        now = catalog.task(record.task)
    except MmbenchError:
        known = "the task is not known here: --include its TOML"
        return [*checks, Check("task", NOTE, known)]
    if (now.version, _content.digest_of(now, record.budget)) != (task.version, record.task_digest):
        said = f"the task has changed since: {task.name}@{task.version} is now @{now.version}"
        said += ", its digest another" * (now.version == task.version)
        checks.append(Check("task", NOTE, said))
    return checks or [Check("task", OK, "its digest follows from the definition, and is today's")]


def _task_then(record: store.Record) -> TaskSpec:
    """Return the task as the definition has it."""
    return msgspec.convert(record.definition["task"], TaskSpec)


def _counts(record: store.Record, task: TaskSpec) -> list[Check]:
    """Hold how many items were scored against how many the task has."""
    limit = record.definition.get("limit")
    if limit is not None and record.ranked:
        return [Check("task", FAILED, f"is to be ranked, but only {limit} items were tested")]
    checks = []
    for split, scores in record.scores.items():
        there = task.splits.get(split, 0)
        wanted = there if limit is None else min(limit, there)
        wrong = next((got.n for got in scores.values() if got.n != wanted), None)
        if wrong is not None:
            said = f"{split!r} has {wanted:,} items, {wrong:,} were scored"
            checks.append(Check("task", FAILED, said))
    return checks


def identity(record: store.Record) -> list[Check]:
    """Work out the identity from the definition once more."""
    definition = record.definition
    external = "external" in definition.get("model", {})
    if external:
        told = {"external": record.model}
        if definition["model"] != told or digest(told) != record.model_digest:
            return [Check("identity", FAILED, "the model's digest is not that of its name")]
        how = {k: v for k, v in definition.get("evaluation", {}).items() if k != "metrics"}
        same = {"task": record.task_digest, "model": told, "seed": record.seed, **how}
        possible = [digest(same | {"split": split}) for split in record.scores]
    else:
        try:
            model = msgspec.convert(definition["model"], ModelSpec)
        except (KeyError, msgspec.ValidationError) as error:
            return [Check("identity", FAILED, f"the model's definition: {line(str(error))}")]
        if model.name != record.model:
            return [Check("identity", FAILED, f"the definition is of the model {model.name!r}")]
        if model.digest() != record.model_digest:
            said = "the model's digest does not follow from its definition"
            return [Check("identity", FAILED, said)]
        possible = [_of_run(record, *on) for on in _computes(record)]
    if record.identity not in possible:
        return [Check("identity", FAILED, "does not follow from the definition")]
    return [Check("identity", OK, "follows from the definition")]


def _computes(record: store.Record) -> list[tuple[str, str]]:
    """Return device and precision that a run may have had: a GPU is known by its name only."""
    if record.provenance.get("device") == "cpu":
        return [("cpu", "fp32")]
    return [("cuda", "bf16"), ("cuda", "fp32")]


def _of_run(record: store.Record, device: str, precision: str) -> str:
    """Return the identity that `mmbench.run.Run` gives to what a record tells of itself."""
    return digest(
        {
            "task": record.task_digest,
            "model": record.model_digest,
            "plugins": record.provenance.get("plugins", {}),
            "source": record.data.get("source", ""),
            "device": device,
            "precision": precision,
            "execution": record.definition.get("execution", "single"),
            "limit": record.definition.get("limit"),
            "seed": record.seed,
        }
    )


# --- what was scored -----------------------------------------------------------------------------


def scores(stored: Stored, data: Path | None) -> list[Check]:
    """Work out scores from item statistics, these from predictions, and look at the bounds."""
    try:
        items = store.read_items(stored)
    except StoreError as error:
        said = str(error).removeprefix(f"{stored.folder / store.ITEMS}: ")
        return [Check("scores", FAILED, f"{store.ITEMS} {said}")]
    checks, now = scores_from_items(stored.record, items)
    checks += _bounds(stored.record, now.get("test", {}))
    if not (stored.folder / store.PREDICTIONS).exists():
        return checks  # `_files` has said so
    return [*checks, *_of_predictions(stored, items, now, data)]


def scores_from_items(
    record: store.Record, items: Mapping[str, Items]
) -> tuple[list[Check], dict[str, dict[str, scoring.Score]]]:
    """Work out every score from the item statistics.

    Returns:
        The checks; and split -> metric -> score, of those that score now as they scored then.
    """
    checks: list[Check] = []
    others: dict[str, str] = {}
    widths: list[str] = []
    found: dict[str, dict[str, scoring.Score]] = {}
    for split, scores in record.scores.items():
        own = items[split]
        if len(set(own.ids)) < len(own.ids):
            checks.append(Check("scores", FAILED, f"{split!r} has an item more than once"))
        for metric, got in scores.items():
            if _signature(metric) != got.signature:
                others[metric] = got.signature
                continue
            try:
                now = scoring.combine(metric, [paired.rows_of(own, metric)], own.clusters)
            except MmbenchError as error:
                checks.append(Check("scores", FAILED, f"{metric} on {split}: {line(str(error))}"))
                continue
            found.setdefault(split, {})[metric] = now
            wrong = _apart(f"{metric} on {split}", got, now)
            checks += [Check("scores", FAILED, wrong)] if wrong else []
            if not wrong and not _same_interval(got, now):
                widths.append(f"{metric} on {split}")
    if widths:
        checks.append(_intervals(record, widths))
    for metric, signature in others.items():
        why = "is not known here" if not _signature(metric) else "is another metric now"
        checks.append(
            Check("metrics", NOTE, f"{metric}, scored as {line(signature, 120)!r}, {why}")
        )
    done = sum(map(len, found.values()))
    if done and not any(c.outcome == FAILED for c in checks):
        said = f"{counted(done, 'score')} follow from the item statistics"
        checks.insert(0, Check("scores", OK, said))
    return checks, found


def _signature(metric: str) -> str:
    """Return a metric's signature; empty where it cannot be had here."""
    try:
        return paired.signature(metric)
    except MmbenchError:
        return ""


def _apart(what: str, got: StoredScore, now: scoring.Score) -> str:
    """Say in what a score differs from the one worked out now; nothing where it does not."""
    if got.higher_is_better != now.higher_is_better:
        return f"{what}: says that the other direction is better"
    if got.value is not None and _same(got.value, now.value):
        return ""
    told = "nothing" if got.value is None else f"{got.value:.6g}"
    return f"{what} is {now.value:.6g} by the item statistics, the record says {told}"


def _same_interval(got: StoredScore, now: scoring.Score) -> bool:
    ends = (None, None, None) if now.reason else (now.low, now.high, now.se)
    pairs = zip((got.low, got.high, got.se), ends, strict=True)
    return all(_same(one, other) for one, other in pairs)


def _intervals(record: store.Record, widths: Sequence[str]) -> Check:
    """Judge intervals that are not those of today.

    Earlier versions made some of them otherwise; boards take none of them, but today's.
    """
    some = ", ".join(widths[:2]) + ", ..." * (len(widths) > 2)
    if _same_code(record):
        said = f"the interval of {some} is not that of the item statistics"
        return Check("scores", FAILED, said)
    came = record.provenance | record.provenance.get("rescored", {})
    version = str(came.get("commit") or came.get("mmbench", ""))[:8]
    said = f"{counted(len(widths), 'interval')} as mmbench {version} made them ({some})"
    return Check("intervals", NOTE, said)


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SAME, abs_tol=1e-12)


def _same_code(record: store.Record) -> bool:
    """Whether this very version scored the record; of a changed checkout nobody knows."""
    came = record.provenance | record.provenance.get("rescored", {})
    now = provenance.commit()
    return came.get("commit") == now and not now.endswith("+changed")


def _bounds(record: store.Record, now: Mapping[str, scoring.Score]) -> list[Check]:
    """Look for scores beyond what is proven, in the errors of today: a record's may be too wide."""
    if record.status == "leak":
        return [Check("bounds", NOTE, f"leak: {record.reason}: not ranked")]
    task = paired.task_of(record)
    external = "external" in record.definition.get("model", {})
    named = None if external else record.definition["model"].get("modalities")
    heard = tuple(task.modalities) if named is None else tuple(named)
    late = record.definition.get("late", False)
    found = leaks({**record.scores.get("test", {}), **now}, task.levels, heard, late)
    return [Check("bounds", FAILED, one) for one in found]


def _of_predictions(
    stored: Stored,
    items: Mapping[str, Items],
    now: Mapping[str, Mapping[str, scoring.Score]],
    data: Path | None,
) -> list[Check]:
    """Work out the item statistics from the predictions."""
    record = stored.record
    task = _task_then(record)

    def note(said: str) -> list[Check]:
        return [Check("predictions", NOTE, f"the predictions are not scored: {said}")]

    if task.dataset.name == _content.DATASET:
        return note("what was right is in a file of references, which is not stored")
    try:
        dataset = _load.load(task, data)
    except MmbenchError as error:
        return note(line(str(error)))
    if dataset.fingerprint != record.data.get("fingerprint"):
        return note("the record was tested on other data than there are now")
    count = 0
    for split, own in items.items():
        wanted = list(now.get(split, {}))
        if not wanted:
            continue
        try:
            scored = rescore.scored_again(stored, split, dataset, wanted, own)
        except MmbenchError as error:
            return [Check("predictions", FAILED, line(str(error)))]
        except _UNFIT as error:
            said = f"{split}: cannot be scored: {type(error).__name__}: {line(str(error))}"
            return [Check("predictions", FAILED, said)]
        for family, stats in scored.statistics.items():
            before = np.asarray(own.families[family][1])
            wrong = _rows_apart(before, np.asarray(stats.rows))
            if len(wrong):
                some = ", ".join(line(own.ids[i], 40) for i in wrong[:3])
                said = f"the item statistics of {family} on {split} are not those of the "
                said += f"predictions: {len(wrong):,} of {len(own.ids):,} items differ ({some})"
                return [Check("predictions", FAILED, said)]
        count += len(scored.scores)
    if not count:
        return note("no metric scores as it did then")
    return [Check("predictions", OK, f"{counted(count, 'score')} follow from the predictions")]


def _rows_apart(before: Any, now: Any) -> Any:
    """Return the places of the rows that differ; all of them where the shapes do."""
    if before.shape != now.shape:
        return np.arange(max(len(before), 1))
    return np.flatnonzero(~np.isclose(before, now, rtol=SAME, atol=1e-12).all(axis=1))
