"""What is compared with what: the records of two models, or two files of predictions.

Both ways end in two `mmbench.compare.Side` on the same items, and from there on are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbench import compare, registry, store
from mmbench.compare import Comparison, Flip, Side
from mmbench.errors import NotComparableError, StoreError, UsageError
from mmbench.paired import clustered, definition, partition, rows_of, signature, task_of
from mmbench.references import readable
from mmbench.tables import groups

if TYPE_CHECKING:
    from mmbench.evaluation import Evaluation
    from mmbench.report.samples import Answers

#: Endings of files of predictions, as `mmbench score` reads them.
ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".trn", ".txt", ".npy", ".npz")


@dataclass(frozen=True)
class Asked:
    """What is asked of a comparison.

    Attributes:
        first: The first side: a model, a record, or a file.
        second: The second side.
        tasks: Only these; of files one at most.
        metrics: The one that is asked about first; none: the task's own.
        split: Which test split.
        by: Columns whose groups are compared too.
        flips: How many items of each sort that changed most.
        data: Folder of the user's data.
        allow_missing: Of files: items without a prediction count as failures.
    """

    first: str
    second: str
    tasks: Sequence[str] = ()
    metrics: Sequence[str] = ()
    split: str = "test"
    by: Sequence[str] = ()
    flips: int = 0
    data: Path | None = None
    allow_missing: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """Both sides."""
        return self.first, self.second


# --- records -------------------------------------------------------------------------------------


def of_models(
    asked: Asked,
    records: Sequence[store.Stored],
    results: Path,
    budget: str | None = None,
    warnings: list[str] | None = None,
) -> list[Comparison]:
    """Compare two models, or two records, on every task on which both were measured alike.

    Args:
        asked: What is asked.
        records: As `store.scan` returns them.
        results: Their folder, for names of single records.
        budget: Only this budget.
        warnings: Takes what could not be read, a line each.

    Raises:
        NotComparableError: A name has no record, or the two have nothing that was measured alike.
        StoreError: Item statistics are missing or damaged.
        UsageError: The items have no such column.
    """
    warnings = [] if warnings is None else warnings
    chosen = [
        s
        for s in records
        if (not asked.tasks or s.record.task in asked.tasks) and budget in (None, s.record.budget)
    ]
    both = [_members(name, chosen, results) for name in asked.names]
    sides, every, reader = [], [], store.Reader()
    paired = _pairs(*both)
    for members in both:
        warnings += _left_out(members, paired)
    for pair in paired:
        own = [
            record_side(one_model(members, name), asked.split, name, reader, warnings)
            for members, name in zip(pair, asked.names, strict=True)
        ]
        task = task_of(own[0].members[0].record)
        shared = [m for m in task.metric_names if all(m in side.signatures for side in own)]
        main = task.metrics.main
        metrics = list(asked.metrics) or [main, *(m for m in shared if m != main)]
        every.append(compare.sides(own[0], own[1], metrics))
        sides.append((own[0], own[1]))
    corrected = compare.corrected(every, [own[0].metric for own in every])
    made = []
    for own_sides, differences in zip(sides, corrected, strict=True):
        record = own_sides[0].members[0].record
        one = compare.made(
            own_sides, differences, f"{record.task}@{record.task_version}", asked.split
        )
        one = replace(one, budget=record.budget, by=_by_records(asked, own_sides, one))
        made.append(_with_flips(asked, own_sides, one, warnings))
    return made


def _members(name: str, chosen: Sequence[store.Stored], results: Path) -> list[store.Stored]:
    """Return the finished records that a name stands for: a model's, or one."""
    named = [s for s in chosen if name in (s.record.model, f"{s.record.task}/{s.record.model}")]
    if not named and Path(name).is_dir() and not (Path(name) / store.RECORD).exists():
        named, _ = store.scan_below(Path(name))
    named = named or [store.resolve(results, name)]
    there = [s for s in named if s.record.status == "finished"]
    if not there:
        record = named[0].record
        raise NotComparableError(f"{record.name}: {record.status}: {record.reason}")
    # One whose test items were limited stands in for nothing, unless there is nothing else.
    return [s for s in there if s.record.ranked] or there


