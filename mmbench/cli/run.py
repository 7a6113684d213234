"""``mmbench run``: train models on tasks, predict, score, and keep the records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli import _options, _outcomes, _plan
from mmbench.cli._numbers import Amount, Whole
from mmbench.cli._options import option
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.executors import Executor, Outcome
    from mmbench.forecast import Forecast
    from mmbench.run import Run, Watcher

#: What a shell reports for work that was interrupted; the same command goes on with it.
INTERRUPTED = 130


@click.command("run")
@option(
    "-t", "--task", "tasks", multiple=True, help="Task names or TOMLs; 'all': the shipped ones."
)
@option(
    "-m",
    "--model",
    "models",
    multiple=True,
    help="Model names, TOMLs or fusion files (./myfusion.py); 'all': the shipped ones.",
)
@option("--seeds", default="1", show_default=True, help="A count (3) or a range (0-4).")
@option("--budget", default=None, help="One of the task's budgets; its default if not given.")
@option("--set", "settings", multiple=True, help="Override: KEY=VALUE, e.g. width=96.")
@option("--metric", "metrics", multiple=True, help="Score with these too; a name or a .py file.")
@option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@option("--threads", type=Whole(1), default=None, help="Compute threads.  [the task's]")
@option(
    "--devices",
    type=Whole(1),
    default=1,
    show_default=True,
    help="Share every batch among N devices; GPUs, or with --device cpu processes.",
)
@option("--compile", "compiled", is_flag=True, help="Train through torch.compile.")
@option(
    "--deterministic", is_flag=True, help="Deterministic GPU kernels only; slower. A CPU always is."
)
@option(
    "--checkpoint-every",
    type=Amount("seconds", zero=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two checkpoints; 0: after every step, with --devices every tenth.",
)
@option("--limit", type=Whole(2), default=None, help="Test items at most; never ranked.")
@option("--skip-bad", is_flag=True, help="Leave out items that cannot be read, and record which.")
@option("--batch-seeds", is_flag=True, help="Train the seeds of a model as one batch.")
@option("--force", is_flag=True, help="Repeat what is finished.")
@option("--jobs", type=Whole(1), default=1, show_default=True, help="Runs at the same time.")
@option("--fail-fast", is_flag=True, help="Stop at the first run that fails; not at an old record.")
@option(
    "--max-hours",
    type=Amount("hours"),
    default=None,
    help="Begin no run that is not expected to end in time, by earlier ones or else by a guess "
    "from its size (--dry-run shows it); exit code 130 if some are left.",
)
@option("--dry-run", is_flag=True, help="Say what would run, in what order and how long.")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@option("-v", "--verbose", is_flag=True, help="More progress, as lines.")
@_options.memory
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    seeds: str,
    budget: str | None,
    settings: tuple[str, ...],
    metrics: tuple[str, ...],
    device: str,
    threads: int | None,
    devices: int,
    compiled: bool,
    deterministic: bool,
    checkpoint_every: float,
    limit: int | None,
    skip_bad: bool,
    batch_seeds: bool,
    force: bool,
    jobs: int,
    fail_fast: bool,
    max_hours: float | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    memory: str,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> int:
    """Train models on tasks, predict, score, and keep the records.

    A run that is finished is not done again; interrupted, the same command goes on. Several
    commands on one results folder share the work.

    \b
    mmbench run --task captioning --model hybrid
    mmbench run -t captioning -m early,late,hybrid --seeds 3
    mmbench run -t captioning -m ./myfusion.py --budget smoke
    mmbench run -t all -m all --seeds 5 --jobs 4 --max-hours 8
    """  # noqa: D301
    from mmbench import devices as shared
    from mmbench.room import Allowance
    from mmbench.run import Settings, follow, resolve_device
    from mmbench.sweep import plan

    shared.hush(devices)
    if shared.launched() > 1 and devices not in (1, shared.launched()):
        raise UsageError(
            f"--devices {devices}: torchrun started {shared.launched()} processes, one for each "
            f"device: leave --devices out"
        )
    if quiet and verbose:
        raise UsageError("--verbose: not with --quiet: give one of both")
    for name, given in (("--task", tasks), ("--model", models)):
        if not given:
            raise UsageError(f"{name} is missing: 'mmbench list {name[2:]}s' shows what there is")
    chosen = Settings(
        results=results,
        data=data,
        device=device,
        threads=threads,
        limit=limit,
        force=force,
        batch_seeds=batch_seeds,
        metrics=tuple(_options.metric_name(name) for name in _options.split_names(metrics)),
        devices=shared.launched() if shared.launched() > 1 else devices,
        compiled=compiled,
        deterministic=deterministic,
        checkpoint_every=checkpoint_every,
        memory=Allowance.parse(memory),
        skip_bad=skip_bad,
    )
    if chosen.devices > 1:
        for other, asked in ((f"--jobs {jobs}", jobs > 1), ("--batch-seeds", batch_seeds)):
            if asked:
                several = f"--devices {chosen.devices}" if devices > 1 else "torchrun"
                raise UsageError(
                    f"{other}: not with {several}, whose processes share one run: give one of both"
                )
        shared.check(chosen.devices, resolve_device(device), device)
    if jobs > 1 and not dry_run:
        from mmbench.executors import pool

        pool.warm()
    left_out: list[str] = []
    if "all" in {*_options.split_names(tasks), *_options.split_names(models)} and not (
        quiet or shared.follows()
    ):
        click.echo("planning: every model is built once for every task", err=True)
    runs = plan(
        _options.split_names(tasks),
        _options.split_names(models),
        _options.parse_seeds(seeds),
        budget,
        chosen,
        settings,
        left_out,
    )
    for line in left_out if not shared.follows() else ():
        click.echo(f"note: {line}", err=True)
    jobs = _plan.jobs(jobs, runs)
    seconds = None if max_hours is None else 3600 * max_hours
    if dry_run:
        if not shared.follows():
            _plan.print_plan(runs, jobs, seconds, as_json)
        return 0
    given = click.get_current_context().meta[_options.ARGUMENTS]
    command_line = [sys.executable, "-m", "mmbench", *given]
    with shared.together(chosen.devices, runs[0].device, command_line) as group:
        if not group.leads:
            try:
                follow()
            except Exception:  # the process that leads was told, and says it
                return 1
            return 0
        return _carry_out(runs, jobs, fail_fast, seconds, quiet, verbose, as_json)


def _carry_out(
    runs: list[Run],
    jobs: int,
    fail_fast: bool,
    seconds: float | None,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    from mmbench import devices as shared
    from mmbench.cli._progress import progress
    from mmbench.forecast import Forecast, Remaining
    from mmbench.sweep import failing, sweep

    forecast = Forecast(runs)
    todo = _plan.in_order(runs, forecast, jobs)
    if not as_json:
        click.echo(_plan.headline(runs, todo, forecast, jobs))
    places = {id(run): place for place, run in enumerate(runs, 1)}
    left = Remaining({places[id(run)]: run for run in todo}, forecast, jobs)
    results = runs[0].settings.results
    found: dict[int, Outcome] = {}
    try:
        with progress(len(runs), quiet, verbose, left) as shown:

            def watch(run: Run) -> Watcher:
                return shown.begin(run, places[id(run)])

            executor = _executor(min(jobs, len(todo)), watch, shown.line)
            working = sweep(runs, executor, forecast, fail_fast=fail_fast, seconds=seconds)
            with closing(working):
                for outcome in working:
                    place = places[id(outcome.run)]
                    if outcome.busy:
                        shown.line(_outcomes.line(outcome))
                        continue
                    found[place] = outcome
                    # An error of one alone is told at the end.
                    alone = outcome.error is not None and len(runs) == 1
                    shown.ended(place, "" if alone else _outcomes.line(outcome), failing(outcome))
    except KeyboardInterrupt:
        done = sum(outcome.stored is not None for outcome in found.values())
        if as_json:
            _print_outcomes(runs, found, "interrupted")
        click.echo(
            f"interrupted: {done} of {len(runs)} runs are finished and kept in {results}; "
            f"the same command goes on with the others",
            err=True,
        )
        if shared.group().count > 1:  # the others wait for this one, which says no goodbye
            raise click.exceptions.Exit(INTERRUPTED) from None
        return INTERRUPTED
    outcomes = [found[place] for place in sorted(found)]
    missing = [run for run in runs if places[id(run)] not in found]
    if as_json:
        stopped = fail_fast and any(failing(outcome) for outcome in outcomes)
        _print_outcomes(runs, found, "--fail-fast" if stopped else "--max-hours")
    else:
        _outcomes.summary(outcomes, results, runs[0].settings.data)
    return _end(outcomes, missing, forecast, seconds)


def _print_outcomes(runs: Sequence[Run], found: Mapping[int, Outcome], why: str) -> None:
    """Print what became of all runs, `found` by their place, and why those are left that are."""
    _options.print_json(
        [
            _outcomes.as_json(found[place]) if place in found else _outcomes.left_as_json(run, why)
            for place, run in enumerate(runs, 1)
        ]
    )


def _executor(jobs: int, watch: Callable[[Run], Watcher], said: Callable[[str], None]) -> Executor:
    """Return what carries the runs out: processes, where several go on at a time."""
    if jobs < 2:
        from mmbench.executors.serial import Serial

        return Serial(watch)
    from mmbench.executors.pool import Pool

    return Pool(jobs, watch, said)


def _end(
    outcomes: Sequence[Outcome], missing: Sequence[Run], forecast: Forecast, seconds: float | None
) -> int:
    """Say what failed and what is left, and return the exit code."""
    failed = [(o.run, o.error) for o in outcomes if o.error is not None]
    for run, error in failed:
        trace = getattr(error, "trace", "")
        if trace and _options.debug_wanted():
            click.echo(trace, err=True)
        name = f"{run.task.name}/{run.model.name}"
        click.echo(f"error: {name} seed {run.seed}: {error}", err=True)
    bad = [o.stored.record for o in outcomes if o.stored and o.stored.record.status != "finished"]
    for record in bad:
        click.echo(f"error: {record.name}: {record.status}: {record.reason}", err=True)
    them = "it" if len(missing) == 1 else "them"
    if missing and (failed or bad):
        click.echo(f"stopped: {_left(missing)}; the same command goes on with {them}", err=True)
    elif missing and seconds is not None:
        shortest = min(missing, key=forecast.guess)
        takes = f"the shortest takes {_plan.lasting([shortest], forecast, 1)}"
        if forecast.guess(shortest) < seconds:
            told = f"the time of --max-hours is up: {_left(missing)}, of which {takes}; the same "
            told += f"command goes on with {them}"
        else:
            told = f"{_left(missing)}, which --max-hours {seconds / 3600:g} is too little for: "
            told += f"{takes}; give more hours"
        click.echo(f"interrupted: {told}", err=True)
    if failed:
        return failed[0][1].exit_code
    if bad:
        return 1
    return INTERRUPTED if missing else 0


def _left(missing: Sequence[Run]) -> str:
    """Name the runs that were not begun, the first few of them."""
    from mmbench.errors import counted

    names = [f"{run.task.name}/{run.model.name} seed {run.seed}" for run in missing[:3]]
    more = ", ..." if len(missing) > 3 else ""
    verb = "is" if len(missing) == 1 else "are"
    return f"{counted(len(missing), 'run')} {verb} left ({', '.join(names)}{more})"
