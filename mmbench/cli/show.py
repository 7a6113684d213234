"""``mmbench show``: one record, looked at closely. Imports no torch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli import _options
from mmbench.cli._numbers import Whole
from mmbench.cli._options import option
from mmbench.errors import NotComparableError, UsageError

if TYPE_CHECKING:
    from mmbench.report.transcript import Line

#: Samples that are printed, unless asked otherwise.
PRINTED = 4


@click.command("show")
@click.argument("record", default="@last")
@option("--seed", type=Whole(0), default=None, help="Another seed of the same model.")
@option("--split", default="test", show_default=True, help="Which test split's items, e.g. ood.")
@option(
    "--items",
    type=Whole(1, 90),
    default=None,
    help="Samples, in the text and on the figures.  [default: 4 printed, 12 on the sheet]",
)
@option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder of the figures.  [default: 'figures' in the record's folder]",
)
@option("--no-figures", is_flag=True, help="Draw nothing.")
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(
    record: str,
    seed: int | None,
    split: str,
    items: int | None,
    figures: Path | None,
    no_figures: bool,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> None:
    """Show a record: scores, cost, samples, and figures as PNG.

    RECORD is the beginning of a name or identity, a record's folder, or @last.

    \b
    mmbench show
    mmbench show captioning/hybrid --seed 2
    mmbench show captioning/hybrid --split ood --figures pictures
    """  # noqa: D301 (click needs the backspace itself)
    from mmbench import failures, paired, store
    from mmbench.report import figures as drawn
    from mmbench.report import record as about
    from mmbench.report import samples, transcript

    warnings: list[str] = []
    try:
        stored = store.resolve(results, record, warnings)
    except NotComparableError as error:
        failed = failures.named(results, record)
        if not failed:
            raise
        told = f"{failed[0].title} failed {failed[0].said}"
        raise NotComparableError(
            f"{error}; {told}; the same 'mmbench run' tries it again"
        ) from None
    if seed is not None:
        stored = about.with_seed(stored, seed)
    found = stored.record
    for failure in failures.named(results, f"{found.task}/{found.model}/"):
        warnings.append(f"{failure.title} failed {failure.said}")
    task = paired.task_of(found)
    scores = about.scores_of(found, task)
    if scores and split not in scores:
        raise UsageError(f"--split {split}: {found.name} has {', '.join(scores)}")
    seeds = sorted({other.record.seed for other in about.siblings(stored)})
    answers: samples.Answers | None = None
    if scores:
        answers, lacking = samples.collect(stored, task, split, data)
        warnings += lacking
    chosen = samples.choose(answers, items or PRINTED) if answers is not None else []
    if not as_json:
        lines = about.header(stored, seeds)
        said = about.cost_lines(found)
        lines += [f"{'' if k else 'cost':8}{line}" for k, line in enumerate(said)]
        lines += [f"again   {found.reproduce}"]
        clusters = about.clusters_of(stored)
        for name in scores:
            lines += ["", *about.score_table(scores, task, name, clusters.get(name))]
        click.echo("\n".join(lines))
    if answers is not None and not as_json:
        _print([[], *transcript.transcript(answers, chosen, _columns())])
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    folder = figures or stored.folder / "figures"
    made = {} if no_figures else drawn.draw_all(folder, found, task, answers, items)
    if as_json:
        content = about.to_dict(stored, task, seeds, answers, chosen)
        shown = {name: str(path) for name, path in made.items()}
        _options.print_json(content | {"figures": shown, "warnings": warnings})
        return
    where = _options.where(results)
    if made:
        click.echo("\n" + "\n".join(f"figure  {path}" for path in made.values()))
    click.echo(f"next: {about.next_command(found, where)}")


def _columns() -> int:
    return max(50, min(120, shutil.get_terminal_size((100, 24)).columns))


def _print(lines: Sequence[Line]) -> None:
    """Print with colours on a terminal, plainly elsewhere."""
    from mmbench.report.transcript import plain

    if not sys.stdout.isatty():
        click.echo("\n".join(map(plain, lines)))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        text = Text.assemble(*((piece.text, piece.colour) for piece in line))
        console.print(text, soft_wrap=True)
