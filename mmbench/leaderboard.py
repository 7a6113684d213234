"""Records -> ranked tables, with intervals over seeds and items.

A board holds what can be compared: one task at one digest and budget, one metric at one signature.
Whatever differs stands on another board. Runs that diverged, leaked or were limited are listed
below it and never ranked. The same records give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from mmbench import caveats, seeds, store, trust
from mmbench.errors import MmbenchError, NotComparableError
from mmbench.paired import (
    Read,
    Wanted,
    clustered,
    definition,
    family,
    partition,
    read_ahead,
    rows_of,
    signature,
    task_of,
)
from mmbench.scoring import Measured, Score, alone, combine, measure, ranks_of
from mmbench.shares_of_work import spread
from mmbench.spec import LevelSpec, PublishedSpec, TaskSpec, TuningSpec

#: As many records are worth several processes.
_MANY = 500


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
        trials: With how many it was tuned; None: as written.
        flops_per_item: Operations of one item, forward; None where no record says.
        peak_host_bytes: The most memory of the host that any seed had.
        peak_device_bytes: The most of the accelerator's.
        latency_p50_seconds: The median time of a single item, mean over seeds.
        latency_p95_seconds: The 95th percentile, likewise.
        items_per_second: Predicted in batches, mean over seeds.
        energy_joules: That a run took, mean over seeds.
        trust: The weakest level among the seeds (`mmbench.trust`); empty for a published row.
        of_seeds: Pairs of a seed and its value.
        diverged: Seeds that have none, because they diverged.
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
    trials: int | None = None
    flops_per_item: float | None = None
    peak_host_bytes: float | None = None
    peak_device_bytes: float | None = None
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None
    items_per_second: float | None = None
    energy_joules: float | None = None
    trust: str = ""
    of_seeds: tuple[tuple[int, float], ...] = ()
    diverged: tuple[int, ...] = ()


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
        caveats: What of the costs cannot be compared (`mmbench.caveats`).
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
    caveats: Mapping[str, str] = field(default_factory=dict)


def boards(
    records: Iterable[store.Stored],
    metric: str | None = None,
    split: str = "test",
    problems: list[str] | None = None,
    findings: Mapping[str, trust.Finding] | None = None,
) -> list[Board]:
    """Make a board for every task digest and budget among the records.

    Args:
        records: As `store.scan` returns them.
        metric: Rank by this one instead of each task's main metric.
        split: Which test split.
        problems: Takes what had to be left out, one line each.
        findings: What was found of the records (`mmbench.trust.read`).
    """
    asked = seeds.Asked(metric, split, [] if problems is None else problems, findings or {})
    tables: dict[tuple[str, int, str, str], list[store.Stored]] = {}
    for stored in seeds.trusted(records, asked):
        r = stored.record
        tables.setdefault((r.task, r.task_version, r.budget, r.task_digest), []).append(stored)
    plans = [_plan(members, asked) for _, members in sorted(tables.items())]
    worth = sum(len(plan.ranked) for plan in plans) >= _MANY
    made: list[Board] = []
    for some, told in spread(lambda share: _boards(share, asked), plans, worth):
        made += some
        asked.problems.extend(told)
    return made


def _boards(plans: Sequence[_Plan], asked: seeds.Asked) -> tuple[list[Board], list[str]]:
    """Make some of the boards; return the problems with them."""
    own = replace(asked, problems=[])
    read = read_ahead([plan.wanted for plan in plans], asked.split)
    made = [_board(plan, items, own) for plan, items in zip(plans, read, strict=True)]
    return [board for board in made if board is not None], own.problems


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


@dataclass(frozen=True)
class _Plan:
    """What will stand on a board, before any item statistics are read."""

    task: TaskSpec
    main: str
    also: tuple[str, ...]
    ranked: list[store.Stored]
    others: list[store.Stored]
    missed: bool

    @property
    def wanted(self) -> Wanted:
        """What has to be read."""
        families = {of for of in map(family, (self.main, *self.also)) if of}
        return Wanted(self.ranked, families)


def _plan(members: Sequence[store.Stored], asked: seeds.Asked) -> _Plan:
    task = task_of(members[0].record)
    main = asked.metric or task.metrics.main
    ranked: list[store.Stored] = []
    others: list[store.Stored] = []
    for stored in members:
        (ranked if _rankable(stored.record, asked.split, main) else others).append(stored)
    return _Plan(
        task=task,
        main=main,
        also=tuple(name for name in task.metric_names if name != main),
        ranked=seeds.scored_as_now(ranked, main, asked.split, asked.problems),
        others=others,
        missed=any(s.record.status != "finished" or not s.record.ranked for s in members),
    )


def _board(plan: _Plan, read: Sequence[Read], asked: seeds.Asked) -> Board | None:
    task, main, also, others, split = plan.task, plan.main, plan.also, plan.others, asked.split
    groups = seeds.groups(plan.ranked, read, main, asked)
    if not groups and not plan.missed:
        return None  # none was scored with this metric on this split
    first = (plan.ranked or others)[0].record
    level = task.levels.get(main) if split == "test" else None
    groups, measured = _measurable(groups, main, asked.problems)
    rows = [
        _row(group, found, also, asked, level)
        for group, found in zip(groups, measured, strict=True)
    ]
    places, lost = _places(groups, measured, main), _diverged(groups, others)
    rows = [
        replace(row, rank=place, diverged=tuple(sorted(seeds_lost - set(dict(row.of_seeds)))))
        for row, place, seeds_lost in zip(rows, places, lost, strict=True)
    ]
    better = measured[0].score.higher_is_better if groups else True
    published = task.source.published if split == "test" else ()
    rows += [_external(p, main, also) for p in published if {main, *also} & set(p.scores)]
    rows.sort(key=lambda row: _order(row, better))
    return Board(
        task=f"{first.task}@{first.task_version}",
        budget=first.budget,
        metric=main,
        split=split,
        higher_is_better=better,
        floor=level.floor if level else None,
        ceiling=level.ceiling if level else None,
        alone=level.alone if level else {},
        also=also,
        rows=tuple(rows),
        scope=_scope(rows, groups),
        listed=tuple(_why_not(s.record) for s in others),
        tuning=_tuning(groups),
        caveats=caveats.caveats({g.name: [m.record for m in g.members] for g in groups}),
    )


def _diverged(groups: Sequence[seeds.Group], others: Sequence[store.Stored]) -> list[set[int]]:
    """Return each model's seeds that diverged."""
    found: dict[tuple[str, ...], set[int]] = {}
    for record in (stored.record for stored in others):
        if record.status == "diverged":
            found.setdefault((record.model, *definition(record)), set()).add(record.seed)
    return [found.get((g.members[0].record.model, *g.key), set()) for g in groups]


