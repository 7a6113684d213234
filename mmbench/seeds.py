"""Which records are seeds of one model, and may stand on one board.

Whatever is left out is named, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mmbench import registry, store, trust
from mmbench.paired import Read, clustered, definition, partition, signature
from mmbench.spec import digest


@dataclass
class Group:
    """The seeds of one model on one board.

    Attributes:
        name: What the board calls it.
        key: What all its seeds share (`mmbench.paired.definition`).
        members: Their records.
        items: Their item statistics.
    """

    name: str
    key: tuple[str, ...]
    members: list[store.Stored] = field(default_factory=list)
    items: list[store.Items] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """What all boards of one call have in common.

    Attributes:
        metric: Ranks; None: each task's main one.
        split: That is scored.
        problems: Takes what had to be left out, one line each.
        findings: What was found of the records.
    """

    metric: str | None
    split: str
    problems: list[str]
    findings: Mapping[str, trust.Finding]


def trusted(records: Iterable[store.Stored], asked: Asked) -> list[store.Stored]:
    """Leave out what was checked and did not agree."""
    kept = []
    for stored in records:
        if trust.level(stored, asked.findings) == trust.FAILED:
            reason = asked.findings[stored.record.name].reason
            asked.problems.append(f"{stored.record.name}: failed verification: {reason}: left out")
            continue
        kept.append(stored)
    return kept


def scored_as_now(
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


def groups(
    members: Sequence[store.Stored], read: Sequence[Read], metric: str, asked: Asked
) -> list[Group]:
    """Put the seeds of a model together; other definitions under its name stand apart.

    Args:
        members: Records of one board.
        read: Their item statistics (`mmbench.paired.read_ahead`).
        metric: The metric that ranks.
        asked: What is asked.
    """
    problems, keys = asked.problems, [definition(stored.record) for stored in members]
    digests: dict[str, set[tuple[str, ...]]] = {}
    for stored, key in zip(members, keys, strict=True):
        digests.setdefault(stored.record.model, set()).add(key)
    of = dict(zip((id(stored) for stored in members), keys, strict=True))
    found: dict[str, Group] = {}
    for stored, items in _of_one_clustering(_of_one_test(members, read, metric, asked), problems):
        record, key = stored.record, of[id(stored)]
        name = record.model
        if len(digests[name]) > 1:
            name = f"{name}#{digest(key)[:4]} {key[1]}"
        group = found.setdefault(name, Group(name, key))
        if any(m.record.seed == record.seed for m in group.members):
            problems.append(f"{record.name}: seed {record.seed} is there twice: the first counts")
            continue
        group.members.append(stored)
        group.items.append(items)
    return list(found.values())


def _of_one_test(
    members: Sequence[store.Stored], read: Sequence[Read], metric: str, asked: Asked
) -> list[tuple[store.Stored, store.Items]]:
    """Keep what was read, and of it what is of the first record's items and data."""
    kept: list[tuple[store.Stored, store.Items]] = []
    fingerprint: str | None = None
    for stored, items in zip(members, read, strict=True):
        record = stored.record
        if isinstance(items, str):
            asked.problems.append(items)
            continue
        if fingerprint is None:
            fingerprint = record.data.get("fingerprint")
        elif record.data.get("fingerprint") != fingerprint:
            asked.problems.append(f"{record.name}: was tested on other data: left out")
            continue
        unfit = unfit_for(items, metric)
        if unfit:
            asked.problems.append(f"{record.name}: {unfit}: left out")
            continue
        if kept and items.ids != kept[0][1].ids:
            asked.problems.append(f"{record.name}: was tested on other items: left out")
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
    if len({id(items.clusters) for _, items in members}) < 2:
        return list(members)  # read once for all
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


def unfit_for(items: store.Items, metric: str) -> str:
    """Say why item statistics are none of a metric's, or return an empty string."""
    import numpy as np

    loaded = registry.load("metric", metric)
    names, rows = items.families.get(loaded.family, ((), None))
    if rows is None:
        return f"{store.ITEMS} holds no item statistics for {metric!r}"
    if tuple(names) != tuple(loaded.columns):
        return (
            f"{store.ITEMS} holds other item statistics than those of {metric!r}: "
            f"{', '.join(names)}, expected {', '.join(loaded.columns)}"
        )
    if not np.isfinite(rows.sum()) and not np.isfinite(rows).all():
        return f"{store.ITEMS} holds item statistics of {metric!r} that are no finite numbers"
    return ""
