"""``mmbench compare``: two models on the same items. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import NotComparableError, UsageError

if TYPE_CHECKING:
    from mmbench.compare import Comparison, Flip, Side
    from mmbench.evaluation import Evaluation
    from mmbench.store import Stored

#: Endings of files of predictions, as `mmbench score` reads them.
_ENDINGS = (
    *(".jsonl", ".json", ".csv", ".tsv", ".parquet", ".trn", ".txt", ".npy", ".npz"),
)  # fmt: skip
FILE = click.Path(path_type=Path)


@click.command("compare")
@click.argument("first")
@click.argument("second")
@option("-t", "--task", "tasks", multiple=True, help="Only these tasks; of files: theirs.")
@option("--budget", default=None, help="Only this budget.")
@option("--metric", "--metrics", "metrics", multiple=True, help="These, the first one is asked.")
@option("--split", default="test", show_default=True, help="Which test split, e.g. ood.")
@option("--references", type=FILE, default=None, help="What is right, for files without a task.")
@option("--column", "roles", multiple=True, help="Of files: ROLE=NAME, see 'mmbench score'.")
@option("--by", multiple=True, help="Compare the groups of this column too.")
@option("--cluster", default=None, help="Of files: column of the unit that items share.")
@option(
    "--show-flips",
    "count",
    type=click.IntRange(0, 1000),
    default=0,
    help="Show so many items that changed most, of each sort.",
)
@option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "latex", "json"]),
    default="text",
    show_default=True,
)
@option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there, not here.")
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(
    first: str,
    second: str,
    tasks: tuple[str, ...],
    budget: str | None,
    metrics: tuple[str, ...],
    split: str,
    references: Path | None,
    roles: tuple[str, ...],
    by: tuple[str, ...],
    cluster: str | None,
    count: int,
    form: str,
    out: Path | None,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> None:
    """Say which of two models is better, by how much, and whether that is real.

    FIRST and SECOND are two models of records, two records (a folder, or the beginning of a
    name), or two files of predictions.

    \b
    mmbench compare hybrid late
    mmbench compare hybrid late -t captioning --metric emitter_f1 --show-flips 3
    mmbench compare a.jsonl b.jsonl -t captioning
    mmbench compare a.trn b.trn --references ref.trn --metric wer --cluster speaker

    The difference is FIRST minus SECOND, paired over items; seeds of two models have nothing to do
    with each other. With one seed the interval is about these weights.
    """  # noqa: D301
    from mmbench import registry
    from mmbench.report import comparison as report

    named = [_options.metric_name(name) for name in _options.split_names(metrics)]
    for name in named:
        registry.load("metric", name)
    files = [Path(name).suffix.lower() in _ENDINGS for name in (first, second)]
    if any(files) and not all(files):
        other = second if files[0] else first
        raise UsageError(
            f"{other}: a file of predictions is compared with another one; 'mmbench score --save' "
            f"makes a record of a file, and records can be compared"
        )
    if files[0]:
        _refuse(budget is not None, "--budget", "records")
        found = _of_files(
            (first, second), tasks, named, split, references, roles, by, cluster, count, data
        )
    else:
        for given, option_name in ((references, "--references"), (roles, "--column")):
            _refuse(bool(given), option_name, "files of predictions")
        _refuse(cluster is not None, "--cluster", "files of predictions; records have theirs")
        found = _of_records((first, second), tasks, budget, named, split, by, count, results, data)
    form = "json" if as_json else form
    if form == "json":
        import json

        content = json.dumps(report.to_dict(found), indent=1)
    else:
        writers = {"text": report.text, "markdown": report.markdown, "latex": report.latex}
        content = writers[form](found)
    if out is not None:
        _options.write_text(out, content if content.endswith("\n") else f"{content}\n")
        click.echo(f"{report.verdict(found[0])}  -> {out}")
        return
    click.echo(content.rstrip("\n"))
    if form == "text" and not count:
        click.echo("next: the same with --show-flips 3 shows the items that changed most")


def _refuse(given: bool, name: str, other: str) -> None:
    if given:
        raise UsageError(f"{name}: goes with {other} only")


# --- records -------------------------------------------------------------------------------------


def _of_records(
    names: tuple[str, str],
    tasks: Sequence[str],
    budget: str | None,
    metrics: Sequence[str],
    split: str,
    by: Sequence[str],
    count: int,
    results: Path,
    data: Path | None,
) -> list[Comparison]:
    from mmbench import compare, store

    found, problems = store.scan(results)
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
    wanted = _options.split_names(tuple(tasks))
    if found:
        _options.known("task", wanted, {s.record.task for s in found})
        _options.known("budget", [budget] if budget else [], {s.record.budget for s in found})
    chosen = [
        stored
        for stored in found
        if (not wanted or stored.record.task in wanted) and budget in (None, stored.record.budget)
    ]
    both = [_members(name, chosen, results) for name in names]
    together = compare.pairs(*both)
    made, every, mains, sides = [], [], [], []
    for pair in together:
        own = [
            compare.of_records(compare.one_model(members, name), split, name)
            for members, name in zip(pair, names, strict=True)
        ]
        record = pair[0][0].record
        main, known = compare.main_of(record)
        shared = [m for m in known if all(m in side.signatures for side in own)]
        asked = list(metrics) or [main, *(m for m in shared if m != main)]
        every.append(compare.sides(own[0], own[1], asked))
        mains.append(asked[0])
        sides.append(own)
        made.append(record)
    corrected = compare.corrected(every, mains)
    return [
        _made(
            (own[0], own[1]),
            differences,
            task=f"{record.task}@{record.task_version}",
            split=split,
            budget=record.budget,
            by=_groups_of_records(by, own[0], record, split, data),
            flips=_flips_of_records(own[0], own[1], differences[0].metric, count, split, data),
        )
        for record, own, differences in zip(made, sides, corrected, strict=True)
    ]


def _members(name: str, chosen: Sequence[Stored], results: Path) -> list[Stored]:
    """Return the finished records that a name stands for: a model's, or one."""
    from mmbench import store

    named = [s for s in chosen if s.record.model == name]
    if not named:
        task, slash, model = name.partition("/")
        named = [s for s in chosen if slash and (s.record.task, s.record.model) == (task, model)]
    if not named:
        named = [store.resolve(results, name)]
    there = [s for s in named if s.record.status == "finished"]
    if not there:
        record = named[0].record
        raise NotComparableError(f"{record.name}: {record.status}: {record.reason}")
    return there


