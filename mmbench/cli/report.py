"""``mmbench report``: records as a site to look at."""

from __future__ import annotations

from pathlib import Path

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import NotComparableError, UsageError


@click.command("report")
@option("-t", "--task", "tasks", multiple=True, help="Only these tasks.")
@option("-m", "--model", "models", multiple=True, help="Only these models.")
@option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the site: a new one, or one that this command made.",
)
@option(
    "--items",
    type=click.IntRange(0, 40),
    default=8,
    show_default=True,
    help="Sample items on the page of a run or a task; 0: none, and no data are looked for.",
)
@option("-q", "--quiet", is_flag=True, help="No progress.")
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    out: Path | None,
    items: int,
    quiet: bool,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> None:
    """Write a static site: boards, and a page for each task, model and run.

    It opens from disk and asks nothing of any network.

    \b
    mmbench report --out site/
    mmbench report -t captioning --results results/reference --out site/
    """  # noqa: D301
    from mmbench import store
    from mmbench.cli import _progress
    from mmbench.report import site

    if out is None:
        raise UsageError("expected --out DIR: the folder of the site")
    found, problems = store.scan(results)
    wanted_tasks, wanted_models = _options.split_names(tasks), _options.split_names(models)
    if found:
        _options.known("task", wanted_tasks, {s.record.task for s in found})
        _options.known("model", wanted_models, {s.record.model for s in found})
    chosen = [
        stored
        for stored in found
        if (not wanted_tasks or stored.record.task in wanted_tasks)
        and (not wanted_models or stored.record.model in wanted_models)
    ]
    if not chosen:
        what = f"none of the {len(found)} records is asked for" if found else "holds no records"
        more = f"; unreadable: {problems[0]}" if problems else ""
        raise NotComparableError(f"{results}: {what}{more}; 'mmbench run' makes them")
    with _progress.pages(quiet) as watch:
        made = site.build(chosen, problems, results, out, data, items, watch)
    for problem in made.problems:
        click.echo(f"warning: {problem}", err=True)
    for task, licence in made.licences.items():
        told = f"the site holds items of {task}, whose licence is: {licence}"
        click.echo(f"warning: {told}; --items 0 leaves them out", err=True)
    first = out / "index.html"
    if as_json:
        figures = {"pages": made.pages, "bytes": made.size, "first_page_bytes": made.first}
        _options.print_json({"site": str(first), **figures, "warnings": list(made.problems)})
        return
    size = f"{made.size / 1e6:.1f} MB, the first page {made.first / 1e3:,.0f} KB"
    click.echo(f"wrote {out}: {made.pages:,} pages, {size}")
    click.echo(f"next: open {first} in a browser")
