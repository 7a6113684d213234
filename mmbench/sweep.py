"""Tasks x models x seeds over an executor; what is finished is not done again."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

from mmbench import catalog, failures, registry
from mmbench.data import _load
from mmbench.errors import IncompatibleError, MissingExtraError, UsageError, nearest
from mmbench.executors import Executor, Job, Outcome
from mmbench.executors.work import finished
from mmbench.forecast import Forecast
from mmbench.references import ANSWERED_BY
from mmbench.run import Run, Settings, check, sized
from mmbench.spec import ModelSpec, TaskSpec, alone_of, heard_of
from mmbench.types import GALLERY, QUERY

#: Seconds between two looks at whether another process is done with a run.
PAUSE = 0.5


def plan(
    tasks: Sequence[str],
    models: Sequence[str],
    seeds: Sequence[int],
    budget: str | None,
    settings: Settings,
    overrides: Sequence[str] = (),
    left_out: list[str] | None = None,
) -> list[Run]:
    """Resolve names to runs, everything checked that can be before anything is trained.

    Args:
        tasks: Names, paths, or ``all``: every shipped task.
        models: Names, paths, or ``all``: every shipped model, one per modality included.
        seeds: The seeds.
        budget: A budget that every task has; None: each task's default.
        settings: See `Settings`.
        overrides: ``key.path=value`` for every model.
        left_out: Takes a line for each model of ``all`` that needs what is not installed, for each
            task of ``all`` that needs the user's data where there are none, and for each model that
            does not fit a task of ``all``; without it, such a model is an error, as it is where
            both were named.

    Raises:
        MmbenchError: A name, a definition or a pair that cannot work.
    """
    for metric in settings.metrics:
        registry.load("metric", metric)
    notes: list[str] = [] if left_out is None else left_out
    everywhere = "all" in tasks and left_out is not None
    anywhere = set(catalog.task_names(shipped=True)) - set(tasks) if everywhere else set()
    refused: dict[tuple[str, str], str] = {}
    runs = []
    named: dict[str, tuple[str, TaskSpec, object]] = {}
    for task_name in _unfolded(_tasks(name, settings, notes) for name in tasks):
        task = catalog.task(task_name)
        own = (task, catalog.task_home(task.name))
        before, *other = named.setdefault(task.name, (task_name, *own))
        if tuple(other) != own:
            raise UsageError(
                f"{before} and {task_name}: both tasks are named {task.name!r}, and results go by "
                f"names: rename one of them (name = ...)"
            )
        _load.check_params(task)
        if settings.skip_bad:
            task = _load.skipping(task)
        chosen = budget or task.default_budget
        if chosen not in task.budgets:
            near = nearest(chosen, task.budgets)
            offer = f"did you mean {near!r}? " if near else ""
            known = ", ".join(task.budgets)
            raise UsageError(f"--budget {chosen}: {offer}the task {task.name!r} has {known}")
        check_metrics(task, settings.metrics)
        for name in _unfolded(_models(name, task) for name in models):
            try:
                model = _on_task(catalog.model(name, overrides, task), task)
            except IncompatibleError as error:
                if task_name not in anywhere:
                    raise
                refused[task.name, name] = str(error)
                continue
            runs += [
                Run(task, model, chosen, seed, settings, name, task_name, tuple(overrides))
                for seed in seeds
            ]
    if not runs:
        raise UsageError(f"there is nothing to run: {'; '.join(notes)}")
    runs = _unique(runs)
    lacking: dict[str, str] = {}
    for run in runs:
        if run.seed != seeds[0]:
            continue
        try:
            notes += filter(None, [check(run)])
        except IncompatibleError as error:
            if run.task_named not in anywhere:
                told, many = str(error), {one.task.name for one in runs}
                if len(many) > 1 and run.task.name not in told:
                    told = f"on the task {run.task.name!r}: {told}"
                raise IncompatibleError(told) from None
            refused[run.task.name, run.named] = str(error)
        except MissingExtraError as error:
            if left_out is None or run.named in models:
                raise
            lacking[run.named] = str(error)
    notes += [f"{name} is left out: {why}" for name, why in lacking.items()]
    without: dict[str, list[str]] = {}
    for (task_name, _), why in refused.items():
        without.setdefault(why, []).append(task_name)
    notes += [
        f"{', '.join(names)} {'goes' if len(names) == 1 else 'go'} without: {why}"
        for why, names in without.items()
    ]
    return [
        run
        for run in runs
        if run.named not in lacking and (run.task.name, run.named) not in refused
    ]


def _on_task(model: ModelSpec, task: TaskSpec) -> ModelSpec:
    """Return a model as large as the task wants it.

    Raises:
        IncompatibleError: It does not fit the task.
    """
    for modality in model.modalities or ():
        if modality not in task.modalities:
            raise IncompatibleError(
                f"model {model.name!r} looks at the modality {modality!r}, which the task "
                f"{task.name!r} lacks: it has {', '.join(task.modalities)}"
            )
    return sized(model, task)


def sweep(
    runs: Sequence[Run],
    executor: Executor,
    forecast: Forecast | None = None,
    *,
    fail_fast: bool = False,
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Outcome]:
    """Do the runs; yield what became of each, as it ends.

    What is finished comes first and is not done again. A run that fails does not stop the others,
    unless what failed is the place for the records. A run that another process is making is left
    for the end, waited for and taken as it is; if the other process dies, it is made here. Such a
    run has two outcomes, the first of which says that it is ``busy``.

    Args:
        runs: With several slots the ones that are expected to last longest begin first.
        executor: Carries them out; closed at the end, cancelled if the end comes early.
        forecast: What is known of how long runs last; learns from those that end.
        fail_fast: Stop at the first run that fails or diverges now; a record that is there already
            stops nothing, so that the next sweep goes on where this one stopped.
        seconds: Begin no run that is not expected to end within so many, by earlier ones or else by
            a guess (`Forecast.guess`); it has no outcome.
        clock: Counts seconds.

    Raises:
        PlaceError: Nothing can be written to the results folder.
    """
    forecast = forecast or Forecast(runs)
    until = math.inf if seconds is None else clock() + seconds

    def fits(job: Job) -> bool:
        if until == math.inf:
            return True
        return clock() + sum(forecast.guess(run) for run in job.runs) < until

    told: set[int] = set()
    whole = False
    try:
        pending = []
        for job in jobs(runs):
            missing = []
            for run in job.runs:
                there = None if run.settings.force else finished(run)
                if there is None:
                    missing.append(run)
                    continue
                yield there  # a failure that is recorded already stops nobody twice
            pending += [Job(tuple(missing))] if missing else []
        for outcome in _made(ordered(pending, forecast, executor.slots), executor, fits):
            if outcome.busy:  # it is asked for again and again; said once
                if id(outcome.run) in told:
                    continue
                told.add(id(outcome.run))
            elif outcome.fresh and outcome.stored is not None:
                forecast.learn(outcome.run, outcome.stored.record)
            yield outcome
            if fail_fast and failing(outcome) and not outcome.rescored:
                return
        whole = True
    finally:
        if whole:
            executor.close()
        else:
            executor.cancel()


def jobs(runs: Sequence[Run]) -> list[Job]:
    """Return what is carried out in one piece each: a run, or the seeds that train as a batch."""
    found: dict[tuple[str, str, int], list[Run]] = {}
    for place, run in enumerate(runs):
        alone = 0 if run.settings.batch_seeds else place
        found.setdefault((run.task.name, run.model.name, alone), []).append(run)
    return [Job(tuple(together)) for together in found.values()]


def ordered(jobs: Sequence[Job], forecast: Forecast, slots: int) -> list[Job]:
    """Return jobs as they begin: with several slots the longest first, so that none is last alone.

    Those with a run that failed before come after all others: whatever it ends, it ends last.

    Args:
        jobs: In the plan's order.
        forecast: What is known of how long runs last.
        slots: How many jobs are carried out at a time.
    """

    def failed(job: Job) -> bool:
        return any(failures.of(run.folder) is not None for run in job.runs)

    if slots < 2:
        return sorted(jobs, key=failed)
    costs = {id(job): sum(forecast.cost(run) for run in job.runs) for job in jobs}
    return sorted(jobs, key=lambda job: (failed(job), -costs[id(job)]))


def failing(outcome: Outcome) -> bool:
    """Whether an outcome makes the whole command fail."""
    stored = outcome.stored
    return outcome.error is not None or (stored is not None and stored.record.status != "finished")


def _made(pending: list[Job], executor: Executor, fits: Callable[[Job], bool]) -> Iterator[Outcome]:
    """Keep the executor's slots filled with jobs that fit, until none is left that does."""
    deferred: list[Job] = []
    running = 0
    while True:
        while running < executor.slots:
            place = next((k for k, job in enumerate(pending) if fits(job)), None)
            if place is None:
                break
            executor.submit(pending.pop(place))
            running += 1
        if not running:
            if not deferred:
                return
            time.sleep(PAUSE)
            pending, deferred = [*pending, *deferred], []
            continue
        free = deferred and running < executor.slots
        ended = executor.outcomes(PAUSE if free else None)
        if not ended:
            pending, deferred = [*pending, *deferred], []
            continue
        running -= 1
        busy = [outcome for outcome in ended if outcome.busy]
        if busy:
            again = Job(tuple(o.run for o in busy), tuple(o.before for o in busy))
            deferred.append(again)
        yield from ended


