"""Training: stages of objectives, steps counted, the best validated weights kept.

The loop knows neither fusion nor metric: a model is a `Model`, an objective returns a loss, and
`validate` is a callable that the caller made. Nothing is drawn from a global random state: the
run's seed drives initialisation, order, choice of target texts and dropout by named streams.

Where training stands after a step can be written down (`mmbench.checkpoint`) and taken up again,
to the same bits. It may be done by several processes, each with its part of every batch
(`mmbench.devices`).
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.checkpoint import Checkpoints, Place
from mmbench.devices import ALONE, Group
from mmbench.errors import DataError, OutOfMemoryError, SpecError, UsageError
from mmbench.keeper import Average, Keeper
from mmbench.optimise import chosen, player
from mmbench.room import USUAL, Allowance
from mmbench.spec import BudgetSpec, RecipeSpec, StageSpec
from mmbench.types import Batch, Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mmbench.models.contract import Objective
    from mmbench.models.feed import Feed
    from mmbench.models.model import Model
    from mmbench.models.pairs import Pairs
    from mmbench.models.whole import Part

#: Returns what is to be maximised.
Validate = Callable[["Model"], float]

#: What a recipe may train on; all other splits are for testing, and seen once.
TRAINING_SPLITS = ("train", "val")

#: The loss is read from the device, for the curve and the check for NaN, every so many steps.
READ_EVERY = 10
#: A batch that does not fit the memory is cut in two, and those again, up to so many parts.
MOST_PIECES = 64


class Progress(Protocol):
    """What watches a run; see `mmbench.cli.progress`."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Take note of a step; `loss` is the last one read, `score` this validation's."""

    def note(self, text: str) -> None:
        """Say one line about this run."""


@dataclass
class Point:
    """One point of the learning curve."""

    step: int
    loss: float
    score: float | None = None


@dataclass
class Trained:
    """What training leaves behind; the model itself holds the best weights.

    Attributes:
        curve: Mean training loss since the point before, and validations.
        steps: Optimiser steps taken.
        best_step: The step whose weights were kept.
        best_score: Its validation.
        seconds: Spent on training steps, validation left out.
        items: Training items seen, repetitions counted.
        diverged: Why training ended in a non-finite loss; empty if it did not.
        stopped_early: Whether patience ran out.
        pieces: In how many parts a batch was computed, since it did not fit the memory; else 1.
        resumed: The steps at which an interrupted training was gone on with.
    """

    curve: list[Point] = field(default_factory=list)
    steps: int = 0
    best_step: int = 0
    best_score: float = -math.inf
    seconds: float = 0.0
    items: int = 0
    diverged: str = ""
    stopped_early: bool = False
    pieces: int = 1
    resumed: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Engine:
    """How training is carried out; what it computes stays the same.

    Attributes:
        group: The processes that share each batch.
        checkpoints: Where it is written down how far training is; None: nowhere.
        compiled: Whether losses are compiled by `torch.compile`; last digits differ.
        memory: What data may take of it.
    """

    group: Group = ALONE
    checkpoints: Checkpoints | None = None
    compiled: bool = False
    memory: Allowance = USUAL


def train(
    model: Model,
    splits: Mapping[str, Split],
    recipe: RecipeSpec,
    budget: BudgetSpec,
    seed: int,
    validate: Validate,
    progress: Progress,
    engine: Engine | None = None,
) -> Trained:
    """Train a model in place.

    Args:
        model: On its device.
        splits: Those that the recipe's stages name.
        recipe: Stages, batch size, patience.
        budget: Caps items and steps.
        seed: The run's.
        validate: Called as often as the budget says, and at the end.
        progress: Told about every step.
        engine: How it is carried out.

    Returns:
        The curve and the counts; the model then holds its best validated weights.

    Raises:
        SpecError: A stage names a split that is not there, or trains nothing.
        DataError: A split is empty.
        StoreError: A checkpoint cannot be written.
    """
    check_recipe(recipe, model, splits)
    engine = engine or Engine()
    with dropout_stream(model, seed, engine.group):
        training = _Training(model, splits, recipe, budget, seed, engine)
        return training.run(validate, progress)


