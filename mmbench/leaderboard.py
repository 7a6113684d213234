"""Records -> ranked tables, with intervals over seeds and items.

A board holds what can be compared: one task at one digest and budget, one metric at one signature.
Whatever differs stands on another board. Runs that diverged, leaked or were limited are listed
below it and never ranked. The same records give the same bytes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from mmbench import store
from mmbench.errors import MmbenchError, NotComparableError
from mmbench.paired import clustered, definition, partition, rows_of, signature, task_of
from mmbench.scoring import Score, alone, combine, ranks
from mmbench.sealed import finite
from mmbench.spec import TuningSpec, digest


@dataclass(frozen=True)
class Row:
    """One model on a board.

    Attributes:
        model: Its name; ``name#digest device`` where two definitions share a name.
        rank: First and last place that the pairwise tests leave open.
        main: The score that ranks; None for a published row.
        value: Its value; None where a published row tells other metrics only.
        also: The other metrics.
        headroom: Share of the way from the task's floor to its ceiling; None where unknown.
        seeds: How many.
        parameters: Trainable.
        train_seconds: Mean over seeds.
        device: What it ran on.
        external: Where a published row is from: no interval, not ranked.
        note: What sets it apart from the others.
    """

    model: str
    rank: tuple[int, int] | None
    main: Score | None
    value: float | None
    also: Mapping[str, Score | float | None]
    headroom: float | None
    seeds: int
    parameters: int | None
    train_seconds: float | None
    device: str
    external: str = ""
    note: str = ""


@dataclass(frozen=True)
class Board:
    """One table.

    Attributes:
        task: ``task@version``.
        budget: The budget.
        metric: The metric that ranks.
        split: The split that was scored.
        higher_is_better: Direction of the metric.
        floor: The task's floor on that metric, None where unknown.
        ceiling: The oracle that sees all modalities.
        alone: Modality -> the oracle that sees only that one.
        also: The task's other metrics.
        rows: Best first.
        scope: What the intervals speak about, in words.
        listed: Runs that are not ranked, and why.
        tuning: How many trials the models were tuned with, where any was; whether all alike.
    """

    task: str
    budget: str
    metric: str
    split: str
    higher_is_better: bool
    floor: float | None
    ceiling: float | None
    alone: Mapping[str, float]
    also: tuple[str, ...]
    rows: tuple[Row, ...]
    scope: str
    listed: tuple[str, ...] = ()
    tuning: str = ""


@dataclass
class _Group:
    """The seeds of one model on one board."""

    name: str
    members: list[store.Stored] = field(default_factory=list)
    items: list[store.Items] = field(default_factory=list)


def boards(
    records: Iterable[store.Stored],
    metric: str | None = None,
    split: str = "test",
    problems: list[str] | None = None,
) -> list[Board]:
    """Make a board for every task digest and budget among the records.

    Args:
        records: As `store.scan` returns them.
        metric: Rank by this one instead of each task's main metric.
        split: Which test split.
        problems: Takes what had to be left out, one line each.
    """
    problems = [] if problems is None else problems
    tables: dict[tuple[str, int, str, str], list[store.Stored]] = {}
    for stored in records:
        r = stored.record
        tables.setdefault((r.task, r.task_version, r.budget, r.task_digest), []).append(stored)
    made = [_board(group, metric, split, problems) for _, group in sorted(tables.items())]
    return [board for board in made if board is not None]


def aggregate(members: Sequence[store.Stored], metric: str, split: str = "test") -> Score:
    """Return the score of one model over its seeds, from their stored item statistics.

    Raises:
        NotComparableError: The seeds' items lie in different clusters.
        StoreError: Item statistics are missing or damaged.
    """
    items = [store.read_items(member)[split] for member in members]
    units = partition(items[0])
    for member, own in zip(members[1:], items[1:], strict=True):
        if partition(own) != units:
            raise NotComparableError(
                f"{member.record.name}: has {clustered(member.record, own)}, but "
                f"{members[0].record.name} has {clustered(members[0].record, items[0])}: seeds "
                f"combine over the same clusters only"
            )
    return combine(metric, [rows_of(i, metric) for i in items], items[0].clusters)


def _board(
    members: Sequence[store.Stored], metric: str | None, split: str, problems: list[str]
) -> Board | None:
    first = members[0].record
    task = task_of(first)
    main = metric or task.metrics.main
    listed = tuple(_why_not(s.record) for s in members if not _rankable(s.record, split, main))
    ranked = [s for s in members if _rankable(s.record, split, main)]
    groups = _groups(_as_now(ranked, main, split, problems), split, problems)
    if not groups and all(s.record.status == "finished" and s.record.ranked for s in members):
        return None  # none was scored with this metric on this split
    also = tuple(name for name in task.metric_names if name != main)
    level = task.levels.get(main)
    rows = [_row(group, main, also, split, level) for group in groups]
    places = _places(groups, main)
    rows = [_placed(row, place) for row, place in zip(rows, places, strict=True)]
    better = groups[0].members[0].record.scores[split][main].higher_is_better if groups else True
    published = task.source.published if split == "test" else ()
    rows += [_external(p, main, also) for p in published if {main, *also} & set(p.scores)]
    rows.sort(key=lambda row: _order(row, better))
    return Board(
        task=f"{first.task}@{first.task_version}",
        budget=first.budget,
        metric=main,
        split=split,
        higher_is_better=better,
        floor=level.floor if level and split == "test" else None,
        ceiling=level.ceiling if level and split == "test" else None,
        alone=level.alone if level and split == "test" else {},
        also=also,
        rows=tuple(rows),
        scope=_scope(rows, groups),
        listed=listed,
        tuning=_tuning(groups),
    )


def _order(row: Row, higher_is_better: bool) -> tuple[float, str]:
    if row.value is None:
        return (math.inf, row.model)
    return (-row.value if higher_is_better else row.value, row.model)


def _tuning(groups: Sequence[_Group]) -> str:
    """Say how models were tuned: one that was tuned longer scores higher, whatever it is."""
    efforts: dict[str, list[str]] = {}
    for group in groups:
        found = group.members[0].record.definition.get("model", {}).get("tuning")
        effort = msgspec.convert(found, TuningSpec).effort if found else "as written"
        efforts.setdefault(effort, []).append(group.name)
    if set(efforts) <= {"as written"}:
        return ""
    if len(efforts) == 1:
        return f"tuned alike: {next(iter(efforts))} each"
    told = "; ".join(f"{effort}: {', '.join(sorted(names))}" for effort, names in efforts.items())
    return f"tuning differs: {told}"


def _rankable(record: store.Record, split: str, metric: str) -> bool:
    there = metric in record.scores.get(split, {})
    return record.status == "finished" and record.ranked and there


def _why_not(record: store.Record) -> str:
    if record.status != "finished":
        return f"{record.name}: {record.status}: {record.reason}"
    if not record.ranked:
        return f"{record.name}: test items were limited"
    return f"{record.name}: not scored with this metric on this split"


def _groups(members: Sequence[store.Stored], split: str, problems: list[str]) -> list[_Group]:
    """Put the seeds of a model together; other definitions under its name stand apart."""
    digests: dict[str, set[tuple[str, ...]]] = {}
    for stored in members:
        digests.setdefault(stored.record.model, set()).add(definition(stored.record))
    found: dict[str, _Group] = {}
    for stored, items in _of_one_clustering(_of_one_test(members, split, problems), problems):
        record = stored.record
        name = record.model
        if len(digests[name]) > 1:
            name = f"{name}#{digest(definition(record))[:4]} {definition(record)[1]}"
        group = found.setdefault(name, _Group(name))
        if any(m.record.seed == record.seed for m in group.members):
            problems.append(f"{record.name}: seed {record.seed} is there twice: the first counts")
            continue
        group.members.append(stored)
        group.items.append(items)
    return list(found.values())


def _of_one_test(
    members: Sequence[store.Stored], split: str, problems: list[str]
) -> list[tuple[store.Stored, store.Items]]:
    """Read item statistics and keep those of the first record's items and data."""
    kept: list[tuple[store.Stored, store.Items]] = []
    fingerprint: str | None = None
    for stored in members:
        record = stored.record
        try:
            items = store.read_items(stored)[split]
        except MmbenchError as error:
            problems.append(str(error))
            continue
        if fingerprint is None:
            fingerprint = record.data.get("fingerprint")
        elif record.data.get("fingerprint") != fingerprint:
            problems.append(f"{record.name}: was tested on other data: left out")
            continue
        if kept and items.ids != kept[0][1].ids:
            problems.append(f"{record.name}: was tested on other items: left out")
            continue
        kept.append((stored, items))
    return kept


