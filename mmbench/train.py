"""Training: stages of objectives, steps counted, the best validated weights kept.

The loop knows neither fusion nor metric: a model is a `Model`, an objective returns a loss, and
`validate` is a callable that the caller made. Nothing is drawn from a global random state: the
run's seed drives initialisation, order, choice of target texts and dropout by named streams.
"""

from __future__ import annotations

import fnmatch
import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.errors import DataError, SpecError
from mmbench.spec import BudgetSpec, ObjectiveSpec, OptimizerSpec, RecipeSpec, StageSpec
from mmbench.types import Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mmbench.models.contract import Objective
    from mmbench.models.feed import Feed
    from mmbench.models.model import Model
    from mmbench.models.pairs import Pairs

#: Returns what is to be maximised.
Validate = Callable[["Model"], float]

#: What a recipe may train on; all other splits are for testing, and seen once.
TRAINING_SPLITS = ("train", "val")

#: The loss is read from the device, for the curve and the check for NaN, every so many steps.
READ_EVERY = 10


class Progress(Protocol):
    """What watches a run; see `mmbench.cli.progress`."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Take note of a step; `loss` is the last one read, `score` this validation's."""


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
    """

    curve: list[Point] = field(default_factory=list)
    steps: int = 0
    best_step: int = 0
    best_score: float = -math.inf
    seconds: float = 0.0
    items: int = 0
    diverged: str = ""
    stopped_early: bool = False


def train(
    model: Model,
    splits: Mapping[str, Split],
    recipe: RecipeSpec,
    budget: BudgetSpec,
    seed: int,
    validate: Validate,
    progress: Progress,
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

    Returns:
        The curve and the counts; the model then holds its best validated weights.

    Raises:
        SpecError: A stage names a split that is not there, or trains nothing.
        DataError: A split is empty.
    """
    check_recipe(recipe, model, splits)
    trained = Trained()
    with dropout_stream(model, seed):
        done = 0
        for stage in recipe.stages:
            # Each stage has its own best weights, and the next one starts from them.
            keeper = _Keeper(model, recipe.patience, always=stage.keep == "last")
            trained.best_score, trained.stopped_early = -math.inf, False
            steps = max(1, round(budget.steps * stage.share))
            loop = _Stage(model, splits, stage, recipe, budget, steps, seed)
            done = _run_stage(loop, done, budget, trained, keeper, validate, progress)
            keeper.restore()
            if trained.diverged:
                break
    return trained


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
            if not _chosen(model, item):
                raise SpecError(
                    f"recipe.stages: the objective {item.name!r} trains nothing: no parameter "
                    f"matches {', '.join(item.parameters)}"
                )


def _chosen(model: Model, spec: ObjectiveSpec) -> dict[str, nn.Parameter]:
    """Return the parameters that an objective trains: matched, and by no ``!`` left out."""
    without = [pattern[1:] for pattern in spec.parameters if pattern.startswith("!")]

    def matches(name: str, patterns: Iterable[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if matches(name, spec.parameters) and not matches(name, without)
    }


def _run_stage(
    loop: _Stage,
    done: int,
    budget: BudgetSpec,
    trained: Trained,
    keeper: _Keeper,
    validate: Validate,
    progress: Progress,
) -> int:
    """Run one stage; return the steps done so far over all stages."""
    every = max(1, math.ceil(budget.steps / budget.validations))
    last = done + loop.steps
    started = time.perf_counter()
    while done < last:
        loss = loop.step()
        done += 1
        trained.steps, trained.items = done, trained.items + loop.batch_size
        if done % READ_EVERY == 0 or done == last or done % every == 0:
            value = loop.read(loss)
            trained.curve.append(Point(done, value))
            if not math.isfinite(value):
                trained.diverged = f"the loss became {value} by step {done}"
                break
        progress.step(done, budget.steps, trained.curve[-1].loss if trained.curve else None, None)
        if done % every == 0 or done == last:
            trained.seconds += time.perf_counter() - started
            score = validate(loop.model)
            loop.review()
            loop.model.train()
            trained.curve[-1].score = score
            progress.step(done, budget.steps, trained.curve[-1].loss, score)
            trained.stopped_early = keeper.offer(score, done, trained)
            started = time.perf_counter()
            if trained.stopped_early:
                break
    trained.seconds += time.perf_counter() - started
    return done


class _Keeper:
    """Keeps the weights with the best validation, or `always` the last ones, on the CPU."""

    def __init__(self, model: Model, patience: int, always: bool = False) -> None:
        self.model = model
        self.patience = patience
        self.always = always
        self.since = 0
        self.weights: dict[str, Tensor] | None = None

    def offer(self, score: float, step: int, trained: Trained) -> bool:
        """Take the present weights if they are wanted; return whether patience ran out."""
        if self.always or score > trained.best_score:
            trained.best_score, trained.best_step, self.since = score, step, 0
            self.weights = {
                name: value.detach().cpu().clone()
                for name, value in self.model.state_dict().items()
            }
            return False
        self.since += 1
        return bool(self.patience) and self.since >= self.patience

    def restore(self) -> None:
        """Put the best weights back."""
        if self.weights is not None:
            self.model.load_state_dict(self.weights)


@dataclass
class _Player:
    """An objective with its optimiser; what makes two of them alternate is period and offset.

    `rate` is the learning rate at each of its turns, `turns` how many it has had.
    """

    objective: Objective
    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]
    parameters: list[nn.Parameter]
    clip: float
    period: int
    offset: int
    turns: int = 0

    def step(self) -> None:
        """Clip the gradients and take a step at the learning rate of this turn."""
        import torch

        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.turns)
        self.optimizer.step()
        self.turns += 1


