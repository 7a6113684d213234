"""The flow of several runs as one batch: whether, load, build, train, test, store, or in turn."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmbench import store
from mmbench.checkpoint import Checkpoints, maker, seeds_of
from mmbench.cost.meter import Meter
from mmbench.errors import StoreError
from mmbench.run import (
    Made,
    Run,
    Watcher,
    deterministic,
    enough_memory,
    examine,
    execute,
    keep,
    make_model,
    prepare,
    streamed,
    validation_score,
)
from mmbench.spec import digest
from mmbench.together.loop import train_together
from mmbench.together.trial import tried
from mmbench.train import Trained, lacks_memory
from mmbench.types import Dataset

if TYPE_CHECKING:
    from mmbench.models.model import Model


def batchable(run: Run) -> str:
    """Say why a run's seeds cannot be trained as a batch; nothing where that is to be tried.

    Args:
        run: One of them.
    """
    from mmbench.models.build import objective
    from mmbench.models.contract import Objective
    from mmbench.models.stacked import supported

    recipe, settings = run.model.recipe, run.settings
    if settings.compiled:
        return "--compile compiles one model's code"
    if recipe.ogm_ge:
        return "recipe.ogm_ge looks at each seed's gradients by themselves"
    if recipe.ema:
        return "recipe.ema averages each seed's weights by themselves"
    if recipe.patience and len(recipe.stages) > 1:
        for stage in recipe.stages[1:]:
            for item in stage.objectives:
                made = objective(item, f"recipe.stages.{stage.name}")
                if type(made).review is not Objective.review:
                    return (
                        f"the objective {item.name!r} looks at validations, and with "
                        f"recipe.patience seeds have theirs at different steps of a later stage"
                    )
    return supported()


def execute_together(runs: Sequence[Run], watcher: Watcher) -> list[store.Stored]:
    """Load, build, train as one batch, predict, score and store runs that differ in the seed.

    Where that cannot be, or does not fit the memory, they are made one after the other, as runs of
    which nobody asked it; the watcher is told why. Records are stored as they come: what fails
    later loses none of them.

    Args:
        runs: Of one task, model, budget and settings; ``settings.batch_seeds`` is set.
        watcher: Is told of all of them as of one.

    Returns:
        Their records, in order.

    Raises:
        MmbenchError: Whatever stands in the way, in one line.
    """
    found = made_together(runs, watcher)
    return found or [_alone(run, watcher) for run in runs]


def made_together(runs: Sequence[Run], watcher: Watcher) -> list[store.Stored]:
    """Make runs as one batch; nothing where that cannot be, of which the watcher is told why.

    Args:
        runs: As for `execute_together`.
        watcher: Is told of all of them as of one.

    Returns:
        Their records, in order; none of them if they have to be made one after the other.

    Raises:
        MmbenchError: Whatever stands in the way, in one line.
    """
    first = runs[0]
    store.check_writable(first.settings.results)
    with deterministic(first):
        found = batchable(first) or _together(runs, watcher)
    if not isinstance(found, str):
        return found
    watcher.note(f"seeds are trained one after the other: {found}")
    _give_memory_back(first.device)
    return []


def _together(runs: Sequence[Run], watcher: Watcher) -> list[store.Stored] | str:
    """Make runs as one batch, or say why that cannot be."""
    from mmbench.models.stacked import NotTogetherError

    first, batch = runs[0], _batch(runs)
    dataset, came_from, meter = prepare(first, watcher)
    came_from["batched_seeds"] = [run.seed for run in batch]
    made_by, every = maker(came_from["device"], first.threads), first.settings.checkpoint_every
    kept = Checkpoints(_checkpoints(batch), _identity(batch), made_by, every, watcher.note)
    for folder, seeds in _of_other_seeds(batch):
        watcher.note(
            f"what is written down of seeds {_named(seeds)} as a batch is of no use to seeds "
            f"{_named([run.seed for run in batch])}, which begin anew: {folder}"
        )
    try:
        trained = _trained(batch, dataset, kept, watcher)
    except NotTogetherError as error:
        kept.clear()
        return str(error)
    meter.stop()
    found = []
    for run in runs:
        model, its = trained[run.seed]
        made = Made(dataset, model, its, dict(came_from), Meter(run.device, meter, len(batch)))
        with enough_memory(run):
            examine(run, made, watcher)
        found.append(keep(run, made))
    kept.clear()
    for folder, seeds in _of_other_seeds(batch):  # nobody needs it any more
        if all(replace(first, seed=seed).finished() is not None for seed in seeds):
            with suppress(OSError):
                store.discard(folder, first.folder)
    return found


def _batch(runs: Sequence[Run]) -> list[Run]:
    """Return all seeds that are trained as the batch that these belong to.

    They are more where a batch was interrupted when it had stored some of its records: what the
    others become is what they became beside those.
    """
    first = runs[0]
    alike = sorted(runs, key=lambda run: run.seed)
    if _checkpoints(alike).exists():
        return alike
    wanted = {run.seed for run in runs}
    for folder in sorted(first.folder.parent.glob(f".{first.budget}-seeds-*.checkpoint")):
        seeds = seeds_of(folder)
        if not wanted < set(seeds):
            continue
        batch = [replace(first, seed=seed) for seed in seeds]
        if _checkpoints(batch) != folder:  # of another definition of the model or the task
            continue
        if all(run.seed in wanted or run.finished() is not None for run in batch):
            return batch
    return alike


def _of_other_seeds(batch: Sequence[Run]) -> list[tuple[Path, list[int]]]:
    """Return where other batches with seeds of this one stand, and which seeds they have."""
    first, found = batch[0], []
    for folder in sorted(first.folder.parent.glob(f".{first.budget}-seeds-*.checkpoint")):
        seeds = seeds_of(folder)
        if {run.seed for run in batch}.isdisjoint(seeds) or folder == _checkpoints(batch):
            continue
        if _checkpoints([replace(first, seed=seed) for seed in seeds]) == folder:
            found.append((folder, seeds))
    return found


def spent_checkpoints(run: Run) -> list[Path]:
    """Return the checkpoints of batches with this run all of whose seeds have a record by now.

    One that is younger than a record is of a batch that repeats it, and is gone on from.
    """
    found = []
    for folder in sorted(run.folder.parent.glob(f".{run.budget}-seeds-*.checkpoint")):
        batch = [replace(run, seed=seed) for seed in seeds_of(folder)]
        if run.seed not in [one.seed for one in batch] or _checkpoints(batch) != folder:
            continue
        with suppress(OSError, StoreError):
            last = folder.stat().st_mtime_ns
            there = [one.finished() for one in batch]
            times = [(s.folder / store.RECORD).stat().st_mtime_ns for s in there if s is not None]
            if len(times) == len(batch) and min(times) >= last:
                found.append(folder)
    return found


def _named(seeds: Sequence[int]) -> str:
    """Name seeds.

    >>> _named([0, 1, 2]), _named([0, 2])
    ('0-2', '0, 2')
    """
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(map(str, seeds))


def _identity(batch: Sequence[Run]) -> str:
    return digest({"seeds": [run.identity for run in batch]})


def _checkpoints(batch: Sequence[Run]) -> Path:
    """Return where it is written down how far a batch is, until its records are there."""
    name = f".{batch[0].budget}-seeds-{_identity(batch)[:8]}.checkpoint"
    return batch[0].folder.with_name(name)


def _trained(
    batch: Sequence[Run], dataset: Dataset, kept: Checkpoints, watcher: Watcher
) -> dict[int, tuple[Model, Trained]]:
    """Build and train the models of a batch.

    Raises:
        NotTogetherError: They cannot be trained together, or not within the memory.
    """
    from mmbench.models.stacked import NotTogetherError

    first, seeds = batch[0], [run.seed for run in batch]
    recipe, budget = first.model.recipe, first.task.budgets[first.budget]
    memory, splits = first.settings.memory, dataset.splits
    validate = partial(validation_score, run=first, dataset=dataset)
    lacking = ""
    try:
        watcher.phase("build")
        models = [make_model(run, dataset) for run in batch]
        for line in streamed(first, models[0], dataset):
            watcher.note(line)
        watcher.phase("train")
        if why := tried(models, splits, recipe, budget, seeds, memory):
            raise NotTogetherError(why)
        found = train_together(
            models, splits, recipe, budget, seeds, validate, watcher, memory, kept
        )
        return dict(zip(seeds, zip(models, found, strict=True), strict=True))
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        lacking = str(error).partition("\n")[0][:200] or type(error).__name__
    raise NotTogetherError(f"{len(batch)} at once do not fit the memory ({lacking})")


def _give_memory_back(device: str) -> None:
    """Let go of models that were trained in vain, and of what a GPU holds for more of them."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()


def _alone(run: Run, watcher: Watcher) -> store.Stored:
    """Make a run as if its seed had been asked for alone, unless that is done already."""
    there = None if run.settings.force else run.alone.finished()
    return execute(run.alone, watcher) if there is None else there
