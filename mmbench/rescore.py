"""Scoring anew what finished runs said: new metrics and new levels train nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mmbench import paired, provenance, registry, scoring, store
from mmbench.data import _load
from mmbench.errors import StoreError
from mmbench.records import leaks, reproduce, scores_of
from mmbench.run import Run, Watcher, device_name, score_tests
from mmbench.types import Dataset, Predictions


def outdated(run: Run, stored: store.Stored) -> bool:
    """Whether a record lacks a score that is asked for now, or was judged by other levels."""
    record = stored.record
    if record.status == "diverged":
        return False
    for name in run.metrics:
        signature = registry.load("metric", name).signature
        for scores in record.scores.values():
            if name not in scores or scores[name].signature != signature:
                return True
    late = record.definition.get("late", False)
    found = leaks(record.scores["test"], run.task.levels, run.heard, late)
    return record.reason != "; ".join(found)


def rescore(run: Run, stored: store.Stored, watcher: Watcher) -> store.Stored:
    """Score what a finished run said with all metrics that are asked for now; train nothing.

    What it was scored with before beside those stays, and so does all else that it left.

    Raises:
        StoreError: Its predictions are missing, or the data are no longer those it was tested on.
    """
    watcher.phase("data")
    dataset = _load.load(run.task, run.settings.data)
    record = stored.record
    if dataset.fingerprint != record.data["fingerprint"]:
        raise StoreError(f"{stored.folder}: was tested on other data than there are now")
    watcher.phase("score")
    told = {split: _told(stored, split, dataset) for split in record.scores}
    scored = score_tests(run, dataset, told)
    scores = {split: record.scores[split] | new for split, new in scores_of(scored).items()}
    late = record.definition.get("late", False)
    found = leaks(scores["test"], run.task.levels, run.heard, late)
    before = store.read_items(stored)
    items = store.items_table(
        {split: said.ids for split, said in told.items()},
        {name: {**before[name].families, **new.statistics} for name, new in scored.items()},
        {split: before[split].clusters for split in told},
    )
    now = provenance.collect(device_name(run.device), run.threads, run.plugins)
    rescored = {key: now[key] for key in ("mmbench", "commit", "started")}
    changed = msgspec.structs.replace(
        record,
        status="leak" if found else "finished",
        reason="; ".join(found),
        definition=record.definition | {"task": msgspec.to_builtins(run.task)},
        provenance=record.provenance | {"rescored": rescored},
        scores=scores,
        reproduce=reproduce(run),
    )
    return store.rewrite(stored, changed, items)


def scored_again(
    stored: store.Stored,
    split: str,
    dataset: Dataset,
    metrics: Sequence[str],
    items: store.Items,
) -> scoring.Scored:
    """Score what a record says was predicted on a split; nothing is stored.

    Args:
        stored: A record of a run, or of predictions from elsewhere on a task.
        split: One of its splits.
        dataset: The task's data.
        metrics: What to score with.
        items: The item statistics that were stored, for the items' order and clusters.

    Raises:
        StoreError: The predictions are missing, damaged, or of other items.
        UsageError: A metric cannot be computed from them.
    """
    told, part = _told(stored, split, dataset), dataset.splits[split]
    output, count = dataset.signature.main, len(items.ids)
    if output not in told.outputs:
        raise StoreError(f"{store.PREDICTIONS}: holds nothing for the output {output!r}")
    if list(told.ids) != items.ids or items.ids != list(part.ids[:count]):
        raise StoreError(f"{store.PREDICTIONS}: the items of {split!r} are not those of the task")
    units = None if len(set(items.clusters)) == count else items.clusters
    how = stored.record.definition.get("evaluation", {})
    if part.clusters is not None and not how.get("clusters"):
        units = part.clusters[:count].tolist()
        own = store.Items(items.ids, [str(unit) for unit in units], {})
        if paired.partition(own) != paired.partition(items):
            raise StoreError(f"{store.ITEMS}: the clusters of {split!r} are not those of the task")
    references = {name: refs.take(range(count)) for name, refs in part.references.items()}
    missing = how.get("missing") == "failures"
    return scoring.score(
        told, references, output, metrics, units, part.ids[:count], allow_missing=missing
    )


def _told(stored: store.Stored, split: str, dataset: Dataset) -> Predictions:
    columns = store.read_predictions(stored, split)
    outputs = {name: columns[name] for name in dataset.signature.outputs if name in columns}
    more = {
        name: column
        for name, column in columns.items()
        if name not in ("id", "split") and name not in outputs
    }
    for name, references in dataset.splits[split].references.items():
        classes = getattr(references, "classes", ())
        if name in outputs and classes:
            outputs[name] = _numbered(outputs[name], classes)
    return Predictions(columns["id"], outputs, more)


def _numbered(values: Sequence[Any], classes: Sequence[str]) -> list[Any]:
    """Return classes that were stored by name, as predictions from elsewhere are, as numbers."""
    number = {name: place for place, name in enumerate(classes)}
    return [number[value] if isinstance(value, str) else value for value in values]
