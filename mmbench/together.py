"""Several seeds of one model trained as a batch: one pass of the model's code for all of them.

What a seed decides stays its own: initialisation, order of items, choice of target texts, modality
dropout, and what is drawn inside of the model. So do validation, the weights that are kept,
patience and divergence; a seed that has ended leaves the batch.

On a CPU with one thread, and batches of a multiple of 16 items, a seed mostly gets the very bits
that it gets alone, whatever stands beside it (`mmbench.models.stacked` says what for). Elsewhere
the last digits differ, as they do between two machines. So they do with texts, which are padded to
the longest of all seeds' batches. A difference there is no difference in what is learned: it grows
in parameters of which nothing depends, such as the biases of attention's keys.

Whether a model can be trained so is tried before training: on the first batch of every stage, the
losses and gradients of all seeds at once are held against those of each seed alone. Where they
cannot be had or do not agree, the seeds are trained one after the other, exactly as without all of
this.
"""

from __future__ import annotations

import copy
import gc
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import rng, store
from mmbench.checkpoint import Checkpoints, Place, maker, seeds_of
from mmbench.cost.meter import Meter
from mmbench.errors import DataError, MmbenchError
from mmbench.keeper import Keeper
from mmbench.optimise import Player, chosen, optimizer, rate
from mmbench.room import USUAL, Allowance
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
from mmbench.spec import BudgetSpec, ObjectiveSpec, RecipeSpec, StageSpec, digest
from mmbench.train import (
    READ_EVERY,
    Order,
    Point,
    Progress,
    Trained,
    Validate,
    below,
    check_recipe,
    lacks_memory,
    read_back,
    write_down,
)
from mmbench.types import Batch, Dataset, Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mmbench.models.contract import Objective
    from mmbench.models.feed import Feed
    from mmbench.models.model import Model
    from mmbench.models.pairs import Pairs
    from mmbench.models.stacked import Stack

#: Share of the largest gradient by which those of all seeds at once may differ from each one's own:
#: float32 sums in another order differ by a thousandth of that, and what is wrong by far more.
WITHIN = 1e-4
#: The same where layers compute in bfloat16.
WITHIN_BF16 = 5e-2
#: Numbers that the widest processors take at once.
LANES = 16


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
    first = runs[0]
    store.check_writable(first.settings.results)
    with deterministic(first):
        found = batchable(first) or _together(runs, watcher)
    if not isinstance(found, str):
        return found
    watcher.note(f"seeds are trained one after the other: {found}")
    _give_memory_back(first.device)
    return [_alone(run, watcher) for run in runs]


def _together(runs: Sequence[Run], watcher: Watcher) -> list[store.Stored] | str:
    """Make runs as one batch, or say why that cannot be."""
    from mmbench.models.stacked import NotTogetherError

    first, batch = runs[0], _batch(runs)
    dataset, came_from, meter = prepare(first, watcher)
    came_from["batched_seeds"] = [run.seed for run in batch]
    made_by, every = maker(came_from["device"], first.threads), first.settings.checkpoint_every
    kept = Checkpoints(_checkpoints(batch), _identity(batch), made_by, every, watcher.note)
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


# --- whether it can be ----------------------------------------------------------------------------


