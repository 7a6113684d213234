"""Tasks x models x seeds, one after the other; what is finished is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mmbench import catalog, registry
from mmbench.errors import IncompatibleError, MmbenchError, UsageError
from mmbench.run import Run, Settings, Watcher, execute
from mmbench.spec import TaskSpec
from mmbench.store import Stored


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
        run: Which.
        stored: Its record; None if it failed.
        fresh: False where the record was there already.
        error: Why it failed.
    """

    run: Run
    stored: Stored | None = None
    fresh: bool = True
    error: MmbenchError | None = None


def plan(
    tasks: Sequence[str],
    models: Sequence[str],
    seeds: Sequence[int],
    budget: str | None,
    settings: Settings,
    overrides: Sequence[str] = (),
) -> list[Run]:
    """Resolve names to runs, everything checked that can be before anything is trained.

    Args:
        tasks: Names, paths, or ``all``.
        models: Names, paths, or ``all``: every shipped model, one per modality included.
        seeds: The seeds.
        budget: A budget that every task has; None: each task's default.
        settings: See `Settings`.
        overrides: ``key.path=value`` for every model.

    Raises:
        MmbenchError: A name, a definition or a pair that cannot work.
    """
    for metric in settings.metrics:
        registry.load("metric", metric)
    runs = []
    for task_name in catalog.task_names() if "all" in tasks else tasks:
        task = catalog.task(task_name)
        chosen = budget or task.default_budget
        if chosen not in task.budgets:
            raise UsageError(
                f"--budget {chosen}: the task {task.name!r} has {', '.join(task.budgets)}"
            )
        for metric in task.metrics.names:
            registry.load("metric", metric)
        for name in _expand(models, task):
            model = catalog.model(name, overrides)
            for modality in model.modalities or ():
                if modality not in task.modalities:
                    raise IncompatibleError(
                        f"model {model.name!r} looks at the modality {modality!r}, which the task "
                        f"{task.name!r} lacks: it has {', '.join(task.modalities)}"
                    )
            runs += [
                Run(task, model, chosen, seed, settings, name, tuple(overrides)) for seed in seeds
            ]
    return _unique(runs)


def sweep(runs: Sequence[Run], watcher: Callable[[Run], Watcher]) -> Iterator[Outcome]:
    """Do the runs in order; yield what became of each.

    A run that fails does not stop the others, unless what failed is the place for the records.
    """
    for run in runs:
        try:
            there = None if run.settings.force else run.finished()
            if there is not None:
                yield Outcome(run, there, fresh=False)
                continue
            yield Outcome(run, execute(run, watcher(run)))
        except UsageError:
            raise
        except MmbenchError as error:
            yield Outcome(run, error=error)


def _expand(models: Sequence[str], task: TaskSpec) -> list[str]:
    """Turn ``all`` into names that fit the task, and a family's name into one per modality."""
    names: list[str] = []
    for name in models:
        if name == "all":
            names += [n for n in catalog.model_names(task) if _fits(n, task)]
        elif name == "unimodal":
            names += [f"{modality}_only" for modality in task.modalities]
        else:
            names.append(name)
    return list(dict.fromkeys(names))


def _fits(name: str, task: TaskSpec) -> bool:
    """Whether a shipped model makes sense on the task; what does not is not part of ``all``."""
    model = catalog.model(name)
    heard = task.modalities if model.modalities is None else model.modalities
    fusion = registry.load("fusion", model.fusion.name)
    kinds = {output.kind for output in task.outputs.values()}
    enough = len(heard) >= fusion.at_least
    # On a single modality every multimodal fusion is that modality's own model.
    redundant = model.modalities is None and len(task.modalities) < 2
    return enough and not redundant and not (kinds & set(fusion.refuses))


def _unique(runs: Sequence[Run]) -> list[Run]:
    """Drop runs that were named twice."""
    found: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        key = (run.task.name, run.model.name, run.seed)
        if key in found and found[key].model != run.model:
            raise UsageError(f"two different models are called {run.model.name!r}: rename one")
        found.setdefault(key, run)
    return list(found.values())