def _pairs(
    first: Sequence[store.Stored], second: Sequence[store.Stored]
) -> list[tuple[list[store.Stored], list[store.Stored]]]:
    """Put together the records of two models that were measured alike: a pair for each task.

    Of a task, those of the budget and digest that both have.

    Raises:
        NotComparableError: There is none, naming what differs.
    """
    groups: list[dict[tuple[str, ...], list[store.Stored]]] = []
    for side in (first, second):
        own: dict[tuple[str, ...], list[store.Stored]] = {}
        for stored in side:
            r = stored.record
            key = (r.task, r.budget, r.task_digest, r.data.get("fingerprint", ""))
            own.setdefault(key, []).append(stored)
        groups.append(own)
    shared = [key for key in groups[0] if key in groups[1]]
    if not shared:
        for one in first:
            for other in second:
                if one.record.task == other.record.task:
                    refuse_apart(one.record, other.record)
        tasks = [sorted({s.record.task for s in side}) for side in (first, second)]
        raise NotComparableError(
            f"the two have no task in common: {', '.join(tasks[0])} and {', '.join(tasks[1])}"
        )
    return [(groups[0][key], groups[1][key]) for key in sorted(shared)]


def _left_out(
    members: Sequence[store.Stored],
    pairs: Sequence[tuple[list[store.Stored], list[store.Stored]]],
) -> list[str]:
    """Name the records on a task and budget that is compared which were measured differently."""
    taken = {s.folder for pair in pairs for side in pair for s in side}
    told = []
    for stored in members:
        own = stored.record
        like = [
            pair[0][0].record
            for pair in pairs
            if (pair[0][0].record.task, pair[0][0].record.budget) == (own.task, own.budget)
        ]
        if stored.folder not in taken and like:
            what = "task digest" if own.task_digest != like[0].task_digest else "data"
            told.append(f"{own.name}: differs in {what} from what is compared: left out")
    return told


def refuse_apart(first: store.Record, second: store.Record) -> None:
    """Refuse to compare two records that were measured differently.

    Raises:
        NotComparableError: Naming what differs.
    """
    both = ((first.name, first), (second.name, second))
    for what, of in (
        ("task", lambda r: f"{r.task}@{r.task_version}"),
        ("budget", lambda r: r.budget),
        ("task digest", lambda r: r.task_digest[:12]),
        ("data", lambda r: r.data.get("fingerprint", "")[:12]),
    ):
        (one, a), (other, b) = ((name, of(record)) for name, record in both)
        if a != b:
            raise NotComparableError(
                f"{one} and {other} differ in {what}: {a or 'none'} and {b or 'none'}: only what "
                f"was measured alike can be compared"
            )


def one_model(members: Sequence[store.Stored], name: str) -> list[store.Stored]:
    """Return records with each seed once, of one definition.

    Raises:
        NotComparableError: Several definitions bear the name.
    """
    kinds = {definition(m.record): f"{m.record.name} ({definition(m.record)[1]})" for m in members}
    if len(kinds) > 1:
        raise NotComparableError(
            f"{name}: {len(kinds)} definitions bear this name: {', '.join(kinds.values())}: name "
            f"a record's folder, or the beginning of its name"
        )
    by_seed: dict[int, store.Stored] = {}
    for member in sorted(members, key=lambda m: m.record.seed):
        by_seed.setdefault(member.record.seed, member)
    return list(by_seed.values())