def _of_one_clustering(
    members: Sequence[tuple[store.Stored, store.Items]], problems: list[str]
) -> list[tuple[store.Stored, store.Items]]:
    """Keep the records whose items lie in the same clusters as those of most records.

    Intervals and tests of one board take one set of clusters for all: over items that are each
    their own, what many of them share would look like evidence. Of as many, the first count.
    """
    parts = [partition(items) for _, items in members]
    if len(set(parts)) < 2:
        return list(members)
    counts = Counter(parts)
    most = max(counts.values())
    at = next(k for k, part in enumerate(parts) if counts[part] == most)
    board = clustered(members[at][0].record, members[at][1])
    kept = []
    for (stored, items), part in zip(members, parts, strict=True):
        if part == parts[at]:
            kept.append((stored, items))
            continue
        own = clustered(stored.record, items)
        problems.append(f"{stored.record.name}: has {own}, the board {board}: left out")
    return kept


def _as_now(
    members: Sequence[store.Stored], metric: str, split: str, problems: list[str]
) -> list[store.Stored]:
    """Keep the records that were scored as this metric scores now; name those that are left out.

    Another version of a metric may count other things, so its item statistics mean nothing to
    this one.
    """
    now = signature(metric)
    others: dict[str, list[str]] = {}
    for stored in members:
        own = stored.record.scores[split][metric].signature
        if own != now:
            others.setdefault(own, []).append(stored.record.name)
    for own, names in others.items():
        hint = "the same 'mmbench run' scores anew" if now else "--include the file that holds it"
        alike = f"the board as {now!r}" if now else f"and the metric {metric!r} is not known here"
        problems.append(f"{', '.join(names)}: scored as {own!r}, {alike}: left out; {hint}")
    return [s for s in members if s.record.scores[split][metric].signature == now]


