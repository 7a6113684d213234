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
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmbench import rng, store
from mmbench.cost.meter import Meter
from mmbench.errors import DataError
from mmbench.optimise import adamw, chosen, factor
from mmbench.run import (
    Made,
    Run,
    Watcher,
    enough_memory,
    examine,
    execute,
    keep,
    make_model,
    prepare,
    validation_score,
)
from mmbench.spec import BudgetSpec, ObjectiveSpec, RecipeSpec, StageSpec
from mmbench.train import READ_EVERY, Point, Progress, Trained, Validate, check_recipe
from mmbench.types import Batch, Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mmbench.models.contract import Objective
    from mmbench.models.feed import Feed
    from mmbench.models.model import Model
    from mmbench.models.pairs import Pairs
    from mmbench.models.stacked import Stack, Stream

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

    Where that cannot be, they are made one after the other, as runs of which nobody asked it; the
    watcher is told why. Records are stored as they come: what fails later loses none of them.

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
    why = batchable(first)
    if not why:
        dataset, came_from, meter = prepare(first, watcher)
        watcher.phase("build")
        models = [make_model(run, dataset) for run in runs]
        recipe, budget = first.model.recipe, first.task.budgets[first.budget]
        validate = partial(validation_score, run=first, dataset=dataset)
        seeds = [run.seed for run in runs]
        watcher.phase("train")
        why = tried(models, dataset.splits, recipe, budget, seeds)
    if why:
        watcher.note(f"seeds are trained one after the other: {why}")
        return [_alone(run, watcher) for run in runs]
    with enough_memory(first):
        trained = train_together(models, dataset.splits, recipe, budget, seeds, validate, watcher)
        came_from["batched_seeds"] = seeds
        found = []
        for run, model, its in zip(runs, models, trained, strict=True):
            made = Made(dataset, model, its, dict(came_from), meter)
            examine(run, made, watcher)
            found.append(keep(run, made))
            meter = Meter(run.device)  # what comes next is the next one's
    return found


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
) -> str:
    """Take all losses and gradients of a batch together and alone; say why they do not agree.

    Models and random streams are left as they were.

    Args:
        models: On their device.
        splits: Those that the recipe's stages name.
        recipe: Its stages' objectives are tried.
        budget: Caps the items.
        seeds: The models' seeds.

    Returns:
        Why these models cannot be trained together; nothing where they can.
    """
    from mmbench.models.stacked import Stack, Stream

    check_recipe(recipe, models[0], splits)
    device = next(models[0].parameters()).device
    for stage in recipe.stages:
        data = _Data(models[0], splits, stage, recipe, budget, seeds)
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
                told = str(error).strip().partition("\n")[0].partition(". ")[0][:200]
                return f"{item.name}: {told or type(error).__name__}"
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


@dataclass
class _Seed:
    """What belongs to one seed of a batch.

    Attributes:
        seed: Its number.
        model: Holds its weights where they are looked at: before, at validations, at the end.
        stream: What is drawn inside of its model.
        trained: Its curve and counts.
        done: Its steps over all stages; a seed without patience left has fewer than others.
        last: The step that ends the stage.
        unread: Steps since its loss was read last.
        since: Validations since its best one.
        weights: Those of its best validation in this stage.
    """

    seed: int
    model: Model
    stream: Stream
    trained: Trained = field(default_factory=Trained)
    done: int = 0
    last: int = 0
    unread: int = 0
    since: int = 0
    weights: dict[str, Tensor] | None = None

    def begin(self, steps: int) -> None:
        """Begin a stage of so many steps."""
        self.last = self.done + steps
        self.unread, self.since, self.weights = 0, 0, None
        self.trained.best_score, self.trained.stopped_early = -math.inf, False

    def offer(self, score: float, patience: int, always: bool) -> None:
        """Keep the weights if they are wanted; take note of whether patience has run out."""
        trained = self.trained
        if always or score > trained.best_score:
            trained.best_score, trained.best_step, self.since = score, self.done, 0
            state = self.model.state_dict()
            self.weights = {name: value.detach().cpu().clone() for name, value in state.items()}
            return
        self.since += 1
        trained.stopped_early = bool(patience) and self.since >= patience

    def restore(self) -> None:
        """Put the best weights back."""
        if self.weights is not None:
            self.model.load_state_dict(self.weights)


