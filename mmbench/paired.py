"""Records side by side: the statistics of their items, and in what they must agree."""

from __future__ import annotations

import json

import msgspec

from mmbench import registry, store
from mmbench.errors import MmbenchError, NotComparableError, UnknownNameError
from mmbench.spec import TaskSpec
from mmbench.types import Floats


def task_of(record: store.Record) -> TaskSpec:
    """Return the task as it stands now if its digest is the record's, else as it stood then."""
    from mmbench import catalog

    try:
        now = catalog.task(record.task)
        if record.budget in now.budgets and now.digest(record.budget) == record.task_digest:
            return now
    except MmbenchError:
        pass
    return msgspec.convert(record.definition["task"], TaskSpec)


def rows_of(items: store.Items, metric: str) -> Floats:
    """Return the rows of the metric's family."""
    family = registry.load("metric", metric).family
    if family not in items.families:
        raise NotComparableError(f"the records hold no item statistics for {metric!r}")
    rows: Floats = items.families[family][1]
    return rows


def signature(metric: str) -> str:
    """Return a metric's signature; empty where no metric has that name."""
    try:
        return str(registry.load("metric", metric).signature)
    except UnknownNameError:
        return ""


def partition(items: store.Items) -> tuple[int, ...]:
    """Return each item's cluster as a number in order of appearance: labels may be called else."""
    seen: dict[str, int] = {}
    return tuple(seen.setdefault(label, len(seen)) for label in items.clusters)


def clustered(record: store.Record, items: store.Items) -> str:
    """Say in what clusters items lie."""
    count = len(set(items.clusters))
    if count == len(items.ids):
        return "no clusters"
    column = record.definition.get("evaluation", {}).get("clusters", "")
    return f"{count:,} clusters" + (f" of the column {column!r}" if column else "")


def definition(record: store.Record) -> tuple[str, ...]:
    """Return what all seeds of one model share: its digest, the device, components of one's own."""
    plugins = json.dumps(record.provenance.get("plugins", {}), sort_keys=True)
    return (record.model_digest, str(record.provenance.get("device", "")), plugins)
