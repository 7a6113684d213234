"""Scoring anew what finished runs said: new metrics and new levels train nothing."""

from __future__ import annotations

import msgspec

from mmbench import provenance, registry, store
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


def _told(stored: store.Stored, split: str, dataset: Dataset) -> Predictions:
    columns = store.read_predictions(stored, split)
    outputs = {name: columns[name] for name in dataset.signature.outputs}
    more = {name: c for name, c in columns.items() if name != "id" and name not in outputs}
    return Predictions(columns["id"], outputs, more)
