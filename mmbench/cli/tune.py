"""``mmbench tune``: the same number of trials for every model, on validation items only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options
from mmbench.cli._numbers import Whole
from mmbench.cli._options import option
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.cli._progress import Quiet
    from mmbench.run import Run
    from mmbench.tune import Study

#: More trials than this are a slip of the hand.
MOST_TRIALS = 10_000


@click.command("tune")
@option("-t", "--task", "tasks", multiple=True, help="Task names or TOMLs.")
@option(
    "-m", "--model", "models", multiple=True, help="Model names, TOMLs or fusion files; or 'all'."
)
@option(
    "--trials",
    type=Whole(1, MOST_TRIALS),
    default=16,
    show_default=True,
    help="Trials of each model.",
)
@option("--budget", default=None, help="What one trial may cost; the task's default if not given.")
@option(
    "--sampler",
    type=click.Choice(["random", "tpe"]),
    default="random",
    show_default=True,
    help="Independent draws, or draws near good ones.",
)
@option("--set", "settings", multiple=True, help="Override: KEY=VALUE, e.g. width=96.")
@option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@option("--threads", type=Whole(1), default=None, help="Compute threads.  [the task's]")
@option("--force", is_flag=True, help="Begin anew.")
@option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("tuned"),
    show_default=True,
    help="Folder of the tuned models.",
)
@option("-q", "--quiet", is_flag=True, help="No progress.")
@_options.memory
@_options.data
@_options.as_json
@_options.common
def command(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    trials: int,
    budget: str | None,
    sampler: str,
    settings: tuple[str, ...],
    device: str,
    threads: int | None,
    force: bool,
    out: Path,
    quiet: bool,
    memory: str,
    data: Path | None,
    as_json: bool,
) -> int:
    """Tune models with equal effort; write each one's best trial as a TOML.

    Trials draw from the table [search] of the model's TOML, have seeds that no reported run may
    have, and are judged on validation items. After Ctrl-C the same command goes on; with more
    --trials it goes further.

    \b
    mmbench tune -t synergy -m early,concat --trials 16
    mmbench run -t synergy -m concat,tuned/synergy/concat_tuned.toml --seeds 5
    """  # noqa: D301
    from mmbench import catalog, rng
    from mmbench.cli._progress import progress
    from mmbench.room import Allowance
    from mmbench.run import Settings
    from mmbench.sweep import plan
    from mmbench.tune import import_optuna, space, tune

    for name, given in (("--task", tasks), ("--model", models)):
        if not given:
            raise UsageError(f"{name} is missing: 'mmbench list {name[2:]}s' shows what there is")
    import_optuna()
    chosen = Settings(
        results=out,
        data=data,
        device=device,
        threads=threads,
        force=force,
        memory=Allowance.parse(memory),
    )
    seeds = [rng.TUNING]
    names = _options.split_names(models)
    runs = plan(_options.split_names(tasks), names, seeds, budget, chosen, settings)
    bases = [catalog.model(run.named or run.model.name, settings, run.task) for run in runs]
    for run, base in zip(runs, bases, strict=True):
        space(run, base)
    if not as_json:
        where = ", ".join(dict.fromkeys(run.task.name for run in runs))
        what = f"{len(runs)} model{'s' * (len(runs) != 1)} x {trials} trials on {where}"
        click.echo(f"tune: {what}, {runs[0].device}; validation items only")
    made: list[tuple[Run, Study, Path]] = []
    failed: list[tuple[Run, UsageError]] = []
    try:
        with progress(len(runs) * trials, quiet) as shown:
            for k, (run, base) in enumerate(zip(runs, bases, strict=True)):
                eyes = _Eyes(shown, k * trials, trials)
                try:
                    study, path = tune(run, base, trials, out, sampler, eyes)
                except UsageError as error:
                    failed.append((run, error))
                    continue
                made.append((run, study, path))
                shown.line(_line(study))
    except KeyboardInterrupt:
        click.echo(
            f"interrupted: the trials that ended are kept in {out}; the same command goes on",
            err=True,
        )
        return 130
    figures = _draw(made, out)
    if as_json:
        _options.print_json([_as_json(study, path) for _, study, path in made])
    else:
        _summary(made, figures)
    for run, why in failed:
        click.echo(f"error: {run.task.name}/{run.model.name}: {why}", err=True)
    return 1 if failed else 0


class _Eyes:
    """Shows a study's trials on the sweep's display."""

    def __init__(self, shown: Quiet, before: int, trials: int) -> None:
        self.shown, self.before, self.trials = shown, before, trials

    def trial(self, run: Run, number: int) -> Quiet:
        """See `mmbench.tune.Eyes`."""
        return self.shown.begin(run, self.before + number + 1)

    def said(self, study: Study) -> None:
        """See `mmbench.tune.Eyes`."""
        trial = study.trials[-1]
        got = f"failed: {trial.reason}" if trial.score is None else f"{trial.score:.3f}"
        drawn = ", ".join(f"{_short(key)} {_value(value)}" for key, value in trial.drawn.items())
        title = f"{study.task}/{study.model} trial {trial.number + 1}/{self.trials}"
        said = f"{title}: {study.metric} {got} ({drawn})"
        self.shown.ended(self.before + trial.number + 1, said)


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _line(study: Study) -> str:
    best = study.best
    assert best is not None
    assert best.score is not None
    failed = f", {study.failed} failed" if study.failed else ""
    told = f"{study.task}/{study.model}: best of {len(study.trials)}{failed}: "
    return f"{told}{study.metric} {best.score:.3f} (trial {best.number + 1})"


def _draw(made: list[tuple[Run, Study, Path]], out: Path) -> list[Path]:
    """Draw the expected best of each task's studies."""
    from mmbench.report import tuning

    by_task: dict[str, list[Study]] = {}
    for _, study, _ in made:
        by_task.setdefault(study.task, []).append(study)
    return [tuning.save(out / task, studies) for task, studies in by_task.items()]


def _summary(made: list[tuple[Run, Study, Path]], figures: list[Path]) -> None:
    from mmbench.report import tuning

    for task in dict.fromkeys(study.task for _, study, _ in made):
        click.echo(tuning.table([study for _, study, _ in made if study.task == task]))
    for _, _, path in made:
        click.echo(f"wrote   {path}")
    for path in figures:
        click.echo(f"figure  {path}")
    if not made:
        return
    run = made[0][0]
    mine = [(r, path) for r, _, path in made if r.task == run.task]
    names = [name for r, path in mine for name in (r.named or r.model.name, str(path))]
    includes = _includes([r for r, _ in mine])
    told = f"mmbench run -t {run.task_named or run.task.name} -m {','.join(names)} --seeds 3"
    click.echo(f"next: {told} --budget {run.budget}{includes}")


def _includes(runs: list[Run]) -> str:
    """Return the options by which tuned models of own components find these."""
    from mmbench import registry

    files = [registry.included_file(*key.split(" ", 1)) for run in runs for key in run.plugins]
    return "".join(f" --include {file}" for file in dict.fromkeys(files) if file is not None)


def _as_json(study: Study, path: Path) -> dict[str, Any]:
    import msgspec

    content: dict[str, Any] = msgspec.to_builtins(study)
    return content | {"expected_best": list(study.expected_best), "model_file": str(path)}