class _Stage:
    """One stage: its data, its players, and the order of its batches."""

    def __init__(
        self,
        model: Model,
        splits: Mapping[str, Split],
        stage: StageSpec,
        recipe: RecipeSpec,
        budget: BudgetSpec,
        steps: int,
        seed: int,
    ) -> None:
        import torch

        from mmbench.models.build import objective
        from mmbench.models.pairs import feed_for

        self.model = model
        self.steps = steps
        self.seed = seed
        self.name = stage.name
        self.at = 0
        device = next(model.parameters()).device
        self.feed: Feed | Pairs = feed_for(
            splits[stage.split], device, list(model.encoders), budget.items
        )
        if len(self.feed) == 0:
            raise DataError(f"the split {stage.split!r} is empty: nothing to train on")
        self.batch_size = min(recipe.batch_size, len(self.feed))
        self.recipe = recipe
        self.splits = splits
        self.budget = budget
        self.order = self._orders()
        self.autocast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.losses = torch.zeros((), device=device)
        self.unread = 0
        self.players = [
            _player(model, objective(item, f"recipe.stages.{stage.name}"), item, steps)
            for item in stage.objectives
        ]
        model.train()

    def step(self) -> Tensor:
        """Take one step of every objective whose turn it is; return the sum of their losses."""
        import torch

        from mmbench.models.balance import drop_modalities, modulate

        epoch, index = next(self.order)
        batch = self.feed.batch(index, self.seed, epoch)
        if self.recipe.modality_dropout:
            names = ("modality dropout", self.name, self.at)
            dropped = self.recipe.modality_dropout
            batch = drop_modalities(batch, dropped, self.seed, *names, sides=self.model.sides)
        for player in self.players:
            if self.at < player.offset or (self.at - player.offset) % player.period:
                continue
            with torch.autocast(batch_device(self.feed), torch.bfloat16, enabled=self.autocast):
                loss = player.objective.loss(self.model, batch)
            for parameter in self.model.parameters():
                parameter.grad = None  # an objective must not act on what another one left
            loss.backward()  # type: ignore[no-untyped-call]
            if self.recipe.ogm_ge:
                modulate(self.model, batch, self.recipe.ogm_ge)
            player.step()
            self.losses += loss.detach()
        self.at += 1
        self.unread += 1
        return self.losses

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
        unseen = feed_for(self.splits["val"], self.feed.device, list(self.model.encoders), count)
        index = np.arange(count, dtype=np.int64)
        self.model.eval()
        for objective in asking:
            objective.review(self.model, self.feed.batch(index), unseen.batch(index))
        self.model.train()

    def read(self, losses: Tensor) -> float:
        """Return the mean loss since the last reading."""
        value = float(losses) / max(self.unread, 1)
        losses.zero_()
        self.unread = 0
        return value

    def _orders(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield (epoch, indices) for ever; an incomplete last batch of an epoch is left out."""
        epoch = 0
        while True:
            order = rng.permutation(self.seed, "order", self.name, epoch, count=len(self.feed))
            for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
                yield epoch, order[start : start + self.batch_size]
            epoch += 1


def batch_device(feed: Feed | Pairs) -> str:
    """Return the device type that a feed's batches are on, for autocast."""
    return feed.device.type


def _player(model: Model, objective: Objective, spec: ObjectiveSpec, steps: int) -> _Player:
    chosen = _chosen(model, spec)
    settings: OptimizerSpec = spec.optimizer
    # Decay is for matrices; an embedding row that is seldom seen should not fade meanwhile.
    matrices = [p for n, p in chosen.items() if p.dim() > 1 and "embed" not in n]
    others = [p for n, p in chosen.items() if p.dim() <= 1 or "embed" in n]
    optimizer = _adamw(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        settings,
    )
    turns = max(1, math.ceil((steps - spec.offset) / spec.period))
    return _Player(
        objective,
        optimizer,
        lambda at: settings.lr * factor(at, turns, settings),
        list(chosen.values()),
        settings.clip,
        spec.period,
        spec.offset,
    )


def _adamw(groups: list[dict[str, Any]], settings: OptimizerSpec) -> torch.optim.AdamW:
    """Make an optimiser without loading torch's compiler.

    What torch wraps ``add_param_group`` and ``step`` in imports the compiler, which takes as long
    to load as torch itself, to leave them out of what is compiled. Here nothing is.
    """
    import torch

    class AdamW(torch.optim.AdamW):
        def add_param_group(self, param_group: dict[str, Any]) -> None:
            inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

        @torch.no_grad()
        def step(self) -> None:  # type: ignore[override]
            inspect.unwrap(torch.optim.AdamW.step)(self)

    return AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def factor(at: int, turns: int, settings: OptimizerSpec) -> float:
    """Return the share of the peak learning rate at step `at` of `turns`.

    >>> one_cycle = OptimizerSpec(warmup=0.5)
    >>> [round(factor(at, 4, one_cycle), 2) for at in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if settings.schedule == "constant":
        return 1.0
    warm = max(1, round(turns * settings.warmup))
    if at < warm:
        return (at + 1) / warm
    fall = warm + round(turns * settings.hold)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0, at - fall) / max(1, turns - fall))))


@contextmanager
def dropout_stream(model: Model, seed: int) -> Iterator[None]:
    """Give dropout its own stream, and leave torch's global state as it was found."""
    import torch

    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        drawn = rng.torch_seed(seed, "dropout")
        # Not torch.manual_seed, which would set the state of every GPU there is.
        torch.default_generator.manual_seed(drawn)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(drawn)
        yield
