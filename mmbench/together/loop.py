"""Training several seeds as one batch: stages, steps, validations, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmbench.checkpoint import Checkpoints, Place
from mmbench.errors import MmbenchError
from mmbench.room import USUAL, Allowance
from mmbench.spec import BudgetSpec, RecipeSpec, StageSpec
from mmbench.together.data import Data
from mmbench.together.player import SeedsPlayer, autocast
from mmbench.together.seed import Seed
from mmbench.together.trial import why
from mmbench.train import (
    READ_EVERY,
    Point,
    Progress,
    Trained,
    Validate,
    below,
    lacks_memory,
)
from mmbench.types import Batch, Split

if TYPE_CHECKING:
    from torch import Tensor

    from mmbench.models.contract import Objective
    from mmbench.models.model import Model


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
        self.every = [Seed(seed, model) for seed, model in zip(seeds, models, strict=True)]

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


class _Stage:
    """One stage of all seeds that take part in it."""

    def __init__(
        self, whole: _Training, seeds: list[Seed], stage: StageSpec, number: int, steps: int
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
        self.data = Data(model, self.splits, stage, whole.recipe, self.budget, numbers, self.memory)
        self.players = [SeedsPlayer(self.stack, item, stage, steps) for item in stage.objectives]
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

    def _backward(self, player: SeedsPlayer, batch: Batch) -> Tensor:
        """Compute losses and gradients.

        Raises:
            NotTogetherError: What went well in the trial does not with this batch.
        """
        from mmbench.models.stacked import NotTogetherError

        try:
            with autocast(self.device):
                losses = self.stack.losses(player.objective, batch, player.own)
            for parameter in self.stack.parameters.values():
                parameter.grad = None  # an objective must not act on what another one left
            losses.sum().backward()  # type: ignore[no-untyped-call]
        # As in the trial; what is wrong with a model by itself comes again when it is alone.
        except Exception as error:
            if lacks_memory(error) or isinstance(error, MmbenchError):
                raise
            raise NotTogetherError(why(player.name, error)) from error
        return losses.detach()

    def _reads(self, one: Seed) -> bool:
        return one.done % READ_EVERY == 0 or self._looks(one)

    def _looks(self, one: Seed) -> bool:
        return one.done % self.every == 0 or one.done == one.last

    def _validates(self, one: Seed) -> bool:
        return self._looks(one) and not one.trained.diverged

    def read(self, due: Sequence[Seed]) -> None:
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

    def validate(self, one: Seed, validate: Validate) -> float:
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

    def leave(self, ended: Sequence[Seed]) -> None:
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
