"""``mmbench compare``: two models on the same items. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import click

from mmbench.cli import _options
from mmbench.cli._numbers import Whole
from mmbench.cli._options import option
from mmbench.errors import UsageError, refuse_unknown

FILE = click.Path(path_type=Path)
#: Flips of each sort that are drawn where no number is named.
FLIPS = 3


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
    type=Whole(0, 1000),
    default=0,
    help="Show so many items that changed most, of each sort.",
)
@option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    help="Draw these items into this folder (three of each sort, if --show-flips names no number).",
)
@option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "latex", "json"]),
    default="text",
    show_default=True,
)
@option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there, not here.")
@_options.allow_missing
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
    figures: Path | None,
    form: str,
    out: Path | None,
    allow_missing: bool,
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
    mmbench compare hybrid late -t captioning --figures pictures
    mmbench compare a.jsonl b.jsonl -t captioning
    mmbench compare a.trn b.trn --references ref.trn --metric wer --cluster speaker

    The difference is FIRST minus SECOND, paired over items; seeds of two models have nothing to do
    with each other. With one seed the interval is about these weights.
    """  # noqa: D301
    from mmbench import registry, store, versus
    from mmbench.report import comparison as report

    named = [_options.metric_name(name) for name in _options.split_names(metrics)]
    for name in named:
        registry.load("metric", name)
    files = [Path(name).suffix.lower() in versus.ENDINGS for name in (first, second)]
    if any(files) and not all(files):
        other = second if files[0] else first
        raise UsageError(
            f"{other}: a file of predictions is compared with another one; 'mmbench score --save' "
            f"makes a record of a file, and records can be compared"
        )
    count = count or (FLIPS if figures is not None else 0)
    wanted = _options.split_names(tasks)
    asked = versus.Asked(first, second, wanted, named, split, by, count, data, allow_missing)
    warnings: list[str] = []
    if first == second:
        warnings.append(f"{first} is compared with itself")
    if files[0]:
        _refuse(budget is not None, "--budget", "records")
        found = versus.of_files(asked, references, _options.roles(roles), cluster, warnings)
    else:
        for given, name in ((references, "--references"), (roles, "--column")):
            _refuse(bool(given), name, "files of predictions")
        _refuse(cluster is not None, "--cluster", "files of predictions; records have theirs")
        _refuse(allow_missing, "--allow-missing", "files of predictions")
        records, problems = store.scan(results, curves=False)
        warnings += problems
        if records:
            refuse_unknown("task", [*asked.tasks], {s.record.task for s in records})
            refuse_unknown("budget", [budget] if budget else [], {s.record.budget for s in records})
        found = versus.of_models(asked, records, results, budget, warnings)
    if figures is not None:
        from mmbench.report import flips

        found = flips.draw_all(figures, found)
        warnings += [f"{one.task}: no items to draw" for one in found if not one.sheet]
    for warning in dict.fromkeys(warnings):
        click.echo(f"warning: {warning}", err=True)
    for sheet in (one.sheet for one in found if one.sheet):
        click.echo(f"wrote {sheet}", err=True)
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
