"""``mmbench run``: train models on tasks, predict, score, and keep the records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.executors import Executor, Outcome
    from mmbench.forecast import Forecast
    from mmbench.run import Run, Watcher
    from mmbench.scoring import Score
    from mmbench.spec import TaskSpec
    from mmbench.store import Stored, StoredScore

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
@option("--threads", type=click.IntRange(1), default=None, help="Compute threads.  [the task's]")
@option(
    "--devices",
    type=click.IntRange(1),
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
    type=click.FloatRange(0.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two checkpoints; 0: after every step.",
)
@option("--limit", type=click.IntRange(2), default=None, help="Test items at most; never ranked.")
@option("--skip-bad", is_flag=True, help="Leave out items that cannot be read, and record which.")
@option("--batch-seeds", is_flag=True, help="Train the seeds of a model as one batch.")
@option("--force", is_flag=True, help="Repeat what is finished.")
@option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at the same time."
)
@option("--fail-fast", is_flag=True, help="Stop at the first run that fails; not at an old record.")
@option(
    "--max-hours",
    type=click.FloatRange(0.0, min_open=True),
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
                raise UsageError(
                    f"{other}: not with --devices {chosen.devices}, which share one run: give one "
                    f"of both"
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
    jobs = _jobs(jobs, runs)
    if dry_run:
        _print_plan(runs, jobs, as_json)
        return 0
    seconds = None if max_hours is None else 3600 * max_hours
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


def _jobs(jobs: int, runs: Sequence[Run]) -> int:
    """Return how many runs can go on at a time; say so if that is more than there are cores."""
    from mmbench.doctor.machine import usable_cores

    jobs = min(jobs, len(runs))
    cores, threads = usable_cores(), max(run.threads for run in runs)
    if jobs > 1 and jobs * threads > cores and runs[0].device == "cpu":
        each = f" with {threads} threads each" if threads > 1 else ""
        fit = max(1, int(cores // threads))
        click.echo(
            f"note: --jobs {jobs}{each} is more than the {cores:g} cores here: runs will wait for "
            f"one another; --jobs {fit} is as fast",
            err=True,
        )
    return jobs


def _to_do(run: Run) -> bool:
    """Whether a run has to be made; what is wrong with a damaged record is said in its turn."""
    from mmbench.errors import StoreError

    try:
        return run.settings.force or run.finished() is None
    except StoreError:
        return True


def _print_plan(runs: list[Run], jobs: int, as_json: bool) -> None:
    """Print the runs in the order in which they begin, those that are finished first."""
    from mmbench import failures
    from mmbench.forecast import Forecast

    forecast = Forecast(runs)
    todo = _in_order(runs, forecast, jobs)
    begin = {id(run): place for place, run in enumerate(todo, 1)}
    if as_json:
        _options.print_json(
            [
                {
                    "task": run.task.name,
                    "model": run.model.name,
                    "budget": run.budget,
                    "seed": run.seed,
                    "identity": run.identity,
                    "finished": id(run) not in begin,
                    "seconds": forecast.seconds(run),
                    "guess": forecast.guess(run) if forecast.seconds(run) is None else None,
                    "begins": begin.get(id(run)),
                    "failed": failure.said if (failure := failures.of(run.folder)) else None,
                }
                for run in runs
            ]
        )
        return
    click.echo(_headline(runs, todo, forecast, jobs))
    for run in (*(run for run in runs if id(run) not in begin), *todo):
        state = "finished"
        if id(run) in begin:
            failure = failures.of(run.folder)
            state = f"to do, {_lasting([run], forecast, 1)}"
            state += f"; failed {failure.said}" if failure else ""
        click.echo(f"  {run.task.name}/{run.model.name} {run.budget} seed {run.seed}: {state}")
    click.echo("next: the same command without --dry-run")


def _in_order(runs: Sequence[Run], forecast: Forecast, jobs: int) -> list[Run]:
    """Return the runs that are to be done, in the order in which they begin."""
    from mmbench import sweep

    todo = sweep.jobs([run for run in runs if _to_do(run)])
    return [run for job in sweep.ordered(todo, forecast, jobs) for run in job.runs]


def _carry_out(
    runs: list[Run],
    jobs: int,
    fail_fast: bool,
    seconds: float | None,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    from mmbench.cli._progress import progress
    from mmbench.forecast import Forecast, Remaining
    from mmbench.sweep import failing, sweep

    forecast = Forecast(runs)
    todo = _in_order(runs, forecast, jobs)
    if not as_json:
        click.echo(_headline(runs, todo, forecast, jobs))
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
                        shown.line(_line(outcome))
                        continue
                    found[place] = outcome
                    # An error of one alone is told at the end.
                    alone = outcome.error is not None and len(runs) == 1
                    shown.ended(place, "" if alone else _line(outcome), failing(outcome))
    except KeyboardInterrupt:
        done = sum(outcome.stored is not None for outcome in found.values())
        click.echo(
            f"interrupted: {done} of {len(runs)} runs are finished and kept in {results}; "
            f"the same command goes on with the others",
            err=True,
        )
        return INTERRUPTED
    outcomes = [found[place] for place in sorted(found)]
    missing = [run for run in runs if places[id(run)] not in found]
    if as_json:
        _options.print_json(
            [
                _as_json(found[place]) if place in found else _left_as_json(run, fail_fast)
                for place, run in enumerate(runs, 1)
            ]
        )
    else:
        _summary(outcomes, results, runs[0].settings.data)
    return _end(outcomes, missing, forecast, seconds)


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
        click.echo(f"error: {run.model.name} seed {run.seed}: {error}", err=True)
    bad = [o.stored.record for o in outcomes if o.stored and o.stored.record.status != "finished"]
    for record in bad:
        click.echo(f"error: {record.name}: {record.status}: {record.reason}", err=True)
    if missing and (failed or bad):
        click.echo(f"stopped: {_left(missing)}; the same command goes on with them", err=True)
    elif missing and seconds is not None:
        shortest = min(missing, key=forecast.guess)
        click.echo(
            f"interrupted: the time of --max-hours is up: {_left(missing)}, of which the shortest "
            f"takes {_lasting([shortest], forecast, 1)}; the same command goes on with them",
            err=True,
        )
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


def _headline(runs: Sequence[Run], todo: Sequence[Run], forecast: Forecast, jobs: int) -> str:
    lasts = _lasting(todo, forecast, jobs)
    head = f"plan: {len(todo)} of {len(runs)} runs to do, {lasts}, {runs[0].device}"
    lines = [head + (f", {jobs} at a time" if jobs > 1 else "")]
    lines += [_levels(task) for task in {run.task.name: run.task for run in runs}.values()]
    return "\n".join(line for line in lines if line)


def _levels(task: TaskSpec) -> str:
    """Say what is possible on a task's main metric, where that is known."""
    from mmbench import registry

    main = task.metrics.main
    level = task.levels.get(main)
    if level is None:
        return ""
    told = f"{task.name} {main}: floor {level.floor:.3f}, "
    if level.alone:
        best = max if registry.load("metric", main).higher_is_better else min
        alone = best(level.alone, key=lambda name: level.alone[name])
        told += f"best single modality ({alone}) {level.alone[alone]:.3f}, "
    return f"{told}all modalities {level.ceiling:.3f} (oracles)"


