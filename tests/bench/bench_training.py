"""Training beside the loops that one would write: one seed, and five seeds together.

    python tests/bench/bench_training.py [--steps 124] [--repeats 5] [--width 64]

Three vectors of 35, 74 and 300 numbers, four classes, 2,000 items, batches of 32, one thread: each
vector through a small network, the three side by side, a network on top.

One seed: `mmbench.train` on its own model, in turn with (a) the usual loop, a `DataLoader`, AdamW
as it comes, clipping and validation; (b) the fastest loop one can write by hand, with all items in
memory, the fused optimiser and clipping. Both train the same model, by calling its objective, so
that what is compared are loops.

Five seeds: the same runs one after the other, in turn with all of them as a batch, once by torch's
own batching rules (`vmap`) and once with batched layers as well.

The two sides of a pair take turns; what counts is the ratio of their best times, since whatever
else a machine does only adds to them. Models are built before the clock starts. Everything is one
thread's work, so the processor's time is taken, which is the clock's on a machine that has nothing
else to do.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from mmbench import catalog, rng
from mmbench.models import stacked
from mmbench.models.build import build, objective
from mmbench.models.feed import Feed
from mmbench.models.model import Model
from mmbench.optimise import factor
from mmbench.predict import predict
from mmbench.references import LabelReferences
from mmbench.spec import BudgetSpec, ComponentSpec, DecodingSpec, ModelSpec
from mmbench.together import train_together
from mmbench.train import train
from mmbench.types import Batch, Modality, Output, Signature, Split

CLASSES = ("a", "b", "c", "d")
FEATURES = {"text": 35, "vision": 74, "audio": 300}
ITEMS, UNSEEN, BATCH = 2000, 200, 32
SEEDS = tuple(range(5))
#: The least that is accepted: times the samples a second of the other side.
USUAL, BARE, BY_VMAP, BY_LAYERS = 1.7, 0.95, 1.5, 2.2

SIGNATURE = Signature(
    {name: Modality("vector", (size,)) for name, size in FEATURES.items()},
    {"kind": Output("label", len(CLASSES), CLASSES)},
)


class Nobody:
    """Watches nothing."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Take note of nothing."""

    def note(self, text: str) -> None:
        """Take note of nothing."""


def split(items: int, seed: int) -> Split:
    """Draw items whose class stands, weakly, in each modality."""
    draw, told = np.random.default_rng(seed), np.random.default_rng(7)
    kinds = draw.integers(0, len(CLASSES), items)
    inputs = {
        name: (
            0.3 * told.normal(size=(len(CLASSES), size))[kinds] + draw.normal(size=(items, size))
        )
        for name, size in FEATURES.items()
    }
    return Split(
        [f"item{n}" for n in range(items)],
        {name: x.astype(np.float32) for name, x in inputs.items()},
        {"kind": kinds},
        {"kind": LabelReferences(kinds, CLASSES)},
    )


def model_of(width: int) -> ModelSpec:
    """Return 3 x MLP -> concatenation -> MLP."""
    base = catalog.model("concat")
    return msgspec.structs.replace(
        base,
        width=width,
        fusion=ComponentSpec("concat", {"depth": 0}),
        recipe=msgspec.structs.replace(base.recipe, batch_size=BATCH),
    )


def made(spec: ModelSpec, seed: int) -> Model:
    """Build a model from a seed."""
    torch.default_generator.manual_seed(rng.torch_seed(seed, "initialisation"))
    return build(spec, SIGNATURE)