def _unfolded(names: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(itertools.chain.from_iterable(names)))


def _tasks(name: str, settings: Settings, left_out: list[str]) -> list[str]:
    """Return the tasks that a name stands for."""
    if name != "all":
        return [name]
    names = catalog.task_names(shipped=True)
    data = settings.data
    lacking = [n for n in names if _load.needs_data(catalog.task(n), data)]
    why = "--data names their folder" if data is None else f"{data} does not hold them"
    if lacking:
        left_out.append(
            f"left out, since their data are on your disk ({why}): {', '.join(lacking)}"
        )
    return [n for n in names if n not in lacking]


def check_metrics(task: TaskSpec, more: Sequence[str] = ()) -> None:
    """Refuse metrics that a task's outputs cannot be scored with.

    Raises:
        UsageError: It names the metric and the task.
    """
    for metric in (*task.metric_names, *more):
        _check_metric(metric, task)


def _check_metric(name: str, task: TaskSpec) -> None:
    """Refuse a metric that scores no output of the task."""
    metric = registry.load("metric", name)
    output = metric.output or task.main_output
    if output not in task.outputs:
        raise UsageError(
            f"metric {name!r}: the task {task.name!r} has no output {output!r}; it has: "
            f"{', '.join(task.outputs)}"
        )
    kind = task.outputs[output].kind
    answers = {n: ANSWERED_BY.get(o.kind, o.kind) for n, o in task.outputs.items()}
    if metric.kind == answers[output]:
        return
    fitting = [n for n, answer in answers.items() if answer == metric.kind]
    also = f"; {fitting[0]}.{name} scores that one" if fitting and not metric.output else ""
    raise IncompatibleError(
        f"metric {name!r} scores outputs of the kind {metric.kind!r}, but {output!r} of the task "
        f"{task.name!r} is of the kind {kind!r}{also}; 'mmbench list metrics' shows the kinds"
    )


