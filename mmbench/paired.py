"""Records side by side: the statistics of their items, and in what they must agree."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from mmbench import registry, store
from mmbench.admission import line
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
    if "task" not in record.definition:
        raise NotComparableError(f"{record.name}: its definition says nothing of the task")
    return msgspec.convert(record.definition["task"], TaskSpec)


class Wanted(NamedTuple):
    """Records whose item statistics are wanted, of some families of metrics."""

    members: Sequence[store.Stored]
    families: Collection[str]


#: The item statistics of a record, or why there are none.
Read = store.Items | str


def read_ahead(wanted: Sequence[Wanted], split: str) -> Iterator[list[Read]]:
    """Read the item statistics of one board after the other, while the one before is worked on.

    Args:
        wanted: For each board, its records.
        split: Of this split.
    """
    threads = max(1, min(8, os.cpu_count() or 1) - 1)  # one is for whoever works on them
    started: deque[list[Future[list[Read]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for of in wanted:
            # To hand over one record at a time would cost as much again as to read it.
            each = -(-len(of.members) // threads) or 1
            parts = [of.members[at : at + each] for at in range(0, len(of.members), each)]
            reader = store.Reader(split, of.families)
            started.append([pool.submit(_read, part, split, reader) for part in parts])
            if len(started) > 1:
                yield [one for part in started.popleft() for one in part.result()]
        while started:
            yield [one for part in started.popleft() for one in part.result()]


def _read(members: Sequence[store.Stored], split: str, reader: store.Reader) -> list[Read]:
    found: list[Read] = []
    for stored in members:
        try:
            lacking = f"{stored.record.name}: holds no items of the split {split!r}"
            found.append(store.read_items(stored, reader).get(split, lacking))
        except MmbenchError as error:
            found.append(str(error))
    return found


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
    return f"{count:,} clusters" + (f" of the column {line(str(column), 60)!r}" if column else "")


def definition(record: store.Record) -> tuple[str, ...]:
    """Return what all seeds of one model share: its digest, the device, components of one's own."""
    plugins = json.dumps(record.provenance.get("plugins", {}), sort_keys=True)
    return (record.model_digest, str(record.provenance.get("device", "")), plugins)
