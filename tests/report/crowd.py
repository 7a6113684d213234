"""Records of many models on many tasks, made up: each model is right on a share of the items."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmbench import catalog, records, scoring, store
from mmbench.references import LabelReferences
from mmbench.spec import TaskSpec
from mmbench.types import Predictions

MODELS = (
    "early", "late", "hybrid", "concat", "gmu", "lmf", "multimodal_self_attention", "tfn",
    "text_only", "vision_only", "seed_cross_transformer_with_a_long_name", "constant",
)  # fmt: skip
TASKS = ("grounding", "redundant", "sentiment", "shortcut", "synergy", "unique")
CLASSES = ("0", "1", "2", "3")
#: Of a split: its number of items here.
ITEMS = 240


def add(
    results: Path,
    task: TaskSpec,
    model: str,
    shares: Mapping[str, float],
    seed: int = 0,
    **parts: Any,
) -> store.Stored:
    """Store a record that is right on a share of the items of each split.

    Args:
        results: The folder of the records.
        task: What it is said to be measured on; its metric is accuracy.
        model: The model's name.
        shares: Split -> the share.
        seed: The run's seed.
        **parts: What else the record says.
    """
    ids: dict[str, list[str]] = {}
    statistics: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for split, share in shares.items():
        ids[split] = [f"{split}-{k:04d}" for k in range(ITEMS)]
        draw = np.random.default_rng([seed, len(model), sum(map(ord, model + task.name + split))])
        truth = np.arange(ITEMS) % len(CLASSES)
        said = np.where(draw.random(ITEMS) < share, truth, (truth + 1) % len(CLASSES))
        scored = scoring.score(
            Predictions(ids[split], {"label": [CLASSES[k] for k in said]}),
            {"label": LabelReferences(truth, CLASSES)},
            "label",
            ["accuracy"],
            ids=ids[split],
        )
        statistics[split] = {
            family: (of.columns, of.rows) for family, of in scored.statistics.items()
        }
        scores |= records.scores_of({split: scored})
    budget = task.default_budget
    given: dict[str, Any] = {
        "status": "finished",
        "task": task.name,
        "task_version": task.version,
        "task_digest": task.digest(budget),
        "budget": budget,
        "model": model,
        "model_digest": model,
        "seed": seed,
        "identity": hashlib.sha256(f"{task.name} {model} {seed}".encode()).hexdigest(),
        "definition": {"task": msgspec.to_builtins(task), "model": {}},
        "provenance": {"device": "cpu"},
        "data": {"fingerprint": task.name},
        "scores": scores,
    } | parts
    table = store.items_table(ids, statistics, dict.fromkeys(ids))
    return store.write(results, store.Record(**given), table)


def crowd(
    results: Path,
    models: Sequence[str] = MODELS,
    tasks: Sequence[str] = TASKS,
    seeds: int = 3,
    splits: Sequence[str] | None = ("test",),
    cost: Callable[[int, int], dict[str, Any]] | None = None,
) -> Path:
    """Store records of all models on all tasks; models differ, tasks are not equally hard."""
    for at, name in enumerate(tasks):
        task = catalog.task(name)
        tested = [s for s in task.splits if s not in ("train", "val")] if splits is None else splits
        for place, model in enumerate(models):
            for seed in range(seeds):
                draw = np.random.default_rng([at, place, seed])
                share = 0.95 - 0.05 * place - 0.04 * (at % 3) + draw.normal(0, 0.015)
                shares = {
                    split: float(np.clip(share - 0.06 * k * (1 + place % 3) / 2, 0.25, 0.98))
                    for k, split in enumerate(tested)
                }
                add(results, task, model, shares, seed, cost=(cost or costs)(place, seed))
    return results


def costs(place: int, seed: int) -> dict[str, Any]:
    """Return what a model cost: from 50,000 to two million parameters, the better ones more."""
    size = (9, 4, 11, 6, 8, 3, 10, 7, 1, 2, 5, 0)[place % 12]
    return {
        "parameters": int(50_000 * 1.4**size),
        "train_seconds": 20.0 + 13 * ((place * 7) % 12) + seed,
        "peak_host_bytes": 400_000_000 + 30_000_000 * ((place * 5) % 12),
    }
