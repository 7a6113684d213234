"""``mmbench leaderboard``: records as ranked tables."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import MmbenchError, NotComparableError, UsageError, refuse_unknown

if TYPE_CHECKING:
    from mmbench.trust import Finding


@click.command("leaderboard")
@option("-t", "--task", "tasks", multiple=True, help="Only these tasks.")
@option("-m", "--model", "models", multiple=True, help="Only these models.")
@option("--budget", default=None, help="Only this budget.")
@option("--metric", "metrics", multiple=True, help="Rank by these instead of the main one.")
@option("--split", default="test", show_default=True, help="Which test split, e.g. ood.")
@option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "overview", "csv", "json", "latex", "html"]),
    default="text",
    show_default=True,
)
@option(
    "--columns",
    "shown",
    multiple=True,
    help="Show these beside the scores: latency, throughput, energy, memory, flops, parameters, "
    "train, device, seeds, headroom, trials, trust, or all. CSV and JSON have all.",
)
@option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there, not here.")
@option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the boards too: a .png, .svg or .pdf file.",
)
@_options.results
@_options.as_json
@_options.common
def command(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    budget: str | None,
    metrics: tuple[str, ...],
    split: str,
    form: str,
    shown: tuple[str, ...],
    out: Path | None,
    figure: Path | None,
    results: Path,
    as_json: bool,
) -> None:
    """Rank what was run, with intervals over seeds and items.

    \b
    mmbench leaderboard
    mmbench leaderboard -t captioning --metric cider_d,emitter_f1 --figure boards.png
    mmbench leaderboard --format markdown --out LEADERBOARD.md
    mmbench leaderboard --format html --out board.html
    mmbench leaderboard --format overview
    mmbench leaderboard -t captioning --columns parameters,latency,throughput,energy
    """  # noqa: D301
    from mmbench import leaderboard, registry, store
    from mmbench.over_tasks import over_tasks
    from mmbench.report import columns, latex, page, tables
    from mmbench.report.escapes import MOST, plain

    named = [_options.metric_name(name) for name in _options.split_names(metrics)]
    for name in named:
        registry.load("metric", name)
    form = "json" if as_json else form
    if shown and form not in ("text", "markdown", "latex", "html"):
        why = "has no room for them" if form == "overview" else "has them all"
        raise UsageError(f"--columns: goes with text, markdown, latex and html; {form} {why}")
    chosen_columns = columns.choose(_options.split_names(shown))
    wanted: list[str | None] = [*named] or [None]
    found, problems = store.scan(results, curves=False)
    findings = _findings(results, problems)
    splits = {split for s in found for split in s.record.scores}
    refuse_unknown("split", [split] if splits else [], splits)
    chosen = _options.chosen(found, results, tasks, models, budget, problems)
    of_metrics = [
        leaderboard.boards(chosen, metric, split, problems, findings) for metric in wanted
    ]
    made = [board for own in of_metrics for board in own]
    across = [one for own in of_metrics for one in over_tasks(own)]
    writers: dict[str, Callable[[], str]] = {
        "text": lambda: tables.text(made, across, chosen_columns),
        "markdown": lambda: tables.markdown(made, across, chosen_columns),
        "overview": lambda: tables.overview(made),
        "csv": lambda: tables.comma_separated(made),
        "json": lambda: tables.to_json(made, across),
        "latex": lambda: latex.latex(made, across, chosen_columns),
        "html": lambda: page.html_page(made, across, chosen_columns),
    }
    for problem in dict.fromkeys(problems):
        click.echo(f"warning: {plain(problem)}", err=True)
    if not made:
        raise NotComparableError(
            f"no record was scored with {', '.join(named) or 'its metric'} on {split!r}"
        )
    content = writers[form]()
    if figure is not None:
        from mmbench.report import plots

        plots.save(figure, plots.content("forest", made, plots.kind_of(figure, "--figure")))
        click.echo(f"wrote {figure}", err=True)
    if out is not None:
        _options.write_text(out, content)
        click.echo(f"wrote {out}")
        return
    click.echo(content.rstrip("\n"))
    if form == "text":
        board = made[0]
        best = next((row.model for row in board.rows if not row.external), "")
        where = _options.where(results)
        record = f"{board.task.partition('@')[0]}/{best.partition('#')[0]}" if best else "@last"
        record = record if plain(record, MOST) == record else "@last"
        click.echo(f"next: mmbench show {shlex.quote(record)}{where}")


def _findings(results: Path, problems: list[str]) -> dict[str, Finding]:
    """Return what was found of the records; where that is damaged, nothing was."""
    from mmbench import trust

    try:
        return trust.read(results)
    except MmbenchError as error:
        problems.append(f"{error}: what was found of the records does not count")
        return {}
