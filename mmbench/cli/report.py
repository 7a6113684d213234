"""``mmbench report``: figures of many records."""

from __future__ import annotations

from pathlib import Path

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import NotComparableError, UsageError


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
@option("--metric", "--metrics", "metrics", multiple=True, help="These instead of the main one.")
@option("--split", default="test", show_default=True, help="Which test split, e.g. ood.")
@option("--cost", default=None, help="Of pareto: what quality is held against, see there.")
@option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="A file for one figure, else a folder.  [default: here]",
)
@option(
    "--format",
    "form",
    type=click.Choice(["png", "svg", "pdf"]),
    default=None,
    help="Of files in a folder.  [default: png]",
)
@_options.data
@_options.results
@_options.common
def command(
    figures: tuple[str, ...],
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    budget: str | None,
    metrics: tuple[str, ...],
    split: str,
    cost: str | None,
    out: Path,
    form: str | None,
    data: Path | None,
    results: Path,
) -> None:
    """Draw figures of many records, as PNG, SVG or PDF.

    \b
    mmbench report --figure forest -t captioning --metric cider_d,emitter_f1
    mmbench report --figure profile,pareto --budget small --out figures --format pdf
    mmbench report --figure pareto --cost train_seconds --out pareto.svg
    mmbench report --figure robustness -t redundant -m early,late

    Each file says in words what it shows, for those who cannot see it.
    """  # noqa: D301
    from mmbench import registry, store
    from mmbench.report import plots

    wanted = _options.split_names(figures)
    if not wanted:
        raise UsageError(f"--figure: name one of {', '.join(plots.names())}, or all")
    wanted = plots.names() if wanted == ["all"] else list(dict.fromkeys(wanted))
    for name in wanted:
        plots.load(name)
    for given, name, figure in ((cost, "--cost", "pareto"), (data, "--data", "robustness")):
        if given is not None and figure not in wanted:
            raise UsageError(f"{name}: goes with --figure {figure} only")
    named = [_options.metric_name(name) for name in _options.split_names(metrics)]
    for name in named:
        registry.load("metric", name)
    found, problems = store.scan(results)
    wanted_tasks, wanted_models = _options.split_names(tasks), _options.split_names(models)
    if found:
        _options.known("task", wanted_tasks, {s.record.task for s in found})
        _options.known("model", wanted_models, {s.record.model for s in found})
        _options.known("budget", [budget] if budget else [], {s.record.budget for s in found})
        splits = {name for s in found for name in s.record.scores}
        _options.known("split", [split] if splits else [], splits)
    chosen = [
        stored
        for stored in found
        if (not wanted_tasks or stored.record.task in wanted_tasks)
        and (not wanted_models or stored.record.model in wanted_models)
        and budget in (None, stored.record.budget)
    ]
    if not chosen:
        what = f"none of the {len(found)} records is asked for" if found else "holds no records"
        more = f"; unreadable: {problems[0]}" if problems else ""
        raise NotComparableError(f"{results}: {what}{more}; 'mmbench run' makes them")
    source = plots.Source(chosen, tuple(named), split, cost or "parameters", data, problems)
    drawn = plots.draw_all(wanted, source, out, form or "")
    for problem in dict.fromkeys(problems):
        click.echo(f"warning: {problem}", err=True)
    for path in drawn:
        click.echo(f"wrote {path}")
