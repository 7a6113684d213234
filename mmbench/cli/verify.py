"""``mmbench verify``: whether records are what they say. Imports no torch, but for ``--rerun``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import NewerError, UsageError

if TYPE_CHECKING:
    from mmbench.verify import Verdict


@click.command("verify")
@click.argument("what", default=None, required=False)
@option("-t", "--task", "tasks", multiple=True, help="Only these tasks.")
@option("-m", "--model", "models", multiple=True, help="Only these models.")
@option("--rerun", is_flag=True, help="Train each record's run once more.")
@option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="Of --rerun: standard errors of a record's score within which another agrees.",
)
@option(
    "--limit-minutes",
    "minutes",
    type=click.FloatRange(0, min_open=True),
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
        from mmbench.run import import_torch

        import_torch()  # says which extra brings it, before anything is looked at
    wanted = _options.split_names(tasks), _options.split_names(models)
    results, folders, problems = verify.chosen(results, what, *wanted)
    verdicts = verify.verify(results, folders, data)
    if rerun:
        verdicts = _rerun(verdicts, tolerance, minutes, data, quiet, verbose, dry_run)
    if dry_run:
        return 0
    if as_json:
        _options.print_json(verification.to_dict(verdicts, problems))
    else:
        click.echo(verification.text(verdicts, verbose))
        click.echo(verification.summary(verdicts))
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
    written = not no_write and _write(results, verdicts)
    failed = any(verdict.outcome == "failed" for verdict in verdicts)
    if not as_json:
        click.echo(_next(results, verdicts, written, rerun))
    return 1 if failed or problems else 0


def _rerun(
    verdicts: Sequence[Verdict],
    tolerance: float,
    minutes: float | None,
    data: Path | None,
    quiet: bool,
    verbose: bool,
    dry_run: bool,
) -> list[Verdict]:
    """Train again what can be, or say what would be."""
    from mmbench import rerun
    from mmbench.cli._progress import progress

    found, chosen = rerun.plan(verdicts, minutes, data)
    lasts = rerun.seconds([found[place] for place in chosen])
    if dry_run:
        click.echo(f"plan: {len(chosen)} of {len(found)} records to train again, {_minutes(lasts)}")
        for place, verdict in enumerate(found):
            told = verdict.checks[-1].said
            state = _minutes(rerun.seconds([verdict])) if place in chosen else told
            click.echo(f"  {verdict.name}: {state}")
        click.echo("next: the same command without --dry-run")
        return found
    if not quiet:
        click.echo(f"plan: {len(chosen)} runs to train again, {_minutes(lasts)}", err=True)
    with progress(len(chosen), quiet, verbose) as shown:
        for number, (place, run) in enumerate(chosen.items(), 1):
            found[place] = rerun.rerun(found[place], run, shown.begin(run, number), tolerance)
            shown.line(f"{found[place].name}: {found[place].checks[-1].said}")
    return found


def _minutes(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def _write(results: Path, verdicts: Sequence[Verdict]) -> bool:
    """Keep what was found; whether a file was written."""
    from mmbench import trust, verify

    try:
        return trust.merge(results, *verify.findings(results, verdicts))
    except NewerError as error:
        click.echo(f"warning: what was found is not kept: {error}", err=True)
        return False


def _next(results: Path, verdicts: Sequence[Verdict], written: bool, rerun: bool) -> str:
    from mmbench import trust

    kept = f"wrote {results / trust.FILE}; " if written else ""
    where = "" if results == Path("results") else f" --results {results}"
    failed = [verdict.name for verdict in verdicts if verdict.outcome == "failed"]
    if failed:
        left = "what failed is left off the boards; " * written
        return f"{kept}{left}next: mmbench verify {failed[0]} --verbose{where}"
    if not rerun and any(verdict.level == trust.SELF_REPORTED for verdict in verdicts):
        return f"{kept}next: mmbench verify {verdicts[0].name} --rerun{where}"
    return f"{kept}next: mmbench leaderboard{where}"