def _models(name: str, task: TaskSpec) -> list[str]:
    """Return the models that a name stands for on a task."""
    if name == "all":
        fitting = [n for n in catalog.model_names(task, shipped=True) if _fits(n, task)]
        # Two models may differ only on other kinds of output; here they are one.
        first = {catalog.model(n, (), task).digest(): n for n in reversed(fitting)}
        return [n for n in fitting if n in first.values()]
    if name == "unimodal":
        queries = [n for n, modality in task.modalities.items() if modality.role == QUERY]
        return [f"{n}_only" for n in [*alone_of(task.modalities)] or queries]
    return [name]


def _fits(name: str, task: TaskSpec) -> bool:
    """Whether a shipped model makes sense on the task; what does not is not part of ``all``."""
    model = catalog.model(name, (), task)
    heard = heard_of(task.modalities, model.modalities)
    fusion = registry.load("fusion", model.fusion.name)
    kinds = {output.kind for output in task.outputs.values()}
    roles = Counter(task.modalities[name].role for name in heard)
    if GALLERY in roles:
        from mmbench.models.sides import fewest

        # Of a model for one modality, if it is the only one, nothing is left out.
        whole = model.modalities is not None and set(heard) == set(task.modalities)
        deaf = bool(model.modalities) and not roles[QUERY]
        if whole or deaf or max(roles.values()) < fewest(fusion):
            return False
    enough = max(1, len(heard)) >= fusion.at_least
    # On a single modality every multimodal fusion is that modality's own model.
    redundant = model.modalities is None and len(task.modalities) < 2
    name, alone = model.fusion.name, len(heard) < 2
    served = not any(catalog.why_not(model.heads, name, kind, alone) for kind in kinds)
    return enough and served and not redundant


def _unique(runs: Sequence[Run]) -> list[Run]:
    """Drop runs that were named twice."""
    found: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        first = found.setdefault((run.task.name, run.model.name, run.seed), run)
        if first.model != run.model:
            raise UsageError(f"two different models are called {run.model.name!r}: rename one")
    return list(found.values())