def check_recipe(recipe: RecipeSpec, model: Model, splits: Iterable[str]) -> None:
    """Refuse a recipe that cannot train this model.

    Raises:
        SpecError: A stage names a split that is not there, or trains nothing.
        UnknownNameError: There is no such objective.
    """
    from mmbench.models.build import objective

    if recipe.ogm_ge and model.gallery is not None:
        raise SpecError(
            "recipe.ogm_ge: slows the modality that leads when each answers alone, and none finds "
            "anything without the other side: leave it out for retrieval"
        )
    known = [name for name in splits if name in TRAINING_SPLITS]
    for stage in recipe.stages:
        if stage.split not in known:
            raise SpecError(
                f"recipe.stages: the stage {stage.name!r} trains on the split {stage.split!r}: "
                f"expected one of {', '.join(known)}"
            )
        for item in stage.objectives:
            objective(item, f"recipe.stages.{stage.name}")
            if not chosen(model, item):
                raise SpecError(
                    f"recipe.stages: the objective {item.name!r} trains nothing: no parameter "
                    f"matches {', '.join(item.parameters)}"
                )


class _Training:
    """All stages of one run, from the beginning or from where it was interrupted."""

    def __init__(
        self,
        model: Model,
        splits: Mapping[str, Split],
        recipe: RecipeSpec,
        budget: BudgetSpec,
        seed: int,
        engine: Engine,
    ) -> None:
        self.model = model
        self.splits = splits
        self.recipe = recipe
        self.budget = budget
        self.seed = seed
        self.engine = engine
        self.trained = Trained()
        self.done = 0
        self.since = 0.0  # when the present stretch of steps began

    def run(self, validate: Validate, progress: Progress) -> Trained:
        """Go through the stages that are still to be done."""
        device = next(self.model.parameters()).device
        self.since = time.perf_counter()
        kept = self.engine.checkpoints
        found = self._found(device)
        first = 0
        if found is not None:
            first = found[0].stage
            self._take_up(found[0], found[1], progress)
        for number in range(first, len(self.recipe.stages)):
            stage = self.recipe.stages[number]
            resumed = found if number == first else None
            if resumed is None:
                # Each stage has its own best weights, and the next one starts from them.
                self.trained.best_score, self.trained.stopped_early = -math.inf, False
            keeper = Keeper(self.model, self.recipe.patience, always=stage.keep == "last")
            began = self.done if resumed is None else resumed[0].began
            steps = max(1, round(self.budget.steps * stage.share))
            loop = _Stage(self, stage, number, steps, began, keeper)
            with loop.feed:
                if resumed is not None:
                    loop.take_up(*resumed)
                loop.feed.expect(loop.ahead(), self.seed)
                self._stage(loop, validate, progress)
            keeper.restore()
            if self.trained.diverged:
                break
        done = first == len(self.recipe.stages)  # and written down already
        wanted = kept is not None and not done and (bool(self.trained.resumed) or kept.due())
        if self.engine.group.agreed(wanted):
            # What is left, testing and scoring, then need not wait for training again.
            self._save(Place(stage=len(self.recipe.stages)), {})
        return self.trained

    def _stage(self, loop: _Stage, validate: Validate, progress: Progress) -> None:
        """Run one stage to its end."""
        trained, budget = self.trained, self.budget
        every = max(1, math.ceil(budget.steps / budget.validations))
        last = loop.began + loop.steps
        self.since = time.perf_counter()
        while self.done < last:
            loop.step(progress)
            self.done += 1
            trained.steps, trained.items = self.done, trained.items + loop.batch_size
            if self.done % READ_EVERY == 0 or self.done == last or self.done % every == 0:
                value = loop.read()
                trained.curve.append(Point(self.done, value))
                if not math.isfinite(value):
                    trained.diverged = f"the loss became {value} by step {self.done}"
                    break
            shown = trained.curve[-1].loss if trained.curve else None
            progress.step(self.done, budget.steps, shown, None)
            if self.done % every == 0 or self.done == last:
                trained.seconds += time.perf_counter() - self.since
                loop.validate(validate, progress)
                self.since = time.perf_counter()
                if trained.stopped_early:
                    break
            if self._due() and self.done < last:
                self._save(*loop.state())
        trained.seconds += time.perf_counter() - self.since
        self.since = time.perf_counter()

    def _found(self, device: torch.device) -> tuple[Place, dict[str, Tensor]] | None:
        """Return the checkpoint to go on from: the leading process's, wherever the others run."""
        kept, group = self.engine.checkpoints, self.engine.group
        found = kept.load() if kept is not None and group.leads else None
        found = group.told(found)
        if found is None:
            return None
        return found[0], {name: x.to(device) for name, x in found[1].items()}

    def _due(self) -> bool:
        kept, group = self.engine.checkpoints, self.engine.group
        if kept is None or (group.count > 1 and self.done % READ_EVERY):
            return False  # agreeing takes time, and between readings each knows its own losses only
        return group.agreed(kept.due())

    def _save(self, place: Place, tensors: dict[str, Tensor]) -> None:
        """Write down where training stands."""
        trained, now = self.trained, time.perf_counter()
        tensors |= {f"model.{name}": x for name, x in self.model.state_dict().items()}
        tensors |= self.engine.group.random_states(next(self.model.parameters()).device)
        trained.seconds += now - self.since
        place.done = self.done
        write_down(trained, place)
        kept = self.engine.checkpoints
        if kept is not None and self.engine.group.leads:
            kept.save(place, tensors)
        self.since = time.perf_counter()  # writing is no training

    def _take_up(self, place: Place, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Take up what `_save` wrote down, all but what belongs to a stage."""
        self.done = place.done
        self.trained = read_back(place)
        self.model.load_state_dict(below(tensors, "model."))
        self.engine.group.restore_random(tensors, next(self.model.parameters()).device)
        whole = place.stage == len(self.recipe.stages)
        where = "after training" if whole else f"at step {place.done} of {self.budget.steps}"
        progress.note(f"goes on {where}, where it was interrupted")


def write_down(trained: Trained, place: Place) -> None:
    """Put into a place what training left up to there."""
    place.items, place.seconds = trained.items, trained.seconds
    place.best_step = trained.best_step
    place.best_score = None if trained.best_score == -math.inf else trained.best_score
    place.stopped_early, place.diverged = trained.stopped_early, trained.diverged
    place.pieces, place.resumed = trained.pieces, trained.resumed
    place.curve = [
        (p.step, _finite(p.loss), None if p.score is None else _finite(p.score), p.score is None)
        for p in trained.curve
    ]


def read_back(place: Place) -> Trained:
    """Return what `write_down` put into a place; training is gone on with there."""
    return Trained(
        curve=[
            Point(step, _number(loss), None if not_validated else _number(score))
            for step, loss, score, not_validated in place.curve
        ],
        steps=place.done,
        best_step=place.best_step,
        best_score=-math.inf if place.best_score is None else place.best_score,
        seconds=place.seconds,
        items=place.items,
        diverged=place.diverged,
        stopped_early=place.stopped_early,
        pieces=place.pieces,
        resumed=[*place.resumed, place.done],
    )


def _finite(x: float) -> float | None:
    """Return a number as JSON has it: what is none is null."""
    return x if math.isfinite(x) else None


def _number(x: float | None) -> float:
    return math.nan if x is None else x


def lacks_memory(error: BaseException) -> bool:
    """Whether torch or Python said that there is not enough memory, on a GPU or on the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, without that."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


class Order:
    """Which items a stage's batches hold: every epoch in another order, for ever.

    An incomplete last batch of an epoch is left out.
    """

    def __init__(self, seed: int, stage: str, items: int, batch_size: int) -> None:
        self.seed = seed
        self.stage = stage
        self.items = items
        self.batch_size = batch_size
        self.go_to(0, 0)

    def go_to(self, epoch: int, start: int) -> None:
        """Stand before the batch that begins at item `start` of an epoch."""
        self.epoch, self.start = epoch, start
        self.present = rng.permutation(self.seed, "order", self.stage, epoch, count=self.items)

    def next(self) -> tuple[int, NDArray[np.int64]]:
        """Return the epoch and the indices of the next batch."""
        if self.start + self.batch_size > self.items:
            self.go_to(self.epoch + 1, 0)
        index = self.present[self.start : self.start + self.batch_size]
        self.start += self.batch_size
        return self.epoch, index

    def ahead(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield epochs and indices of the batches to come, without going on to them."""
        other = copy.copy(self)
        while True:
            yield other.next()


class _Stage:
    """One stage: its data, its players, and the order of its batches."""

    def __init__(
        self,
        whole: _Training,
        stage: StageSpec,
        number: int,
        steps: int,
        began: int,
        keeper: Keeper,
    ) -> None:
        import torch

        from mmbench.models.build import objective
        from mmbench.models.pairs import feed_for

        self.model = model = whole.model
        self.trained = whole.trained
        self.recipe, self.splits, self.budget = whole.recipe, whole.splits, whole.budget
        self.seed = whole.seed
        self.group = whole.engine.group
        self.name, self.number, self.steps, self.began = stage.name, number, steps, began
        self.keeper = keeper
        self.at = 0
        self.whole = whole
        self.device = next(model.parameters()).device
        self.feed: Feed | Pairs = feed_for(
            self.splits[stage.split],
            self.device,
            list(model.encoders),
            self.budget.items,
            whole.engine.memory,
        )
        if len(self.feed) == 0:
            raise DataError(f"the split {stage.split!r} is empty: nothing to train on")
        self.batch_size = min(self.recipe.batch_size, len(self.feed))
        self.group.check_batch(self.batch_size)
        self.order = Order(self.seed, self.name, len(self.feed), self.batch_size)
        self.autocast = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.losses = torch.zeros((), device=self.device)
        self.unread = 0
        self.players = [
            player(model, objective(item, f"recipe.stages.{stage.name}"), item, steps)
            for item in stage.objectives
        ]
        losses = [self._loss(p.objective, whole.engine.compiled) for p in self.players]
        self.loss_of = self.group.shared(model, losses)
        self.average = Average(model, self.recipe.ema)
        self.parameters = list(model.parameters())
        model.train()

    def _loss(self, objective: Objective, compiled: bool) -> Callable[[Batch], Tensor]:
        """Return what computes an objective's loss on a batch."""
        import torch

        def loss(batch: Batch) -> Tensor:
            return objective.loss(self.model, batch)

        if not compiled:
            return loss
        # What the compiler remarks is for its programmers; what it cannot do is said by `_explain`.
        for name in ("torch._dynamo", "torch._inductor"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return torch.compile(loss)

    def share(self, index: NDArray[np.int64]) -> tuple[Part | None, NDArray[np.int64]]:
        """Return this process's part of a batch (None: all of it) and the items in it."""
        part = self.group.part(len(index))
        return part, index if part is None else index[part.start : part.start + part.items]

    def ahead(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield the epoch and this process's items of each batch to come."""
        for epoch, index in self.order.ahead():
            yield epoch, self.share(index)[1]

    def step(self, progress: Progress) -> None:
        """Take one step of every objective whose turn it is, and add up their losses."""
        from mmbench.models import whole
        from mmbench.models.balance import drop_modalities, modulate

        epoch, index = self.order.next()
        part, mine = self.share(index)
        batch = self.feed.batch(mine, self.seed, epoch)
        if self.recipe.modality_dropout:
            names = ("modality dropout", self.name, self.at)
            batch = drop_modalities(
                batch,
                self.recipe.modality_dropout,
                self.seed,
                *names,
                sides=self.model.sides,
                start=0 if part is None else part.start,
                whole=len(index),
            )
        for number, one in enumerate(self.players):
            if not one.has_turn(self.at):
                continue
            with whole.part(part):
                loss = self._backward(number, batch, progress)
            if self.recipe.ogm_ge:
                names = (f"ogm-ge {number}", self.name, self.at)
                with whole.part(part):
                    strength, mean = self.recipe.ogm_ge, self.group.mean_of
                    modulate(self.model, batch, strength, self.seed, *names, everywhere=mean)
            one.step()
            self.losses += loss
        self.average.update()
        self.at += 1
        self.unread += 1

    def _backward(self, number: int, batch: Batch, progress: Progress) -> Tensor:
        """Compute loss and gradients; in parts, where the batch does not fit the memory."""
        import torch

        while True:
            for parameter in self.parameters:
                parameter.grad = None  # an objective must not act on what another one left
            try:
                if self.trained.pieces == 1:
                    return self._whole(number, batch)
                return self._in_pieces(number, batch, self.trained.pieces)
            except Exception as error:
                if not lacks_memory(error):
                    self._explain(error)
                    raise
                most = min(MOST_PIECES, batch.size)
                if self.trained.pieces * 2 > most or self.group.count > 1:
                    parts = f" in {self.trained.pieces} parts" if self.trained.pieces > 1 else ""
                    parts = " of one of the devices" if self.group.count > 1 else parts
                    raise OutOfMemoryError(
                        f"a batch of {batch.size} items does not fit the memory{parts}: set a "
                        f"smaller recipe.batch_size or width, or use a device with more"
                    ) from None
            # Out of the handler, so that nothing holds on to what is to be freed.
            self.trained.pieces *= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            progress.note(
                f"a batch of {batch.size} items does not fit the memory: it is computed in "
                f"{self.trained.pieces} parts, which makes the same steps"
            )

    def _explain(self, error: Exception) -> None:
        """Say which option asked for what torch cannot do here.

        Raises:
            UsageError: One did.
        """
        told = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:200]
        where = type(error).__module__
        if self.whole.engine.compiled and where.startswith(("torch._dynamo", "torch._inductor")):
            raise UsageError(
                f"--compile: torch.compile fails on this model here ({type(error).__name__}: "
                f"{told}): leave --compile out, or install the compiler that it asks for"
            ) from None
        if "does not have a deterministic implementation" in str(error):
            raise UsageError(
                f"--deterministic: this model needs what torch has no deterministic kernel for "
                f"({told}): leave --deterministic out"
            ) from None

    def _whole(self, number: int, batch: Batch) -> Tensor:
        import torch

        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            loss = self.loss_of[number](batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _in_pieces(self, number: int, batch: Batch, pieces: int) -> Tensor:
        """Add up the gradients of parts of a batch; see `mmbench.models.whole.Piece`."""
        import torch

        from mmbench.models.whole import Piece, part

        totals: list[Tensor] = []
        bounds = [round(k * batch.size / pieces) for k in range(pieces + 1)]
        total = torch.zeros((), device=self.device)
        for first in (True, False):
            for start, stop in pairwise(bounds):
                piece = Piece(start, stop - start, batch.size, totals, first)
                with (
                    part(piece),
                    torch.no_grad() if first else contextlib.nullcontext(),
                    torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast),
                ):
                    loss = self.loss_of[number](batch.cut(start, stop))
                if not first:
                    loss.backward()  # type: ignore[no-untyped-call]
                    total += loss.detach()
        return total

    def validate(self, validate: Validate, progress: Progress) -> None:
        """Validate, and keep the weights if they are the best ones."""
        trained = self.trained
        with self.average.applied():
            score = validate(self.model)
            taken, out = self.keeper.offer(score, trained.best_score)
        if taken:
            trained.best_score, trained.best_step = score, trained.steps
        self.review()
        self.model.train()
        trained.curve[-1].score = score
        progress.step(trained.steps, self.budget.steps, trained.curve[-1].loss, score)
        trained.stopped_early = out

    def review(self) -> None:
        """Let objectives look at items that are trained on and at validation items."""
        from mmbench.models.contract import Objective
        from mmbench.models.pairs import feed_for

        asking = [
            p.objective for p in self.players if type(p.objective).review is not Objective.review
        ]
        if not asking:
            return
        count = min(self.budget.validation_items, len(self.splits["val"]), len(self.feed))
        index, names = np.arange(count, dtype=np.int64), list(self.model.encoders)
        memory = self.whole.engine.memory
        with feed_for(self.splits["val"], self.device, names, count, memory) as feed:
            seen, unseen = self.feed.batch(index), feed.batch(index)
        self.model.eval()
        for objective in asking:
            objective.review(self.model, seen, unseen)
        self.model.train()

    def read(self) -> float:
        """Return the mean loss since the last reading."""
        value = self.group.mean(self.losses) / max(self.unread, 1)
        self.losses.zero_()
        self.unread = 0
        return value

    def state(self) -> tuple[Place, dict[str, Tensor]]:
        """Return where the stage stands."""
        place = Place(
            stage=self.number,
            began=self.began,
            epoch=self.order.epoch,
            start=self.order.start,
            turns=[one.turns for one in self.players],
            averaged=self.average.steps,
            since=self.keeper.since,
            unread=self.unread,
        )
        tensors = {"losses": self.losses}
        for number, one in enumerate(self.players):
            tensors |= {f"player.{number}.{name}": x for name, x in one.state().items()}
        tensors |= {f"average.{place}": x for place, x in enumerate(self.average.values)}
        tensors |= {f"best.{name}": x for name, x in (self.keeper.weights or {}).items()}
        return place, tensors

    def take_up(self, place: Place, tensors: Mapping[str, Tensor]) -> None:
        """Stand where `state` was taken."""
        import torch

        self.at = place.done - place.began
        self.order.go_to(place.epoch, place.start)
        self.unread = place.unread
        self.losses.copy_(tensors["losses"])
        for number, one in enumerate(self.players):
            one.restore(below(tensors, f"player.{number}."), place.turns[number])
        self.average.steps = place.averaged
        with torch.no_grad():
            for at, value in enumerate(self.average.values):
                value.copy_(tensors[f"average.{at}"])
        self.keeper.since = place.since
        best = below(tensors, "best.")
        self.keeper.weights = {name: x.cpu() for name, x in best.items()} or None


@contextmanager
def dropout_stream(model: Model, seed: int, group: Group = ALONE) -> Iterator[None]:
    """Give dropout its own stream, and leave torch's global state as it was found.

    Processes that share a batch draw dropout apart from each other, and what is drawn for each
    item of a batch together, as one would alone.
    """
    import torch

    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        apart = (f"device {group.rank}",) if group.count > 1 else ()
        drawn = rng.torch_seed(seed, "dropout", *apart)
        # Not torch.manual_seed, which would set the state of every GPU there is.
        torch.default_generator.manual_seed(drawn)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(drawn)
        group.seed(rng.torch_seed(seed, "dropout"), device)
        yield