class Work:
    """The runs that both sides of a pair do."""

    def __init__(self, width: int, steps: int) -> None:
        self.spec = model_of(width)
        self.steps = steps
        self.splits = {"train": split(ITEMS, 1), "val": split(UNSEEN, 2)}
        self.budget = BudgetSpec(ITEMS, steps, validations=1)
        self.item = self.spec.recipe.stages[0].objectives[0]

    def validate(self, model: Model) -> float:
        """Return the share of validation items that the model is right on."""
        said = predict(model, self.splits["val"], DecodingSpec(beams=1))
        right = [CLASSES[kind] for kind in self.splits["val"].targets["kind"]]
        return float(np.mean([a == b for a, b in zip(said.outputs["kind"], right, strict=True)]))

    # --- one seed ---

    def ours(self, models: list[Model]) -> None:
        """Train by mmbench."""
        recipe = self.spec.recipe
        train(models[0], self.splits, recipe, self.budget, 0, self.validate, Nobody())

    def usual(self, models: list[Model]) -> None:
        """Train by a DataLoader, AdamW as it comes, clipping and validation."""
        model, loss_of = models[0].train(), objective(self.item, "bench")
        items = self.splits["train"]
        names = list(items.inputs)
        arrays = [torch.from_numpy(np.asarray(items.inputs[name])) for name in names]
        data = torch.utils.data.TensorDataset(*arrays, torch.from_numpy(items.targets["kind"]))
        loader = torch.utils.data.DataLoader(
            data, BATCH, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0)
        )
        settings = self.item.optimizer
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=0.01, fused=False, foreach=False
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda at: factor(at, self.steps, settings)
        )
        done = 0
        while done < self.steps:
            for *inputs, kinds in loader:
                here = torch.ones(BATCH, dtype=torch.bool)
                batch = Batch(
                    BATCH,
                    dict(zip(names, inputs, strict=True)),
                    {},
                    dict.fromkeys(names, here),
                    {"kind": kinds},
                )
                optimizer.zero_grad()
                loss = loss_of.loss(model, batch)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
                optimizer.step()
                schedule.step()
                loss.item()
                done += 1
                if done == self.steps:
                    break
        self.validate(model)

    def bare(self, models: list[Model]) -> None:
        """Train by the shortest loop: items in memory, fused optimiser, clipping."""
        model, loss_of = models[0].train(), objective(self.item, "bench")
        feed = Feed(self.splits["train"], torch.device("cpu"), list(FEATURES), targets=True)
        settings = self.item.optimizer
        parameters = list(model.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=0.01, fused=True)
        losses = torch.zeros(())
        order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        draw = np.random.default_rng(0)
        for done in range(self.steps):
            if len(order) < BATCH:
                order = draw.permutation(ITEMS)
            batch, order = feed.batch(order[:BATCH]), order[BATCH:]
            for parameter in parameters:
                parameter.grad = None
            loss = loss_of.loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip, foreach=True)
            optimizer.param_groups[0]["lr"] = settings.lr * factor(done, self.steps, settings)
            optimizer.step()
            losses += loss.detach()
        losses.item()
        self.validate(model)

    # --- five seeds ---

    def in_turn(self, models: list[Model]) -> None:
        """Train five seeds one after the other."""
        for seed, model in zip(SEEDS, models, strict=True):
            recipe = self.spec.recipe
            train(model, self.splits, recipe, self.budget, seed, self.validate, Nobody())

    def together(self, models: list[Model]) -> None:
        """Train five seeds as a batch."""
        recipe, budget = self.spec.recipe, self.budget
        train_together(models, self.splits, recipe, budget, SEEDS, self.validate, Nobody())

    def by_vmap(self, models: list[Model]) -> None:
        """Train five seeds as a batch, by torch's own batching rules."""
        with without_rules():
            self.together(models)

    def pair(
        self,
        name: str,
        ours: Callable[[list[Model]], None],
        theirs: Callable[[list[Model]], None],
        repeats: int,
        least: float,
    ) -> bool:
        """Time two sides in turn; print and hold the ratio of their best times."""
        best = [float("inf"), float("inf")]
        for _ in range(repeats):
            for place, side in enumerate((ours, theirs)):
                models = [made(self.spec, seed) for seed in SEEDS]
                begun = time.process_time()
                side(models)
                best[place] = min(best[place], time.process_time() - begun)
        ratio = best[1] / best[0]
        told = "" if ratio >= least else "  too slow"
        print(f"{name:36} {best[0]:7.3f} s {best[1]:7.3f} s {ratio:6.2f} x  (>= {least} x){told}")
        return ratio >= least


@contextmanager
def without_rules() -> Iterator[None]:
    """Take away what is done otherwise than torch's `vmap` does it."""
    tables = [(table, dict(table)) for table in (stacked.RULES, stacked._MODULES)]
    for table, _ in tables:
        table.clear()
    try:
        yield
    finally:
        for table, kept in tables:
            table.update(kept)


def main() -> int:
    """Time all pairs; return 1 if one of them misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=124)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    work = Work(given.width, given.steps)
    size = sum(p.numel() for p in made(work.spec, 0).parameters())
    print(f"{given.steps} steps of {BATCH} items, {size:,} parameters")
    print(f"{'':44} {'mmbench':>9} {'other':>9}")
    work.ours([made(work.spec, 0)])  # what is loaded and set up once is nobody's time
    repeats = given.repeats
    good = [
        work.pair("one seed, DataLoader and plain AdamW", work.ours, work.usual, repeats, USUAL),
        work.pair("one seed, bare loop", work.ours, work.bare, repeats, BARE),
        work.pair("five seeds by vmap", work.by_vmap, work.in_turn, repeats, BY_VMAP),
        work.pair("five seeds by layers", work.together, work.in_turn, repeats, BY_LAYERS),
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