def _made(
    own: tuple[Side, Side],
    differences: Sequence[Any],
    *,
    task: str,
    split: str,
    budget: str,
    by: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    flips: Sequence[Flip],
) -> Comparison:
    from mmbench import compare

    first, second = own
    metrics = [d.metric for d in differences]
    return compare.Comparison(
        task=task,
        split=split,
        budget=budget,
        first=first.name,
        second=second.name,
        main=metrics[0],
        differences=tuple(differences),
        scope=compare.scope(differences, first, second),
        tuning=compare.tuning(first, second),
        by={
            column: compare.of_groups(first, second, metrics, labels, order)
            for column, labels, order in by
        },
        flips=tuple(flips),
    )


def _groups_of_records(
    by: Sequence[str], side: Side, record: Any, split: str, data: Path | None
) -> Sequence[tuple[str, Sequence[str], Sequence[str]]]:
    """Return (column, label of each item, groups in order), from the task's own data."""
    if not by:
        return []
    from mmbench.data import _load
    from mmbench.paired import task_of
    from mmbench.tables import groups

    part = _load.load(task_of(record), data).splits[split]
    place = {name: at for at, name in enumerate(part.ids)}
    found = []
    for column in by:
        if column not in part.groups:
            known = ", ".join(part.groups) or "none"
            raise UsageError(f"--by {column}: the items of {record.task!r} have: {known}")
        values = part.groups[column].tolist()
        labels = groups.labelled([values[place[name]] for name in side.ids], column)
        found.append((column, labels, groups.in_order(labels)))
    return found


def _flips_of_records(
    first: Side, second: Side, metric: str, count: int, split: str, data: Path | None
) -> tuple[Flip, ...]:
    if not count:
        return ()
    from mmbench import compare
    from mmbench.paired import task_of
    from mmbench.report import samples

    task = task_of(first.members[0].record)
    found = compare.flips(first, second, metric, count)
    told = compare.with_words(found, first, second, split, samples.main_output(task))
    answers, warnings = samples.collect(first.members[0], task, split, data)
    if answers is None:
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        return told
    place = {name: at for at, name in enumerate(answers.ids)}
    return tuple(replace(f, right=answers.right_of(place[f.id])) for f in told)


# --- files ---------------------------------------------------------------------------------------


def _of_files(
    names: tuple[str, str],
    tasks: Sequence[str],
    metrics: Sequence[str],
    split: str,
    references: Path | None,
    roles: Sequence[str],
    by: Sequence[str],
    cluster: str | None,
    count: int,
    data: Path | None,
) -> list[Comparison]:
    from mmbench import catalog, compare, evaluation
    from mmbench.references import readable
    from mmbench.tables import groups

    wanted = _options.split_names(tuple(tasks))
    if len(wanted) > 1:
        raise UsageError(f"--task {','.join(wanted)}: files are of one task")
    if not wanted and (references is None or not metrics):
        raise UsageError("files of predictions need -t TASK, or --references FILE and --metric")
    if wanted and references is not None:
        raise UsageError("--references: the task has its own: give one of both")
    common: dict[str, Any] = {"by": by, "clusters": cluster, "columns": _options.roles(roles)}
    found: list[Evaluation] = []
    for name in names:
        if wanted:
            task = catalog.task(wanted[0])
            own = evaluation.score_task(
                Path(name), task, metrics=list(metrics), split=split, data=data, **common
            )
        else:
            own = evaluation.score(Path(name), references, metrics=list(metrics), **common)
        for warning in own.warnings:
            click.echo(f"warning: {name}: {warning}", err=True)
        found.append(own)
    one, other = found
    sides = (compare.of_evaluation(one, names[0]), compare.of_evaluation(other, names[1]))
    asked = [m for m in one.asked if m in one.scores and m in other.scores]
    if not asked:
        raise NotComparableError("no metric could score both files")
    (differences,) = compare.corrected([compare.sides(sides[0], sides[1], asked)], [asked[0]])
    flips = compare.flips(sides[0], sides[1], asked[0], count) if count else []
    told = [dict(zip(own.ids, own.predictions.outputs[own.output], strict=True)) for own in found]
    right = dict(zip(one.ids, readable(one.references) or (), strict=False))
    return [
        _made(
            sides,
            differences,
            task=f"{one.task.name}@{one.task.version}" if one.task else str(references),
            split=one.split,
            budget="",
            by=[(column, labels, groups.in_order(labels)) for column, labels in one.labels.items()],
            flips=[
                replace(
                    f,
                    first=str(told[0].get(f.id, "")),
                    second=str(told[1].get(f.id, "")),
                    right=tuple(map(str, right.get(f.id, ()))),
                )
                for f in flips
            ],
        )
    ]
