"""Records side by side: the statistics of their items, and in what they must agree."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

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


def read_all(
    members: Sequence[store.Stored], split: str, families: Collection[str], problems: list[str]
) -> list[tuple[store.Stored, store.Items]]:
    """Read the item statistics of many records; what cannot be read is a problem, a line each.

    Args:
        members: The records.
        split: Of this split,
        families: and of these families of metrics.
        problems: Takes the lines.
    """
    reader = store.Reader(split, families)

    def read(stored: store.Stored) -> store.Items | str:
        try:
            found = store.read_items(stored, reader)
        except MmbenchError as error:
            return str(error)
        return found.get(split, f"{stored.record.name}: holds no items of the split {split!r}")

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        read_of = list(pool.map(read, members))
    problems += [said for said in read_of if isinstance(said, str)]
    both = zip(members, read_of, strict=True)
    return [(stored, items) for stored, items in both if not isinstance(items, str)]


def rows_of(items: store.Items, metric: str) -> Floats:
    """Return the rows of the metric's family."""
    of = family(metric)
    if of not in items.families:
        raise NotComparableError(f"the records hold no item statistics for {metric!r}")
    rows: Floats = items.families[of][1]
    return rows


def family(metric: str) -> str:
    """Return the family of metrics that shares its rows; empty where no metric has that name."""
    try:
        return str(registry.load("metric", metric).family)
    except UnknownNameError:
        return ""


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