def tried(
    models: Sequence[Model],
    splits: Mapping[str, Split],
    recipe: RecipeSpec,
    budget: BudgetSpec,
    seeds: Sequence[int],
    memory: Allowance = USUAL,
) -> str:
    """Take all losses and gradients of a batch together and alone; say why they do not agree.

    Models and random streams are left as they were.

    Args:
        models: On their device.
        splits: Those that the recipe's stages name.
        recipe: Its stages' objectives are tried.
        budget: Caps the items.
        seeds: The models' seeds.
        memory: What data may take of it.

    Returns:
        Why these models cannot be trained together; nothing where they can.
    """
    from mmbench.models.stacked import Stack, Stream

    check_recipe(recipe, models[0], splits)
    device = next(models[0].parameters()).device
    for stage in recipe.stages:
        with _Data(models[0], splits, stage, recipe, budget, seeds, memory) as data:
            together = data.next()
        for item in stage.objectives:
            streams = [Stream(rng.torch_seed(seed, "dropout"), device) for seed in seeds]
            copies = [copy.deepcopy(model) for model in models]
            objective = _objective(item, stage)
            try:
                stack = Stack(copies, [copy.copy(stream) for stream in streams])
                with _autocast(device):
                    losses = stack.losses(objective, together)
                losses.sum().backward()  # type: ignore[no-untyped-call]
                grads = {name: p.grad for name, p in stack.parameters.items()}
                said = losses.tolist()
            # Whatever the model's own code raises when it meets several models at once: that it
            # cannot is what is found out here.
            except Exception as error:
                if lacks_memory(error):
                    raise
                return _told(item.name, error)
            for at, (model, batch, stream) in enumerate(
                zip(copies, parts(together), streams, strict=True)
            ):
                model.train()
                with stream.drawn_from(), _autocast(device):
                    loss = _objective(item, stage).loss(model, batch)
                loss.backward()  # type: ignore[no-untyped-call]
                own = {name: p.grad for name, p in model.named_parameters()}
                apart = _apart(own, {n: None if g is None else g[at] for n, g in grads.items()})
                apart = max(apart, abs(said[at] - loss.item()) / max(abs(loss.item()), 1.0))
                within = WITHIN_BF16 if _bf16(device) else WITHIN
                if not apart <= within:
                    return (
                        f"{item.name}: together its gradients differ from those of a seed alone "
                        f"by {apart:.1g} of the largest"
                    )
    return ""


def _told(name: str, error: Exception) -> str:
    """Say in a line what an objective cannot do for several models at once."""
    told = str(error).strip().partition("\n")[0].partition(". ")[0][:200]
    return f"{name}: {told or type(error).__name__}"


def _apart(own: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None]) -> float:
    """Return the largest difference between gradients as a share of the largest gradient."""
    largest, most = 0.0, 0.0
    for name, gradient in own.items():
        theirs = other[name]
        if gradient is None and theirs is None:
            continue
        here = gradient if gradient is not None else theirs.new_zeros(())  # type: ignore[union-attr]
        there = theirs if theirs is not None else here.new_zeros(())
        largest = max(largest, float(here.abs().max()))
        most = max(most, float((here - there).abs().max()))
    if largest == 0.0:
        return most
    return most / largest


# --- training -------------------------------------------------------------------------------------


