"""A model that is trained on a shipped task for so many steps, and tested: for tests of science."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import msgspec
import numpy as np
import torch

from mmbench import catalog
from mmbench.data import _load
from mmbench.predict import predict
from mmbench.records import leaks, scores_of
from mmbench.run import Run, Settings, make_model, score_tests, sized, validation_score
from mmbench.spec import DecodingSpec
from mmbench.train import train
from mmbench.types import Dataset, Predictions


class Silent:
    """Nobody watches."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@dataclass(frozen=True)
class Tested:
    """Scores on the test split by metric, what was said there, and the data."""

    scores: dict[str, Any]
    said: Predictions
    dataset: Dataset


@cache
def tested(
    task_name: str,
    name: str,
    steps: int,
    *settings: str,
    permuted: bool = False,  # noqa: PT028, no test in spite of its name
) -> Tested:
    """Train and test one model, seed 0; nothing may lie above a proven bound.

    Args:
        task_name: The task.
        name: The model.
        steps: How many steps, at the budget ``small`` otherwise.
        settings: As of ``--set``.
        permuted: Give the training items one another's targets.
    """
    torch.set_num_threads(1)
    task = catalog.task(task_name)
    budgets = {"small": msgspec.structs.replace(task.budgets["small"], steps=steps)}
    task = msgspec.structs.replace(task, budgets=budgets)
    dataset = _load.load(task)
    model = sized(catalog.model(name, settings, task), task)
    run = Run(task, model, "small", 0, Settings(device="cpu"))
    built = make_model(run, dataset)
    validate = partial(validation_score, run=run, dataset=dataset)
    splits = dict(dataset.splits)
    if permuted:
        split = splits["train"]
        order = np.random.default_rng(0).permutation(len(split))
        targets = {output: array[order] for output, array in split.targets.items()}
        splits["train"] = replace(split, targets=targets)
    train(built, splits, model.recipe, task.budgets["small"], 0, validate, Silent())
    said = predict(built, dataset.splits["test"], DecodingSpec(beams=1))
    found = scores_of(score_tests(run, dataset, {"test": said}))["test"]
    late = built.decision_level and len(run.heard) > 1
    assert not leaks(found, task.levels, run.heard, late)
    return Tested(found, said, dataset)
