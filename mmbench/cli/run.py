"""``mmbench run``: train models on tasks, predict, score, and keep the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.run import Run
    from mmbench.scoring import Score
    from mmbench.spec import TaskSpec
    from mmbench.store import Stored, StoredScore
    from mmbench.sweep import Outcome


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
@option("--limit", type=click.IntRange(2), default=None, help="Test items at most; never ranked.")
@option("--batch-seeds", is_flag=True, help="Train the seeds of a model as one batch.")
@option("--force", is_flag=True, help="Repeat what is finished.")
@option("--dry-run", is_flag=True, help="Say what would run and how long, then stop.")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@option("-v", "--verbose", is_flag=True, help="More progress, as lines.")
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
    limit: int | None,
    batch_seeds: bool,
    force: bool,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> int:
    """Train models on tasks, predict, score, and keep the records.

    A run that is finished is not done again; after Ctrl-C the same command goes on.

    \b
    mmbench run --task captioning --model hybrid
    mmbench run -t captioning -m early,late,hybrid --seeds 3
    mmbench run -t captioning -m ./myfusion.py --budget smoke
    """  # noqa: D301
    from mmbench.run import Settings
    from mmbench.sweep import plan

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
    )
    left_out: list[str] = []
    if "all" in {*_options.split_names(tasks), *_options.split_names(models)} and not quiet:
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
    for line in left_out:
        click.echo(f"note: {line}", err=True)
    if dry_run:
        _print_plan(runs, as_json)
        return 0
    return _carry_out(runs, quiet, verbose, as_json)


def _to_do(run: Run) -> bool:
    """Whether a run has to be made; what is wrong with a damaged record is said in its turn."""
    from mmbench.errors import StoreError

    try:
        return run.settings.force or run.finished() is None
    except StoreError:
        return True


def _print_plan(runs: list[Run], as_json: bool) -> None:
    from mmbench.forecast import forecast

    rows = [
        (run, not _to_do(run), seconds) for run, seconds in zip(runs, forecast(runs), strict=True)
    ]
    if as_json:
        _options.print_json(
            [
                {
                    "task": run.task.name,
                    "model": run.model.name,
                    "budget": run.budget,
                    "seed": run.seed,
                    "identity": run.identity,
                    "finished": done,
                    "seconds": seconds,
                }
                for run, done, seconds in rows
            ]
        )
        return
    click.echo(_headline(runs))
    for run, done, seconds in rows:
        state = "finished" if done else f"to do, {_minutes(seconds)}"
        click.echo(f"  {run.task.name}/{run.model.name} {run.budget} seed {run.seed}: {state}")
    click.echo("next: the same command without --dry-run")


def _carry_out(runs: list[Run], quiet: bool, verbose: bool, as_json: bool) -> int:
    from mmbench.cli._progress import progress
    from mmbench.sweep import sweep

    if not as_json:
        click.echo(_headline(runs))
    results = runs[0].settings.results
    outcomes: list[Outcome] = []
    try:
        with progress(len(runs), quiet, verbose) as shown:
            for outcome in sweep(runs, lambda run: shown.begin(run, len(outcomes) + 1)):
                outcomes.append(outcome)
                if outcome.error is None or len(runs) > 1:  # one alone is told at the end
                    shown.line(_line(outcome))
    except KeyboardInterrupt:
        done = sum(outcome.stored is not None for outcome in outcomes)
        click.echo(
            f"interrupted: {done} of {len(runs)} runs are finished and kept in {results}; "
            f"the same command goes on with the others",
            err=True,
        )
        return 130
    if as_json:
        _options.print_json([_as_json(outcome) for outcome in outcomes])
    else:
        _summary(outcomes, results, runs[0].settings.data)
    failed = [o for o in outcomes if o.error is not None]
    for outcome in failed:
        run = outcome.run
        click.echo(f"error: {run.model.name} seed {run.seed}: {outcome.error}", err=True)
    bad = [o for o in outcomes if o.stored is not None and o.stored.record.status != "finished"]
    for outcome in bad:
        assert outcome.stored is not None
        record = outcome.stored.record
        click.echo(f"error: {record.name}: {record.status}: {record.reason}", err=True)
    if failed:
        return failed[0].error.exit_code if failed[0].error is not None else 1
    return 1 if bad else 0


def _headline(runs: list[Run]) -> str:
    from mmbench.forecast import forecast

    todo = [run for run in runs if _to_do(run)]
    known = [seconds for seconds in forecast(todo) if seconds is not None]
    # Unknown ones are taken to last as long as the known ones on average.
    total = sum(known) / len(known) * len(todo) if known else None
    lasts = _minutes(total if todo else 0.0)
    lines = [f"plan: {len(todo)} of {len(runs)} runs to do, {lasts}, {runs[0].device}"]
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


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return "duration unknown"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min"


def _line(outcome: Outcome) -> str:
    run = outcome.run
    title = f"{run.task.name}/{run.model.name} seed {run.seed}"
    if outcome.stored is None:
        return f"{title}: failed: {outcome.error}"
    told = _scores(outcome.stored, _shown(run))
    if outcome.rescored:
        return f"{title}: finished before, scored anew: {told}"
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
    if groups:
        task, model = next(iter(groups))
        where = "" if results == Path("results") else f" --results {results}"
        shown = "" if data is None else f" --data {data}"
        board, one = f"mmbench leaderboard -t {task}", f"mmbench show {task}/{model}{shown}"
        click.echo(f"saved in {results}; next: {board if len(groups) > 1 else one}{where}")


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
