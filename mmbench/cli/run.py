"""``mmbench run``: train models on tasks, predict, score, and keep the records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.run import Run
    from mmbench.store import Stored
    from mmbench.sweep import Outcome


@click.command("run")
@option("-t", "--task", "tasks", multiple=True, help="Task names or TOMLs; 'all': every built-in one.")
@option(
    "-m",
    "--model",
    "models",
    multiple=True,
    help="Model names, TOMLs or fusion files (./myfusion.py); 'all': every shipped one.",
)
@option("--seeds", default="1", show_default=True, help="A count (3) or a range (0-4).")
@option("--budget", default=None, help="One of the task's budgets; its default if not given.")
@option("--set", "settings", multiple=True, help="Override: KEY=VALUE, e.g. width=96.")
@option("--metric", "metrics", multiple=True, help="Score with these too; a name or a .py file.")
@option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Compute threads.")
@option("--limit", type=click.IntRange(2), default=None, help="Test items at most; never ranked.")
@option("--force", is_flag=True, help="Repeat what is finished.")
@option("--dry-run", is_flag=True, help="Say what would run and how long, then stop.")
@option("-q", "--quiet", is_flag=True, help="No progress.")
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
    threads: int,
    limit: int | None,
    force: bool,
    dry_run: bool,
    quiet: bool,
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
    """
    from mmbench.run import Settings
    from mmbench.sweep import plan

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
        metrics=tuple(_metric(name) for name in _options.split_names(metrics)),
    )
    runs = plan(
        _options.split_names(tasks),
        _options.split_names(models),
        _options.parse_seeds(seeds),
        budget,
        chosen,
        settings,
    )
    if dry_run:
        _print_plan(runs, as_json)
        return 0
    return _carry_out(runs, quiet, as_json, results)


def _metric(name: str) -> str:
    """Return a metric's name; a file is included first and has to hold exactly one."""
    if not name.endswith(".py"):
        return name
    from mmbench import registry

    found = [metric for kind, metric in registry.include(Path(name)) if kind == "metric"]
    if len(found) != 1:
        raise UsageError(f"--metric {name}: expected one metric in the file, found {len(found)}")
    return found[0]


def _print_plan(runs: list[Run], as_json: bool) -> None:
    from mmbench.forecast import forecast

    rows = [(run, run.finished() is not None, forecast(run)) for run in runs]
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


def _carry_out(runs: list[Run], quiet: bool, as_json: bool, results: Path) -> int:
    from mmbench.cli._progress import progress
    from mmbench.sweep import sweep

    if not as_json:
        click.echo(_headline(runs))
    outcomes: list[Outcome] = []
    try:
        with progress(len(runs), quiet) as shown:
            for outcome in sweep(runs, lambda run: shown.begin(run, len(outcomes) + 1)):
                outcomes.append(outcome)
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
        _summary(outcomes, results)
    failed = [o for o in outcomes if o.error is not None]
    for outcome in failed:
        click.echo(f"error: {outcome.run.model.name} seed {outcome.run.seed}: {outcome.error}", err=True)
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

    todo = [run for run in runs if run.settings.force or run.finished() is None]
    seconds = [forecast(run) for run in todo]
    known = [s for s in seconds if s is not None]
    # Unknown ones are taken to last as long as the known ones on average.
    total = sum(known) / len(known) * len(todo) if known else None
    tasks = {run.task.name: run for run in runs}
    lines = [f"plan: {len(todo)} of {len(runs)} runs to do, {_minutes(total if todo else 0.0)}, {runs[0].device}"]
    for run in tasks.values():
        main = run.task.metrics.main
        level = run.task.levels.get(main)
        if level is not None:
            alone = max(level.alone, key=lambda name: level.alone[name])
            lines.append(
                f"{run.task.name} {main}: floor {level.floor:.3f}, best single modality "
                f"({alone}) {level.alone[alone]:.3f}, all modalities {level.ceiling:.3f} (oracles)"
            )
    return "\n".join(lines)


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
    if not outcome.fresh:
        return f"{title}: finished before, {_main_score(outcome.stored)} (--force repeats it)"
    seconds = outcome.stored.record.cost.get("train_seconds", 0.0)
    return f"{title}: {_main_score(outcome.stored)}, trained {seconds:.0f} s"


def _main_score(stored: Stored) -> str:
    record = stored.record
    if record.status == "diverged":
        return f"diverged: {record.reason}"
    main = record.definition["task"]["metrics"]["main"]
    got = record.scores["test"][main]
    return f"{main} {got.value:.3f} [{got.low:.3f}, {got.high:.3f}]"


def _summary(outcomes: list[Outcome], results: Path) -> None:
    """One line per model: its score over seeds and items."""
    from mmbench.leaderboard import aggregate

    groups: dict[tuple[str, str], list[Stored]] = {}
    for outcome in outcomes:
        if outcome.stored is not None and outcome.stored.record.status == "finished":
            groups.setdefault((outcome.run.task.name, outcome.run.model.name), []).append(outcome.stored)
    width = max((len(f"{task}/{model}") for task, model in groups), default=0)
    for (task, model), members in groups.items():
        main = members[0].record.definition["task"]["metrics"]["main"]
        got = aggregate(members, main)
        name = f"{task}/{model}"
        click.echo(
            f"{name:<{width}}  {main} {got.value:.3f} [{got.low:.3f}, {got.high:.3f}]  "
            f"{got.seeds} seed{'s' if got.seeds > 1 else ''} x {got.n:,} items"
        )
    if groups:
        (task, model), _ = next(iter(groups.items()))
        where = "" if results == Path("results") else f" --results {results}"
        more = f"mmbench leaderboard -t {task}{where}" if len(groups) > 1 else f"mmbench show {task}/{model}{where}"
        click.echo(f"saved in {results}; next: {more}")


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
    }