class _Seed:
    """What belongs to one seed of a batch.

    Args:
        seed: Its number.
        model: Holds its weights where they are looked at: before, at validations, at the end.

    Attributes:
        stream: What is drawn inside of its model.
        trained: Its curve and counts.
        keeper: Keeps the weights of its best validation in this stage.
        began: Its steps when the stage began; a seed without patience left has fewer than others.
        done: Its steps over all stages.
        last: The step that ends the stage.
        unread: Steps since its loss was read last.
    """

    def __init__(self, seed: int, model: Model) -> None:
        from mmbench.models.stacked import Stream

        self.seed, self.model = seed, model
        self.stream = Stream(rng.torch_seed(seed, "dropout"), next(model.parameters()).device)
        self.trained = Trained()
        self.keeper = Keeper(model, 0)
        self.began = self.done = self.last = self.unread = 0

    @property
    def ended(self) -> bool:
        """Whether it has no step to take in this stage."""
        over = bool(self.trained.diverged) or self.trained.stopped_early
        return over or self.done >= self.last

    def begin(self, steps: int, patience: int, always: bool, place: Place | None = None) -> None:
        """Begin a stage of so many steps, or go on with it at a place."""
        self.keeper = Keeper(self.model, patience, always)
        if place is None:
            self.began, self.unread = self.done, 0
            self.trained.best_score, self.trained.stopped_early = -math.inf, False
        else:
            self.began, self.unread, self.keeper.since = place.began, place.unread, place.since
        self.last = self.began + steps

    def offer(self, score: float) -> None:
        """Keep the weights if they are wanted; take note of whether patience has run out."""
        trained = self.trained
        taken, trained.stopped_early = self.keeper.offer(score, trained.best_score)
        if taken:
            trained.best_score, trained.best_step = score, self.done

    def state(self, stage: int) -> tuple[Place, dict[str, Tensor]]:
        """Return where it stands; its model holds its weights."""
        place = Place(
            stage=stage,
            seed=self.seed,
            began=self.began,
            done=self.done,
            since=self.keeper.since,
            unread=self.unread,
        )
        write_down(self.trained, place)
        tensors = {"stream": self.stream.state}
        tensors |= {f"model.{name}": x for name, x in self.model.state_dict().items()}
        tensors |= {f"best.{name}": x for name, x in (self.keeper.weights or {}).items()}
        return place, tensors

    def take_up(self, place: Place, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state` returned, but for what a stage begins with."""
        self.trained, self.done = read_back(place), place.done
        self.stream.state = tensors["stream"].cpu()
        self.model.load_state_dict(below(tensors, "model."))

    def take_up_best(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the weights that were kept."""
        best = below(tensors, "best.")
        self.keeper.weights = {name: x.cpu() for name, x in best.items()} or None


def train_together(
    models: Sequence[Model],
    splits: Mapping[str, Split],
    recipe: RecipeSpec,
    budget: BudgetSpec,
    seeds: Sequence[int],
    validate: Validate,
    progress: Progress,
    memory: Allowance = USUAL,
    kept: Checkpoints | None = None,
) -> list[Trained]:
    """Train models in place, as `mmbench.train.train` trains each of them.

    Args:
        models: On one device, each initialised from its seed.
        splits: Those that the recipe's stages name.
        recipe: Stages, batch size, patience.
        budget: Caps items and steps.
        seeds: The models' seeds.
        validate: Called for each model by itself.
        progress: Told about every step: the mean loss and validation of those that take it.
        memory: What data may take of it.
        kept: Where it is written down how far training is; None: nowhere.

    Returns:
        For each model its curve and counts. Seconds are its share: those of every step are parted
        among the seeds that took it.

    Raises:
        NotTogetherError: The models cannot be trained together (see `tried`).
        DataError: A split is empty.
        StoreError: A checkpoint cannot be written.
    """
    training = _Training(models, splits, recipe, budget, seeds, memory, kept)
    return training.run(validate, progress)


class _Training:
    """All stages of all seeds, from the beginning or from where they were interrupted."""

    def __init__(
        self,
        models: Sequence[Model],
        splits: Mapping[str, Split],
        recipe: RecipeSpec,
        budget: BudgetSpec,
        seeds: Sequence[int],
        memory: Allowance,
        kept: Checkpoints | None,
    ) -> None:
        self.splits, self.recipe, self.budget = splits, recipe, budget
        self.memory, self.kept = memory, kept
        self.device = next(models[0].parameters()).device
        self.every = [_Seed(seed, model) for seed, model in zip(seeds, models, strict=True)]

    def run(self, validate: Validate, progress: Progress) -> list[Trained]:
        """Go through the stages that are still to be done."""
        stages = self.recipe.stages
        found = self.kept.load(self.device) if self.kept is not None else None
        first = 0
        if found is not None:
            first = found[0].stage
            for row, one in enumerate(self.every):
                one.take_up(found[0].seeds[row], below(found[1], f"seed.{row}."))
            whole = first == len(stages)
            where = f"at step {found[0].done} of {self.budget.steps}"
            where = "after training" if whole else where
            progress.note(f"goes on {where}, where it was interrupted")
        for number in range(first, len(stages)):
            stage, resumed = stages[number], found if number == first else None
            steps = max(1, round(self.budget.steps * stage.share))
            for row, one in enumerate(self.every):
                if resumed is not None:
                    place = resumed[0].seeds[row]
                    one.begin(steps, self.recipe.patience, stage.keep == "last", place)
                    one.take_up_best(below(resumed[1], f"seed.{row}."))
                elif not one.trained.diverged:
                    one.begin(steps, self.recipe.patience, stage.keep == "last")
            left = [one for one in self.every if not one.ended]
            if left:
                loop = _Stage(self, left, stage, number, steps)
                with loop.data:
                    if resumed is not None:
                        loop.take_up(*resumed)
                    loop.data.plan()
                    loop.run(validate, progress)
            for one in self.every:
                one.keeper.restore()
        if first < len(stages):
            # Tests and scores need not wait for training again; and those whose records are there
            # then are no longer asked for, without whom the others would not be the same batch.
            for one in self.every:
                one.keeper.weights = None  # its model holds them
            self.save(Place(stage=len(stages)), {})
        return [one.trained for one in self.every]

    def save(self, place: Place, tensors: dict[str, Tensor]) -> None:
        """Write down where training stands; the models hold their weights."""
        if self.kept is None:
            return
        place.done = place.done or max(one.done for one in self.every)
        for row, one in enumerate(self.every):
            its, own = one.state(place.stage)
            place.seeds.append(its)
            tensors |= {f"seed.{row}.{name}": x for name, x in own.items()}
        self.kept.save(place, tensors)


class _Data:
    """The batches of one stage, [S, B, ...], each seed's in its own order.

    What it holds is given up where ``with`` is left.
    """

    def __init__(
        self,
        model: Model,
        splits: Mapping[str, Split],
        stage: StageSpec,
        recipe: RecipeSpec,
        budget: BudgetSpec,
        seeds: Sequence[int],
        memory: Allowance,
    ) -> None:
        from mmbench.models.pairs import feed_for

        device = next(model.parameters()).device
        split = splits[stage.split]
        names = list(model.encoders)
        self.feed: Feed | Pairs = feed_for(split, device, names, budget.items, memory)
        if len(self.feed) == 0:
            raise DataError(f"the split {stage.split!r} is empty: nothing to train on")
        #: Which of several texts, or entries of a gallery, an item is trained on is each seed's own
        #: draw.
        several = any(np.ndim(array) == 3 for array in split.targets.values())
        self.chooses = several or split.gallery is not None
        self.size = min(recipe.batch_size, len(self.feed))
        self.dropout = recipe.modality_dropout
        self.sides = model.sides
        self.name = stage.name
        self.seeds = list(seeds)
        self.at = 0
        self.orders = [Order(seed, self.name, len(self.feed), self.size) for seed in seeds]

    def __enter__(self) -> _Data:
        return self

    def __exit__(self, *raised: object) -> None:
        self.feed.close()

    def go_to(self, at: int, epoch: int, start: int) -> None:
        """Stand where `at` batches of the stage are over, at item `start` of an epoch."""
        self.at = at
        for order in self.orders:
            order.go_to(epoch, start)

    def plan(self) -> None:
        """Let the batches to come be made ahead where they are read from elsewhere."""
        from mmbench.models.feed import Feed

        if not isinstance(self.feed, Feed):
            return  # pairs of several seeds are drawn one seed at a time
        each = ((index for _, index in order.ahead()) for order in self.orders)
        coming = zip(*each, strict=True)
        if self.chooses:
            self.feed.plan(chain.from_iterable(coming))
        else:
            self.feed.plan(np.concatenate(index) for index in coming)

    def next(self) -> Batch:
        """Return the next batches of all seeds."""
        due = [order.next() for order in self.orders]
        if self.chooses:
            found = _stacked(
                [
                    self.feed.batch(index, seed, epoch)
                    for (epoch, index), seed in zip(due, self.seeds, strict=True)
                ]
            )
        else:  # one gathering for all
            found = _cut(self.feed.batch(np.concatenate([index for _, index in due])), len(due))
        if self.dropout:
            found = self._drop(found)
        self.at += 1
        return found

    def _drop(self, batch: Batch) -> Batch:
        """Take modalities away, each seed its own."""
        import torch

        from mmbench.models.balance import drop_modalities

        names = ("modality dropout", self.name, self.at)
        pairs = zip(parts(batch), self.seeds, strict=True)
        left = [
            drop_modalities(one, self.dropout, seed, *names, sides=self.sides).present
            for one, seed in pairs
        ]
        return replace(batch, present={n: torch.stack([p[n] for p in left]) for n in left[0]})

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the seeds."""
        self.seeds = [self.seeds[row] for row in rows]
        self.orders = [self.orders[row] for row in rows]
        self.plan()


def parts(batch: Batch) -> list[Batch]:
    """Return the S batches [B, ...] of one [S, B, ...]."""
    tables = (batch.inputs, batch.lengths, batch.present, batch.targets)
    count = len(next(iter((*batch.present.values(), *batch.targets.values()))))
    return [
        Batch(batch.size, *({name: x[at] for name, x in table.items()} for table in tables))
        for at in range(count)
    ]


def _cut(batch: Batch, count: int) -> Batch:
    """See a batch [S B, ...] as [S, B, ...]."""
    tables = (batch.inputs, batch.lengths, batch.present, batch.targets)
    size = batch.size // count
    cut = ({n: x.view(count, size, *x.shape[1:]) for n, x in t.items()} for t in tables)
    return Batch(size, *cut)


def _stacked(each: Sequence[Batch]) -> Batch:
    """Lay S batches [B, ...] side by side: [S, B, ...]; texts are padded to the longest of all."""
    import torch
    import torch.nn.functional as F

    def lay(tables: Sequence[Mapping[str, Tensor]], pad: bool = False) -> dict[str, Tensor]:
        found = {}
        for name in tables[0]:
            tensors = [table[name] for table in tables]
            if pad and tensors[0].dim() == 2:
                longest = max(x.shape[1] for x in tensors)
                tensors = [F.pad(x, (0, longest - x.shape[1])) for x in tensors]
            found[name] = torch.stack(tensors)
        return found

    return Batch(
        each[0].size,
        lay([batch.inputs for batch in each]),
        lay([batch.lengths for batch in each]),
        lay([batch.present for batch in each]),
        lay([batch.targets for batch in each], pad=True),
    )


class _Player(Player):
    """An objective with its optimiser, for all seeds.

    Args:
        stack: The models.
        spec: The objective.
        stage: Of which stage.
        steps: Of the stage.
    """

    def __init__(self, stack: Stack, spec: ObjectiveSpec, stage: StageSpec, steps: int) -> None:
        from mmbench.models.contract import Objective

        objective = _objective(spec, stage)
        trained = {name: stack.parameters[name] for name in chosen(stack.template, spec)}
        #: For each parameter what the optimiser knows of it.
        self.pieces = [_pieces(parameter) for parameter in trained.values()]
        known = [
            (name, parameter.dim() - 1, pieces)
            for (name, parameter), pieces in zip(trained.items(), self.pieces, strict=True)
        ]
        super().__init__(
            objective,
            optimizer(known, spec.optimizer),
            rate(spec, steps),
            list(trained.values()),
            spec.optimizer.clip,
            spec.period,
            spec.offset,
        )
        self.name = spec.name
        #: For each seed, where validations change it.
        reviews = type(objective).review is not Objective.review
        self.own = [_objective(spec, stage) for _ in range(stack.size)] if reviews else []

    def step(self) -> None:
        """Clip each seed's gradients by their own norm, and take a step."""
        import torch

        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.clip and gradients:
            count = len(gradients[0])
            norms = [torch.linalg.vector_norm(g.reshape(count, -1), dim=1) for g in gradients]
            whole = torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
            shares = (self.clip / (whole + 1e-6)).clamp(max=1.0)
            # Where none is too long all shares are 1; to look costs a GPU more than to multiply.
            cut = gradients if whole.is_cuda or bool((shares < 1).any()) else []
            for gradient in cut:
                gradient.mul_(shares.view(count, *[1] * (gradient.dim() - 1)))
        for parameter, pieces in zip(self.parameters, self.pieces, strict=True):
            if pieces[0] is not parameter:
                its = parameter.grad
                for row, piece in enumerate(pieces):
                    piece.grad = None if its is None else its[row]
        self.move()

    def state(self) -> dict[str, Tensor]:
        """Return what its optimiser and its objectives remember."""
        found = {
            f"optimizer.{place}.{row}.{name}": value
            for place, pieces in enumerate(self.pieces)
            for row, piece in enumerate(pieces)
            for name, value in self.optimizer.state.get(piece, {}).items()
        }
        for row, objective in enumerate(self.own):
            found |= {f"own.{row}.{name}": value for name, value in objective.state().items()}
        return found

    def restore(self, state: dict[str, Tensor], turns: int) -> None:
        """Take up what `state` returned."""
        self.turns = turns
        for name, value in below(state, "optimizer.").items():
            at, which, key = name.split(".", 2)
            piece = self.pieces[int(at)][int(which)]
            self.optimizer.state[piece][key] = value.to(piece.device)
        for row, objective in enumerate(self.own):
            device = self.parameters[0].device
            mine = below(state, f"own.{row}.")
            objective.restore({name: value.to(device) for name, value in mine.items()})

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the seeds; the parameters are cut already."""
        self.own = [self.own[row] for row in rows] if self.own else []
        state = self.optimizer.state
        new: dict[Tensor, list[Tensor]] = {}
        for place, (parameter, before) in enumerate(zip(self.parameters, self.pieces, strict=True)):
            self.pieces[place] = _pieces(parameter)
            new[before[0]] = self.pieces[place]
            if before[0] is parameter:
                for name, value in state.get(parameter, {}).items():
                    if name != "step":
                        state[parameter][name] = value[list(rows)].contiguous()
                continue
            kept = [state.pop(piece, {}) for piece in before]
            for row, piece in zip(rows, self.pieces[place], strict=True):
                state[piece] = kept[row]
        for group in self.optimizer.param_groups:
            group["params"] = [p for first in group["params"] for p in new.get(first, [])]


def _pieces(parameter: Tensor) -> list[Tensor]:
    """Return a parameter [S, ...] as the optimiser is to see it: whole, or each seed's by itself.

    Optimisers take numbers by the vector, and what is left at the end of a tensor one by one, which
    rounds otherwise: so a seed's numbers have to end where they end when it is alone.
    """
    if parameter[0].numel() % LANES == 0:
        return [parameter]
    return list(parameter.detach().unbind())


class _Stage:
    """One stage of all seeds that take part in it."""

    def __init__(
        self, whole: _Training, seeds: list[_Seed], stage: StageSpec, number: int, steps: int
    ) -> None:
        import torch

        from mmbench.models.stacked import Stack

        model = seeds[0].model
        self.whole, self.number = whole, number
        self.seeds = list(seeds)
        self.splits, self.budget, self.memory = whole.splits, whole.budget, whole.memory
        self.every = max(1, math.ceil(self.budget.steps / self.budget.validations))
        self.device = whole.device
        self.stack = Stack([one.model for one in seeds], [one.stream for one in seeds])
        numbers = [one.seed for one in seeds]
        self.data = _Data(
            model, self.splits, stage, whole.recipe, self.budget, numbers, self.memory
        )
        self.players = [_Player(self.stack, item, stage, steps) for item in stage.objectives]
        self.losses = torch.zeros(len(seeds), device=self.device)
        self.since = time.perf_counter()  # when the present stretch of steps began

    def run(self, validate: Validate, progress: Progress) -> None:
        """Take steps until every seed has taken its last one."""
        self.since = time.perf_counter()
        while self.seeds:
            self.step()
            due = [one for one in self.seeds if self._reads(one)]
            if due:
                self.read(due)
            total = self.budget.steps
            known = [one.trained.curve[-1].loss for one in self.seeds if one.trained.curve]
            loss = sum(known) / len(known) if known else None
            progress.step(max(one.done for one in self.seeds), total, loss, None)
            looked = [one for one in self.seeds if self._validates(one)]
            if looked:
                self.clock()
                scores = [self.validate(one, validate) for one in looked]
                score = sum(scores) / len(scores)
                progress.step(max(one.done for one in self.seeds), total, loss, score)
                self.since = time.perf_counter()
            ended = [one for one in self.seeds if one.ended]
            if ended:
                self.clock()
                self.leave(ended)
            kept = self.whole.kept
            if kept is not None and kept.due() and self.seeds:
                self.clock()
                self.whole.save(*self.state())
                self.since = time.perf_counter()  # writing is no training

    def clock(self) -> None:
        """Part the time since it was looked at last among the seeds."""
        now = time.perf_counter()
        for one in self.seeds:
            one.trained.seconds += (now - self.since) / len(self.seeds)
        self.since = now

    def state(self) -> tuple[Place, dict[str, Tensor]]:
        """Return where the stage stands, and let the models hold their weights."""
        for row, one in enumerate(self.seeds):
            self.stack.unstack(row, one.model)
        order, done = self.data.orders[0], max(one.done for one in self.seeds)
        place = Place(
            stage=self.number,
            began=done - self.data.at,
            done=done,
            epoch=order.epoch,
            start=order.start,
            turns=[player.turns for player in self.players],
        )
        tensors = {"losses": self.losses}
        for number, player in enumerate(self.players):
            tensors |= {f"player.{number}.{name}": x for name, x in player.state().items()}
        return place, tensors

    def take_up(self, place: Place, tensors: Mapping[str, Tensor]) -> None:
        """Stand where `state` was taken."""
        self.data.go_to(place.done - place.began, place.epoch, place.start)
        self.losses.copy_(tensors["losses"])
        for number, one in enumerate(self.players):
            one.restore(below(tensors, f"player.{number}."), place.turns[number])

    def step(self) -> None:
        """Take one step of every objective whose turn it is, and add up their losses."""
        batch = self.data.next()
        at = self.data.at - 1
        for player in self.players:
            if not player.has_turn(at):
                continue
            losses = self._backward(player, batch)
            player.step()
            self.losses += losses
        for one in self.seeds:
            one.done += 1
            one.unread += 1
            one.trained.steps, one.trained.items = one.done, one.trained.items + self.data.size

    def _backward(self, player: _Player, batch: Batch) -> Tensor:
        """Compute losses and gradients.

        Raises:
            NotTogetherError: What went well in the trial does not with this batch.
        """
        from mmbench.models.stacked import NotTogetherError

        try:
            with _autocast(self.device):
                losses = self.stack.losses(player.objective, batch, player.own)
            for parameter in self.stack.parameters.values():
                parameter.grad = None  # an objective must not act on what another one left
            losses.sum().backward()  # type: ignore[no-untyped-call]
        # As in the trial; what is wrong with a model by itself comes again when it is alone.
        except Exception as error:
            if lacks_memory(error) or isinstance(error, MmbenchError):
                raise
            raise NotTogetherError(_told(player.name, error)) from error
        return losses.detach()

    def _reads(self, one: _Seed) -> bool:
        return one.done % READ_EVERY == 0 or self._looks(one)

    def _looks(self, one: _Seed) -> bool:
        return one.done % self.every == 0 or one.done == one.last

    def _validates(self, one: _Seed) -> bool:
        return self._looks(one) and not one.trained.diverged

    def read(self, due: Sequence[_Seed]) -> None:
        """Put the mean loss since the last reading into the curve of those whose turn it is."""
        values = self.losses.tolist()
        for row, one in enumerate(self.seeds):
            if not any(one is other for other in due):
                continue
            value = values[row] / max(one.unread, 1)
            self.losses[row] = 0.0
            one.unread = 0
            one.trained.curve.append(Point(one.done, value))
            if not math.isfinite(value):
                one.trained.diverged = f"the loss became {value} by step {one.done}"

    def validate(self, one: _Seed, validate: Validate) -> float:
        """Validate a seed's model by itself, and let its objectives look at it."""
        row = next(k for k, other in enumerate(self.seeds) if other is one)
        self.stack.unstack(row, one.model)
        score = validate(one.model)
        asking = [player.own[row] for player in self.players if player.own]
        if asking:
            self._review(one.model, asking)
        one.trained.curve[-1].score = score
        one.offer(score)
        return score

    def _review(self, model: Model, objectives: Sequence[Objective]) -> None:
        from mmbench.models.pairs import feed_for

        feed, other = self.data.feed, self.splits["val"]
        count = min(self.budget.validation_items, len(other), len(feed))
        index = np.arange(count, dtype=np.int64)
        with feed_for(other, self.device, list(model.encoders), count, self.memory) as held:
            seen, unseen = feed.batch(index), held.batch(index)
        model.eval()
        for objective in objectives:
            objective.review(model, seen, unseen)

    def leave(self, ended: Sequence[_Seed]) -> None:
        """Take seeds that have ended out of the batch."""
        gone = {id(one) for one in ended}
        rows = [row for row, one in enumerate(self.seeds) if id(one) not in gone]
        for row, one in enumerate(self.seeds):
            if id(one) in gone and one.keeper.weights is None:  # it diverged before any validation
                self.stack.unstack(row, one.model)
        self.seeds = [self.seeds[row] for row in rows]
        if not rows:
            return
        self.stack.keep(rows)
        self.data.keep(rows)
        for player in self.players:
            player.keep(rows)
        self.losses = self.losses[rows].clone()


def _objective(spec: ObjectiveSpec, stage: StageSpec) -> Objective:
    from mmbench.models.build import objective

    return objective(spec, f"recipe.stages.{stage.name}")


def _bf16(device: torch.device) -> bool:
    import torch

    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _autocast(device: torch.device) -> Any:
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=_bf16(device))