def record_side(
    members: Sequence[store.Stored],
    split: str,
    name: str,
    reader: store.Reader | None = None,
    warnings: list[str] | None = None,
) -> Side:
    """Return the seeds of one model as a side; those whose items cannot be read are left out.

    Args:
        members: Records of one model, one a seed.
        split: The split.
        name: What to call it.
        reader: Of all that is compared.
        warnings: Takes what is left out, a line each; None: nothing may be left out.

    Raises:
        NotComparableError: The seeds have other items or clusters.
        StoreError: Item statistics are missing or damaged, of all or where none may be left out.
    """
    items: list[store.Items] = []
    whole: list[store.Stored] = []
    for member in members:
        try:
            found = store.read_items(member, reader)
        except StoreError as error:
            if warnings is None or (member is members[-1] and not whole):
                raise
            warnings.append(str(error))
            continue
        whole.append(member)
        if split not in found:
            raise NotComparableError(
                f"{member.record.name}: has no split {split!r}; it has: {', '.join(found)}"
            )
        items.append(found[split])
    members = whole
    for member, own in zip(members, items, strict=True):
        if own.ids != items[0].ids:
            raise NotComparableError(f"{member.record.name}: was tested on other items")
        if own.clusters is not items[0].clusters and partition(own) != partition(items[0]):
            raise NotComparableError(
                f"{member.record.name}: has {clustered(member.record, own)}, "
                f"{members[0].record.name} {clustered(members[0].record, items[0])}"
            )
    scores = [m.record.scores[split] for m in members]
    shared = [name for name in scores[0] if all(name in own for own in scores)]
    signatures = {}
    for metric in shared:
        each = {own[metric].signature for own in scores}
        signatures[metric] = each.pop() if len(each) == 1 else "several signatures"
    known = [metric for metric in shared if signature(metric)]
    families = [
        {registry.load("metric", m).family: rows_of(own, m) for m in known} for own in items
    ]
    return Side(
        name=name,
        families=families,
        signatures=signatures,
        ids=items[0].ids,
        clusters=items[0].clusters,
        tuning=_tuning(members[0].record),
        members=tuple(members),
    )


def _tuning(record: store.Record) -> str:
    import msgspec

    from mmbench.spec import TuningSpec

    found = record.definition.get("model", {}).get("tuning")
    return msgspec.convert(found, TuningSpec).effort if found else ""


def _by_records(
    asked: Asked, own: tuple[Side, Side], one: Comparison
) -> dict[str, Mapping[str, tuple[compare.Difference, ...]]]:
    """Compare the groups of items that the task's own data tell."""
    if not asked.by:
        return {}
    from mmbench.data import _load

    task = task_of(own[0].members[0].record)
    split = _load.load(task, asked.data).splits[asked.split]
    place = {name: at for at, name in enumerate(split.ids)}
    labels = {}
    for column in asked.by:
        if column not in split.groups:
            known = ", ".join(split.groups) or "none"
            raise UsageError(f"--by {column}: the items of {task.name!r} have: {known}")
        values = split.groups[column].tolist()
        labels[column] = groups.labelled([values[place[name]] for name in own[0].ids], column)
    return _by(own, one, labels)


def _with_flips(
    asked: Asked, own: tuple[Side, Side], one: Comparison, warnings: list[str]
) -> Comparison:
    """Add the items that changed most, with what the first seed of each side said of them."""
    if not asked.flips:
        return one
    from mmbench.report import samples

    task = task_of(own[0].members[0].record)
    told: list[dict[str, str]] = []
    right: Mapping[str, tuple[str, ...]] = {}
    shown: Answers | None = None
    for side in own:
        answers, lacking = samples.collect(side.members[0], task, asked.split, asked.data)
        warnings += lacking
        told.append({} if answers is None else dict(zip(answers.ids, answers.texts, strict=True)))
        shown = answers if shown is None or shown.data is None else shown
    if shown is None:  # nobody knows what either side said; the items are there nevertheless
        record = own[0].members[0].record
        shown = samples.unsaid(record, task, asked.split, asked.data, warnings)
    if shown is not None:
        right = {name: shown.right_of(at) for at, name in enumerate(shown.ids)}
    flips = _told(compare.flips(*own, one.main, asked.flips), told, right, shown)
    return replace(one, flips=flips, answers=shown)


# --- files ---------------------------------------------------------------------------------------