def _score(group: _Group, metric: str) -> Score:
    return combine(metric, [rows_of(i, metric) for i in group.items], group.items[0].clusters)


def _row(group: _Group, main: str, also: Sequence[str], split: str, level: Any) -> Row:
    got = _score(group, main)
    others: dict[str, Score | float | None] = {}
    for name in also:
        scores = [m.record.scores[split].get(name) for m in group.members]
        there = all(score is not None and score.signature == signature(name) for score in scores)
        others[name] = _score(group, name) if there else None
    costs = [m.record.cost for m in group.members]
    seconds = [float(c["train_seconds"]) for c in costs if "train_seconds" in c]
    headroom = None
    if level is not None and split == "test" and level.ceiling != level.floor:
        headroom = (got.value - level.floor) / (level.ceiling - level.floor)
    return Row(
        model=group.name,
        rank=None,
        main=got,
        value=got.value,
        also=others,
        headroom=headroom,
        seeds=len(group.members),
        parameters=costs[0].get("parameters"),
        train_seconds=sum(seconds) / len(seconds) if seconds else None,
        device=str(group.members[0].record.provenance.get("device", "")),
    )


def _placed(row: Row, place: tuple[int, int]) -> Row:
    return Row(**{**{k: getattr(row, k) for k in Row.__dataclass_fields__}, "rank": place})


def _places(groups: Sequence[_Group], metric: str) -> list[tuple[int, int]]:
    """Return first and last possible place of each model (`mmbench.stats.ranks`).

    A single item, or a single cluster, leaves every place open.
    """
    if len(groups) < 2 or _alone(groups):
        return [(1, len(groups))] * len(groups)
    stats = [[rows_of(items, metric) for items in group.items] for group in groups]
    found = ranks(metric, stats, groups[0].items[0].clusters)
    return list(zip(found.low, found.high, strict=True))


def _alone(groups: Sequence[_Group]) -> str:
    """Say why a board can have no order, or return an empty string."""
    items = groups[0].items[0]
    return alone(len(items.ids), items.clusters)


def _external(published: Any, main: str, also: Sequence[str]) -> Row:
    return Row(
        model=published.model,
        rank=None,
        main=None,
        value=published.scores.get(main),
        also={name: published.scores.get(name) for name in also},
        headroom=None,
        seeds=0,
        parameters=None,
        train_seconds=None,
        device="",
        external=published.source,
        note=published.note,
    )


def _scope(rows: Sequence[Row], groups: Sequence[_Group]) -> str:
    if not groups:
        return ""
    seeds = sorted({row.seeds for row in rows if row.seeds})
    items = len(groups[0].items[0].ids)
    if _alone(groups):
        return f"no intervals and no order: {_alone(groups)}"
    if seeds == [1]:
        return f"95 % intervals over {items:,} items, for these weights: one seed"
    span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"95 % intervals over {span} seeds x {items:,} items; one training set"


def to_json(made: Sequence[Board]) -> str:
    """Write boards as JSON; a number that is none is null."""
    return json.dumps([finite(asdict(board)) for board in made], indent=1, sort_keys=True)
