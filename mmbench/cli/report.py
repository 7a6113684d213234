"""``mmbench report``: records as a site to look at, or as single figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli import _options
from mmbench.cli._numbers import Whole
from mmbench.cli._options import option
from mmbench.errors import UsageError, refuse_unknown

if TYPE_CHECKING:
    from mmbench.store import Stored


class WithFigures(click.Command):
    """Says at the end of its help which figures there are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each."""
        from mmbench.report import plots

        with formatter.section("Figures"):
            formatter.write_dl([(name, plots.load(name).SUMMARY) for name in plots.names()])


@click.command("report", cls=WithFigures)
@option("--figure", "figures", multiple=True, help="Which, see below; with commas, or all.")
@option("-t", "--task", "tasks", multiple=True, help="Only these tasks.")
@option("-m", "--model", "models", multiple=True, help="Only these models.")
@option("--budget", default=None, help="Only this budget.")
@option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the site: a new one, or one that this command made. Of figures: a file for "
    "one, else a folder.  [default of figures: here]",
)
@option(
    "--items",
    type=Whole(0, 40),
    default=None,
    help="Sample items on the page of a run or a task; 0: none, and no data are looked for.  "
    "[default: 8]",
)
@option("--metric", "--metrics", "metrics", multiple=True, help="Of figures: not the main one.")
@option("--split", default=None, help="Of figures: which test split.  [default: test]")
@option("--cost", default=None, help="Of pareto: what quality is held against, see there.")
@option(
    "--format",
    "form",
    type=click.Choice(["png", "svg", "pdf"]),
    default=None,
    help="Of figures in a folder.  [default: png]",
)
@option("-q", "--quiet", is_flag=True, help="No progress.")
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(
    figures: tuple[str, ...],
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    budget: str | None,
    out: Path | None,
    items: int | None,
    metrics: tuple[str, ...],
    split: str | None,
    cost: str | None,
    form: str | None,
    quiet: bool,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> None:
    """Write a static site: boards, and a page for each task, model and run; or single figures.

    The site opens from disk and asks nothing of any network. Each figure says in words what it
    shows, for those who cannot see it.

    \b
    mmbench report --out site/
    mmbench report -t captioning --results results/reference --out site/
    mmbench report --figure forest -t captioning --metric cider_d,emitter_f1
    mmbench report --figure profile,pareto --budget small --out figures --format pdf
    mmbench report --figure pareto --cost train_seconds --out pareto.svg
    mmbench report --figure robustness -t redundant -m early,late
    """  # noqa: D301
    from mmbench import store
    from mmbench.report import plots

    names = _options.split_names(figures)
    names = plots.names() if names == ["all"] else list(dict.fromkeys(names))
    for name in names:
        plots.load(name)
    only = "a site, not --figure" if names else "--figure, which draws one of its names"
    of_site = [("--items", items), ("--json", as_json or None)]
    of_figures = [("--metric", metrics or None), ("--split", split), ("--cost", cost)]
    of_figures.append(("--format", form))
    for option_name, value in of_site if names else of_figures:
        if value is not None:
            raise UsageError(f"{option_name}: goes with {only}")
    if out is None and not names:
        raise UsageError(
            f"expected --out DIR: the folder of the site; or --figure {', '.join(plots.names())}"
        )
    problems: list[str] = []
    found, unreadable = store.scan(results)
    problems += unreadable
    chosen = _options.chosen(found, results, tasks, models, budget, problems)
    if names:
        splits = {name for s in found for name in s.record.scores}
        refuse_unknown("split", [split] if split else [], splits)
        _figures(names, chosen, metrics, split or "test", cost, data, problems, out, form)
        return
    shown = 8 if items is None else items
    _site(chosen, problems, results, out or Path(), data, shown, quiet, as_json)


def _figures(
    names: Sequence[str],
    chosen: Sequence[Stored],
    metrics: tuple[str, ...],
    split: str,
    cost: str | None,
    data: Path | None,
    problems: list[str],
    out: Path | None,
    form: str | None,
) -> None:
    from mmbench import registry
    from mmbench.report import plots

    for given, option_name, figure in ((cost, "--cost", "pareto"), (data, "--data", "robustness")):
        if given is not None and figure not in names:
            raise UsageError(f"{option_name}: goes with --figure {figure} only")
    named = [_options.metric_name(name) for name in _options.split_names(metrics)]
    for name in named:
        registry.load("metric", name)
    source = plots.Source(chosen, tuple(named), split, cost or "parameters", data, problems)
    drawn = plots.draw_all(names, source, out or Path(), form or "")
    for problem in dict.fromkeys(problems):
        click.echo(f"warning: {problem}", err=True)
    for path in drawn:
        click.echo(f"wrote {path}")


def _site(
    chosen: Sequence[Stored],
    problems: list[str],
    results: Path,
    out: Path,
    data: Path | None,
    items: int,
    quiet: bool,
    as_json: bool,
) -> None:
    from mmbench.cli import _progress
    from mmbench.report import site

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