def _order(row: Row, higher_is_better: bool) -> tuple[float, str]:
    if row.value is None:
        return (math.inf, row.model)
    return (-row.value if higher_is_better else row.value, row.model)


def _tuning(groups: Sequence[seeds.Group]) -> str:
    """Say how models were tuned: one that was tuned longer scores higher, whatever it is."""
    efforts: dict[str, list[str]] = {}
    for group in groups:
        found = _tuned(group.members[0].record)
        efforts.setdefault(found.effort if found else "as written", []).append(group.name)
    if set(efforts) <= {"as written"}:
        return ""
    if len(efforts) == 1:
        return f"tuned alike: {next(iter(efforts))} each"
    told = "; ".join(f"{effort}: {', '.join(sorted(names))}" for effort, names in efforts.items())
    return f"tuning differs: {told}"


def _tuned(record: store.Record) -> TuningSpec | None:
    found = record.definition.get("model", {}).get("tuning")
    return msgspec.convert(found, TuningSpec) if found else None


def _rankable(record: store.Record, split: str, metric: str) -> bool:
    there = metric in record.scores.get(split, {})
    return record.status == "finished" and record.ranked and there


def _why_not(record: store.Record) -> str:
    if record.status != "finished":
        return f"{record.name}: {record.status}: {record.reason}"
    if not record.ranked:
        return f"{record.name}: test items were limited"
    return f"{record.name}: not scored with this metric on this split"


def _measurable(
    groups: Sequence[seeds.Group], metric: str, problems: list[str]
) -> tuple[list[seeds.Group], list[Measured]]:
    """Score each model; one that has no score of these items is named and left out."""
    kept, found = [], []
    for group in groups:
        try:
            found.append(_measured(group, metric))
        except MmbenchError as error:
            problems.append(f"{group.members[0].record.name}: {error}: left out")
            continue
        kept.append(group)
    return kept, found


