"""``mmbench verify``: whether records are what they say. Imports no torch, but for ``--rerun``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli import _options
from mmbench.cli._numbers import Amount
from mmbench.cli._options import option
from mmbench.errors import NewerError, UsageError

if TYPE_CHECKING:
    from mmbench.run import Run
    from mmbench.verify import Verdict


@click.command("verify")
@click.argument("what", default=None, required=False)
@option("-t", "--task", "tasks", multiple=True, help="Only these tasks.")
@option("-m", "--model", "models", multiple=True, help="Only these models.")
@option("--rerun", is_flag=True, help="Train each record's run once more.")
@option(
    "--tolerance",
    type=Amount("standard errors"),
    default=2.0,
    show_default=True,
    help="Of --rerun: standard errors of a record's score within which another agrees.",
)
@option(
    "--limit-minutes",
    "minutes",
    type=Amount("minutes"),
    default=None,
    help="Of --rerun: begin no run that would go beyond so many, as the records' own times tell.",
)
@option("--dry-run", is_flag=True, help="Of --rerun: say what would be trained and how long.")
@option("--no-write", is_flag=True, help="Leave verified.json in the results folder as it is.")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@option("-v", "--verbose", is_flag=True, help="A line for every check.")
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(
    what: str | None,
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    rerun: bool,
    tolerance: float,
    minutes: float | None,
    dry_run: bool,
    no_write: bool,
    quiet: bool,
    verbose: bool,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> int:
    """Say whether records are what they say, and keep what was found for the boards.

    WHAT is a results folder, a record's folder, or the beginning of a name; without it, all of
    --results.

    \b
    mmbench verify
    mmbench verify captioning/hybrid --rerun
    mmbench verify results/reference -t captioning --verbose

    Checksums, digests, identity; scores from item statistics, and these from predictions where
    they are stored (rescored). --rerun trains again: the same bits, or scores within --tolerance
    (reproduced), or nothing agrees (failed). Exit code 1 where something failed, 4 where there is
    nothing to verify.
    """  # noqa: D301
    from mmbench import verify
    from mmbench.report import verification

    for given, name in ((minutes is not None, "--limit-minutes"), (dry_run, "--dry-run")):
        if given and not rerun:
            raise UsageError(f"{name}: goes with --rerun only")
    if rerun:
        from mmbench import rerun as again
        from mmbench.run import import_torch

        import_torch()  # says which extra brings it, before anything is looked at
    wanted = _options.split_names(tasks), _options.split_names(models)
    results, folders, problems = verify.chosen(results, what, *wanted)
    verdicts = verify.verify(results, folders, data)
    interrupted = False
    if rerun:
        verdicts, chosen = again.plan(verdicts, minutes, data)
        if dry_run:
            _print_plan(verdicts, chosen)
            return 0
        interrupted = _rerun(verdicts, chosen, tolerance, quiet, verbose)
    if as_json:
        _options.print_json(verification.to_dict(verdicts, problems))
    else:
        click.echo(verification.text(verdicts, verbose))
        click.echo(verification.summary(verdicts))
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
    written = not no_write and _write(results, verdicts)
    if interrupted:
        kept = f", what was found is kept in {results}" if written else ""
        click.echo(f"interrupted: not all was trained again{kept}", err=True)
        return 130
    failed = any(verdict.outcome == "failed" for verdict in verdicts)
    if not as_json:
        click.echo(_next(results, verdicts, written, rerun))
    return 1 if failed or problems else 0


def _print_plan(verdicts: Sequence[Verdict], chosen: Mapping[int, Run]) -> None:
    """Say what would be trained again, and why the others would not."""
    from mmbench import rerun

    lasts = _minutes(rerun.seconds([verdicts[place] for place in chosen]))
    click.echo(f"plan: {len(chosen)} of {len(verdicts)} records to train again, {lasts}")
    for place, verdict in enumerate(verdicts):
        state = verdict.checks[-1].said
        if place in chosen:
            state = _minutes(rerun.seconds([verdict]))
        click.echo(f"  {verdict.name}: {state}")
    click.echo("next: the same command without --dry-run")


def _rerun(
    verdicts: list[Verdict],
    chosen: Mapping[int, Run],
    tolerance: float,
    quiet: bool,
    verbose: bool,
) -> bool:
    """Train again what was chosen, put what comes of it in place; whether Ctrl-C came between."""
    from mmbench import rerun
    from mmbench.cli._progress import progress

    if not quiet:
        lasts = _minutes(rerun.seconds([verdicts[place] for place in chosen]))
        click.echo(f"plan: {len(chosen)} of {len(verdicts)} to train again, {lasts}", err=True)
    try:
        with progress(len(chosen), quiet, verbose) as shown:
            for number, (place, run) in enumerate(chosen.items(), 1):
                watcher = shown.begin(run, number)
                verdicts[place] = rerun.rerun(verdicts[place], run, watcher, tolerance)
                said = f"{verdicts[place].name}: {verdicts[place].checks[-1].said}"
                shown.ended(number, said)
    except KeyboardInterrupt:
        return True
    return False


def _minutes(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def _write(results: Path, verdicts: Sequence[Verdict]) -> bool:
    """Keep what was found; whether a file was written."""
    from mmbench import trust, verify

    if all(verdict.stored is None for verdict in verdicts):
        return False  # a finding is of a record that can be read
    try:
        return trust.merge(results, *verify.findings(results, verdicts))
    except NewerError as error:
        click.echo(f"warning: what was found is not kept: {error}", err=True)
        return False


def _next(results: Path, verdicts: Sequence[Verdict], written: bool, rerun: bool) -> str:
    from mmbench import trust

    kept = f"wrote {results / trust.FILE}; " if written else ""
    where = _options.where(results)
    failed = [verdict.name for verdict in verdicts if verdict.outcome == "failed"]
    if failed:
        left = "what failed is left off the boards; " * written
        return f"{kept}{left}next: mmbench verify {failed[0]} --verbose{where}"
    if not rerun and any(verdict.level == trust.SELF_REPORTED for verdict in verdicts):
        return f"{kept}next: mmbench verify {verdicts[0].name} --rerun{where}"
    return f"{kept}next: mmbench leaderboard{where}"