def _lasting(runs: Sequence[Run], forecast: Forecast, jobs: int) -> str:
    """Say how long runs take, so many at a time, and whether that is a guess."""
    from mmbench.forecast import makespan

    seconds = makespan([forecast.guess(run) for run in runs], jobs) or 0.0
    told = f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"
    guessed = any(forecast.seconds(run) is None for run in runs)
    return f"{told} at a guess" if guessed else told


def _line(outcome: Outcome) -> str:
    run = outcome.run
    title = f"{run.task.name}/{run.model.name} seed {run.seed}"
    if outcome.busy:
        return f"{title}: another process is making it: left for the end"
    if outcome.stored is None:
        return f"{title}: failed: {outcome.error}"
    told = _scores(outcome.stored, _shown(run))
    if outcome.rescored:
        return f"{title}: finished before, scored anew: {told}"
    if outcome.elsewhere:
        return f"{title}: finished before (by another process), {told}"
    if not outcome.fresh:
        return f"{title}: finished before, {told} (--force repeats it)"
    seconds = outcome.stored.record.cost.get("train_seconds", 0.0)
    return f"{title}: {told}, trained {seconds:.0f} s"


def _shown(run: Run) -> list[str]:
    """Return the metrics that are worth a place in a line: the main one and those asked for."""
    return list(dict.fromkeys([run.task.metrics.main, *run.settings.metrics]))