def _measured(group: seeds.Group, metric: str) -> Measured:
    items = group.items[0]
    clusters = None if items.clusters == items.ids and len(items.ids) > 1 else items.clusters
    return measure(metric, [rows_of(own, metric) for own in group.items], clusters)


def _row(
    group: seeds.Group,
    main: Measured,
    also: Sequence[str],
    asked: seeds.Asked,
    level: LevelSpec | None,
) -> Row:
    headroom = None
    if level is not None and level.ceiling != level.floor:
        headroom = (main.score.value - level.floor) / (level.ceiling - level.floor)
    numbers = [member.record.seed for member in group.members]
    parameters, tuning = _costs(group, "parameters"), _tuned(group.members[0].record)
    return Row(
        model=group.name,
        rank=None,
        main=main.score,
        value=main.score.value,
        also={name: _further(group, name, asked.split) for name in also},
        headroom=headroom,
        seeds=len(group.members),
        parameters=int(parameters[0]) if parameters else None,
        train_seconds=_mean(group, "train_seconds"),
        device=str(group.members[0].record.provenance.get("device", "")),
        trials=tuning.trials if tuning else None,
        flops_per_item=max(_costs(group, "flops_per_item"), default=None),
        peak_host_bytes=max(_costs(group, "peak_host_bytes"), default=None),
        peak_device_bytes=max(_costs(group, "peak_device_bytes"), default=None),
        latency_p50_seconds=_mean(group, "latency_p50_seconds"),
        latency_p95_seconds=_mean(group, "latency_p95_seconds"),
        items_per_second=_mean(group, "items_per_second"),
        energy_joules=_mean(group, "energy_joules"),
        trust=trust.weakest(trust.level(m, asked.findings) for m in group.members),
        of_seeds=tuple(sorted(zip(numbers, main.seeds, strict=True))),
    )


def _further(group: seeds.Group, metric: str, split: str) -> Score | None:
    """Return the score on a metric that does not rank; None where a seed has none of today's."""
    now = signature(metric)
    for member, items in zip(group.members, group.items, strict=True):
        own = member.record.scores[split].get(metric)
        if own is None or own.signature != now or seeds.unfit_for(items, metric):
            return None
    try:
        return _measured(group, metric).score
    except MmbenchError:
        return None


def _costs(group: seeds.Group, name: str) -> list[float]:
    """Return what the seeds cost, as far as their records say so in numbers."""
    told = [caveats.number(member.record.cost, name) for member in group.members]
    return [x for x in told if x is not None]


def _mean(group: seeds.Group, name: str) -> float | None:
    told = _costs(group, name)
    return sum(told) / len(told) if told else None


def _places(
    groups: Sequence[seeds.Group], measured: Sequence[Measured], metric: str
) -> list[tuple[int, int]]:
    """Return first and last possible place of each model (`mmbench.stats.ranks`).

    A single item, or a single cluster, leaves every place open.
    """
    values = [found.values for found in measured if found.values is not None]
    if len(groups) < 2 or len(values) < len(groups):
        return [(1, len(groups))] * len(groups)
    items = groups[0].items[0]
    clusters = None if items.clusters == items.ids else items.clusters
    found = ranks_of(metric, values, clusters)
    return list(zip(found.low, found.high, strict=True))


def _alone(groups: Sequence[seeds.Group]) -> str:
    """Say why a board can have no order, or return an empty string."""
    items = groups[0].items[0]
    return alone(len(items.ids), items.clusters)


def _external(published: PublishedSpec, main: str, also: Sequence[str]) -> Row:
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


def _scope(rows: Sequence[Row], groups: Sequence[seeds.Group]) -> str:
    if not groups:
        return ""
    counts = sorted({row.seeds for row in rows if row.seeds})
    if _alone(groups):
        return f"no intervals and no order: {_alone(groups)}"
    held = groups[0].items[0]
    items = f"{len(held.ids):,} items"
    if held.clusters != held.ids:
        items += f" in {len(set(held.clusters)):,} clusters"
    if counts == [1]:
        return f"95 % intervals over {items}, for these weights: one seed"
    span = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"95 % intervals over {span} seeds x {items}; one training set"