def of_files(
    asked: Asked,
    references: Path | None = None,
    columns: Mapping[str, str] | None = None,
    clusters: str | None = None,
    warnings: list[str] | None = None,
) -> list[Comparison]:
    """Compare two files of predictions, scored as ``mmbench score`` scores them.

    Args:
        asked: What is asked.
        references: The file of what is right, where there is no task.
        columns: Role -> column.
        clusters: Column of the unit that items share.
        warnings: Takes what is to be known of the predictions, a line each.

    Raises:
        UsageError: Nobody says what is right, or more than one task.
        NotComparableError: No metric can score both.
        DataError: As `mmbench.score`.
    """
    warnings = [] if warnings is None else warnings
    found = [evaluated(name, asked, references, columns or {}, clusters) for name in asked.names]
    warnings += [f"{n}: {w}" for n, e in zip(asked.names, found, strict=True) for w in e.warnings]
    one, other = found
    own = (file_side(one, asked.first), file_side(other, asked.second))
    metrics = [m for m in one.asked if m in one.scores and m in other.scores]
    if not metrics:
        raise NotComparableError("no metric could score both files")
    (differences,) = compare.corrected([compare.sides(*own, metrics)], [metrics[0]])
    task = f"{one.task.name}@{one.task.version}" if one.task else str(references or asked.first)
    made = compare.made(own, differences, task, one.split)
    made = replace(made, by=_by(own, made, one.labels))
    if not asked.flips:
        return [made]
    told = [dict(zip(e.ids, map(str, e.predictions.outputs[e.output]), strict=True)) for e in found]
    right = dict(zip(one.ids, map(tuple, readable(one.references) or ()), strict=False))
    shown = _answers(one, asked)
    flips = _told(compare.flips(*own, metrics[0], asked.flips), told, right, shown)
    return [replace(made, flips=flips, answers=shown)]


def _answers(found: Evaluation, asked: Asked) -> Answers | None:
    """Return the items of the task that a file was scored on; None where there is no task."""
    if found.task is None:
        return None
    from mmbench.data import _load
    from mmbench.report.samples import Answers

    dataset = _load.load(found.task, asked.data)
    data = dataset.splits[found.split]
    return Answers(
        task=found.task.name,
        split=found.split,
        output=found.output,
        ids=found.ids,
        texts=[str(said) for said in found.predictions.outputs[found.output]],
        data=data,
        row={name: at for at, name in enumerate(data.ids)},
        modalities=dataset.signature.modalities,
        kind=found.kind,
    )


def evaluated(
    name: str,
    asked: Asked,
    references: Path | None,
    columns: Mapping[str, str],
    clusters: str | None,
) -> Evaluation:
    """Score a file of predictions as `of_files` does.

    Raises:
        UsageError: Nobody says what is right, or more than one task.
        DataError: As `mmbench.score`.
    """
    from mmbench import catalog, evaluation

    if len(asked.tasks) > 1:
        raise UsageError(f"--task {','.join(asked.tasks)}: files are of one task")
    if not asked.tasks and not asked.metrics:
        raise UsageError(
            "files of predictions need -t TASK, or --metric and --references FILE (without it, the "
            "files have to hold what is right too)"
        )
    if asked.tasks and references is not None:
        raise UsageError("--references: the task has its own: give one of both")
    common: dict[str, Any] = {"by": asked.by, "clusters": clusters, "columns": columns}
    common |= {"metrics": list(asked.metrics), "allow_missing": asked.allow_missing}
    if not asked.tasks:
        return evaluation.score(Path(name), references, **common)
    task = catalog.task(asked.tasks[0])
    return evaluation.score_task(Path(name), task, split=asked.split, data=asked.data, **common)


def file_side(found: Evaluation, name: str) -> Side:
    """Return scored predictions as a side: one seed, these weights."""
    return Side(
        name=name,
        families=[{family: stats.rows for family, stats in found.scored.statistics.items()}],
        signatures={metric: score.signature for metric, score in found.scores.items()},
        ids=found.ids,
        clusters=found.clusters,
    )


# --- both ----------------------------------------------------------------------------------------


def _by(
    own: tuple[Side, Side], one: Comparison, labels: Mapping[str, Sequence[str]]
) -> dict[str, Mapping[str, tuple[compare.Difference, ...]]]:
    metrics = [d.metric for d in one.differences]
    return {
        column: compare.of_groups(*own, metrics, each, groups.in_order(each))
        for column, each in labels.items()
    }


def _told(
    found: Iterable[Flip],
    told: Sequence[Mapping[str, str]],
    right: Mapping[str, tuple[str, ...]],
    shown: Answers | None,
) -> tuple[Flip, ...]:
    """Put beside each item what both sides said of it, what is right, and its own texts."""
    return tuple(
        replace(
            f,
            first=told[0].get(f.id, ""),
            second=told[1].get(f.id, ""),
            right=right.get(f.id, ()),
            texts={} if shown is None else shown.words_of(f.id),
        )
        for f in found
    )