def _scores(stored: Stored, metrics: Sequence[str]) -> str:
    record = stored.record
    if record.status == "diverged":
        return f"diverged: {record.reason}"
    return ", ".join(_score(name, record.scores["test"][name]) for name in metrics)


def _score(name: str, got: StoredScore | Score) -> str:
    if got.value is None:
        return f"{name} unknown"
    if got.low is None or got.high is None or got.low != got.low:
        return f"{name} {got.value:.3f}"
    return f"{name} {got.value:.3f} [{got.low:.3f}, {got.high:.3f}]"


def _summary(outcomes: list[Outcome], results: Path, data: Path | None) -> None:
    """One line per model: its scores over seeds and items."""
    from mmbench.leaderboard import aggregate

    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.stored is not None and outcome.stored.record.status == "finished":
            run = outcome.run
            groups.setdefault((run.task.name, run.model.name), []).append(outcome)
    width = max((len(f"{task}/{model}") for task, model in groups), default=0)
    for (task, model), members in groups.items():
        stored = [outcome.stored for outcome in members if outcome.stored is not None]
        got = [aggregate(stored, metric) for metric in _shown(members[0].run)]
        told = ", ".join(_score(one.metric, one) for one in got)
        seeds = f"{got[0].seeds} seed{'s' if got[0].seeds > 1 else ''}"
        click.echo(f"{f'{task}/{model}':<{width}}  {told}  {seeds} x {got[0].n:,} items")
    for line in _left_out(outcomes):
        click.echo(line)
    if groups:
        task, model = next(iter(groups))
        where = "" if results == Path("results") else f" --results {results}"
        shown = "" if data is None else f" --data {data}"
        board, one = f"mmbench leaderboard -t {task}", f"mmbench show {task}/{model}{shown}"
        click.echo(f"saved in {results}; next: {board if len(groups) > 1 else one}{where}")


def _left_out(outcomes: Sequence[Outcome]) -> list[str]:
    """Say of each task how many items were left out, as its records have it."""
    import json

    lines: dict[str, None] = {}
    for outcome in outcomes:
        told = outcome.stored.record.data.get("left_out", "") if outcome.stored else ""
        if told:
            counts = {split: len(several) for split, several in json.loads(told).items()}
            each = ", ".join(f"{split} {count}" for split, count in counts.items())
            lines[
                f"left out of {outcome.run.task.name}: {sum(counts.values())} items ({each}); "
                f"'mmbench data check' names them"
            ] = None
    return list(lines)


def _as_json(outcome: Outcome) -> dict[str, Any]:
    import msgspec

    if outcome.stored is None:
        return {
            "task": outcome.run.task.name,
            "model": outcome.run.model.name,
            "seed": outcome.run.seed,
            "status": "failed",
            "reason": str(outcome.error),
        }
    record = msgspec.to_builtins(outcome.stored.record)
    kept = ("task", "model", "seed", "budget", "status", "reason", "identity", "scores", "cost")
    return {key: record[key] for key in kept} | {
        "folder": str(outcome.stored.folder),
        "fresh": outcome.fresh,
        "rescored": outcome.rescored,
    }


def _left_as_json(run: Run, fail_fast: bool) -> dict[str, Any]:
    return {
        "task": run.task.name,
        "model": run.model.name,
        "seed": run.seed,
        "status": "left",
        "reason": "--fail-fast or --max-hours" if fail_fast else "--max-hours",
    }