def train_together(
    models: Sequence[Model],
    splits: Mapping[str, Split],
    recipe: RecipeSpec,
    budget: BudgetSpec,
    seeds: Sequence[int],
    validate: Validate,
    progress: Progress,
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

    Returns:
        For each model its curve and counts. Seconds are its share: those of every step are parted
        among the seeds that took it.

    Raises:
        NotTogetherError: The models cannot be trained together (see `tried`).
        DataError: A split is empty.
    """
    from mmbench.models.stacked import Stream

    device = next(models[0].parameters()).device
    every = [
        _Seed(seed, model, Stream(rng.torch_seed(seed, "dropout"), device))
        for seed, model in zip(seeds, models, strict=True)
    ]
    for stage in recipe.stages:
        left = [one for one in every if not one.trained.diverged]
        if left:
            _Stage(left, splits, stage, recipe, budget).run(validate, progress)
        for one in left:
            one.restore()
    return [one.trained for one in every]


class _Data:
    """The batches of one stage, [S, B, ...], each seed's in its own order."""

    def __init__(
        self,
        model: Model,
        splits: Mapping[str, Split],
        stage: StageSpec,
        recipe: RecipeSpec,
        budget: BudgetSpec,
        seeds: Sequence[int],
    ) -> None:
        from mmbench.models.pairs import feed_for

        device = next(model.parameters()).device
        split = splits[stage.split]
        self.feed: Feed | Pairs = feed_for(split, device, list(model.encoders), budget.items)
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
        self.orders: list[NDArray[np.int64]] = []

    def next(self) -> Batch:
        """Return the next batches of all seeds."""
        per_epoch = len(self.feed) // self.size
        epoch, place = divmod(self.at, per_epoch)
        if place == 0:
            self.orders = [
                rng.permutation(seed, "order", self.name, epoch, count=len(self.feed))
                for seed in self.seeds
            ]
        start = place * self.size
        index = [order[start : start + self.size] for order in self.orders]
        if self.chooses:
            pairs = zip(index, self.seeds, strict=True)
            found = _stacked([self.feed.batch(rows, seed, epoch) for rows, seed in pairs])
        else:  # one gathering for all
            found = _cut(self.feed.batch(np.concatenate(index)), len(index))
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


class _Player:
    """An objective with its optimiser, for all seeds; see `mmbench.train`.

    Args:
        stack: The models.
        spec: The objective.
        stage: Of which stage.
        steps: Of the stage.
    """

    def __init__(self, stack: Stack, spec: ObjectiveSpec, stage: StageSpec, steps: int) -> None:
        from mmbench.models.contract import Objective

        self.objective = _objective(spec, stage)
        self.spec = spec
        names = list(chosen(stack.template, spec))
        self.parameters = [stack.parameters[name] for name in names]
        settings = spec.optimizer
        groups: list[list[Tensor]] = [[], []]
        #: For each parameter what the optimiser knows of it.
        self.pieces: list[list[Tensor]] = []
        for name, parameter in zip(names, self.parameters, strict=True):
            spared = "embed" in name or parameter.dim() <= 2  # [S, D]: a vector of each
            self.pieces.append(_pieces(parameter))
            groups[spared] += self.pieces[-1]
        self.optimizer = adamw(
            [
                {"params": groups[0], "weight_decay": settings.weight_decay},
                {"params": groups[1], "weight_decay": 0.0},
            ],
            settings,
        )
        self.all_turns = max(1, math.ceil((steps - spec.offset) / spec.period))
        self.turns = 0
        #: For each seed, where validations change it.
        reviews = type(self.objective).review is not Objective.review
        self.own = [_objective(spec, stage) for _ in range(stack.size)] if reviews else []

    def has_turn(self, at: int) -> bool:
        """Whether it acts at step `at` of its stage."""
        return at >= self.spec.offset and (at - self.spec.offset) % self.spec.period == 0

    def step(self) -> None:
        """Clip each seed's gradients by their own norm, and take a step."""
        import torch

        settings = self.spec.optimizer
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if settings.clip and gradients:
            count = len(gradients[0])
            norms = [torch.linalg.vector_norm(g.reshape(count, -1), dim=1) for g in gradients]
            whole = torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
            shares = (settings.clip / (whole + 1e-6)).clamp(max=1.0)
            # Where none is too long all shares are 1; to look costs a GPU more than to multiply.
            cut = gradients if whole.is_cuda or bool((shares < 1).any()) else []
            for gradient in cut:
                gradient.mul_(shares.view(count, *[1] * (gradient.dim() - 1)))
        rate = settings.lr * factor(self.turns, self.all_turns, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for parameter, pieces in zip(self.parameters, self.pieces, strict=True):
            if pieces[0] is not parameter:
                its = parameter.grad
                for row, piece in enumerate(pieces):
                    piece.grad = None if its is None else its[row]
        self.optimizer.step()
        self.turns += 1

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
    """One stage of all seeds that are left."""

    def __init__(
        self,
        seeds: list[_Seed],
        splits: Mapping[str, Split],
        stage: StageSpec,
        recipe: RecipeSpec,
        budget: BudgetSpec,
    ) -> None:
        import torch

        from mmbench.models.stacked import Stack

        model = seeds[0].model
        self.seeds = list(seeds)
        self.splits, self.recipe, self.budget = splits, recipe, budget
        self.always = stage.keep == "last"
        self.every = max(1, math.ceil(budget.steps / budget.validations))
        steps = max(1, round(budget.steps * stage.share))
        for one in self.seeds:
            one.begin(steps)
        self.device = next(model.parameters()).device
        self.stack = Stack([one.model for one in seeds], [one.stream for one in seeds])
        numbers = [one.seed for one in seeds]
        self.data = _Data(model, splits, stage, recipe, budget, numbers)
        self.players = [_Player(self.stack, item, stage, steps) for item in stage.objectives]
        self.losses = torch.zeros(len(seeds), device=self.device)

    def run(self, validate: Validate, progress: Progress) -> None:
        """Take steps until every seed has taken its last one."""
        started = time.perf_counter()

        def clock() -> None:
            nonlocal started
            now = time.perf_counter()
            for one in self.seeds:
                one.trained.seconds += (now - started) / len(self.seeds)
            started = now

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
                clock()
                scores = [self.validate(one, validate) for one in looked]
                score = sum(scores) / len(scores)
                progress.step(max(one.done for one in self.seeds), total, loss, score)
                started = time.perf_counter()
            ended = [
                one
                for one in self.seeds
                if one.trained.diverged or one.trained.stopped_early or one.done >= one.last
            ]
            if ended:
                clock()
                self.leave(ended)

    def step(self) -> None:
        """Take one step of every objective whose turn it is, and add up their losses."""
        batch = self.data.next()
        at = self.data.at - 1
        for player in self.players:
            if not player.has_turn(at):
                continue
            with _autocast(self.device):
                losses = self.stack.losses(player.objective, batch, player.own)
            for parameter in self.stack.parameters.values():
                parameter.grad = None  # an objective must not act on what another one left
            losses.sum().backward()  # type: ignore[no-untyped-call]
            player.step()
            self.losses += losses.detach()
        for one in self.seeds:
            one.done += 1
            one.unread += 1
            one.trained.steps, one.trained.items = one.done, one.trained.items + self.data.size

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
        one.offer(score, self.recipe.patience, self.always)
        return score

    def _review(self, model: Model, objectives: Sequence[Objective]) -> None:
        from mmbench.models.pairs import feed_for

        feed, other = self.data.feed, self.splits["val"]
        count = min(self.budget.validation_items, len(other), len(feed))
        unseen = feed_for(other, self.device, list(model.encoders), count)
        index = np.arange(count, dtype=np.int64)
        model.eval()
        for objective in objectives:
            objective.review(model, feed.batch(index), unseen.batch(index))

    def leave(self, ended: Sequence[_Seed]) -> None:
        """Take seeds that have ended out of the batch."""
        gone = {id(one) for one in ended}
        rows = [row for row, one in enumerate(self.seeds) if id(one) not in gone]
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
