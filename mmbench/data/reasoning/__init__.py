"""Reasoning over a graph of which picture and text tell half the edges each. Built in, generated.

A scene graph (``image``, as an ideal detector would give it) and a knowledge graph (``text``, as
an ideal parser would) are about the same things, and no edge is in both. The question asks for a
way, for the relation that follows from those along a way, for a pattern, or, in two turns, for
something about the thing that the first answer is. The answer is one of a few words. Whoever does
not join the two graphs before answering knows next to nothing: what takes two hops takes both.

The parts: `scenes` and `questions` (what is drawn, and how often), `draws` (which of it are the
items of a split), `arrays` (the graphs that models are given), `seen` (reads them back), `solver`
(right answers by following edges), `posterior` (exact probabilities of the answers for every set
of modalities), `oracle`, and `proven` (bounds, for late fusion too).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmbench import catalog
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.reasoning import arrays, draws
from mmbench.data.reasoning.oracle import oracle
from mmbench.data.reasoning.params import QUESTIONS, Params, check
from mmbench.data.reasoning.posterior import posterior
from mmbench.data.reasoning.proven import bounds, late_bounds
from mmbench.data.reasoning.questions import ANSWERS, LENGTH, WORDS, classes_of, tokens_of
from mmbench.data.reasoning.references import PlantedAnswers
from mmbench.data.reasoning.scenes import HALVES
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

__all__ = [
    "VERSION",
    "Params",
    "bounds",
    "build",
    "late_bounds",
    "oracle",
    "posterior",
    "source_digest",
]

#: Raised whenever the data change.
VERSION = 1


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    The first n items of a split are the same whatever the sizes are; no item is in two splits, and
    none is twice in one. The column ``isomorphic`` says of an item whether one of the split
    ``train`` differs from it in the names of things only.

    Raises:
        SpecError: Another version is asked for, a parameter is wrong, or there are fewer different
            items than are asked for.
    """
    params = checked(request, "reasoning", VERSION, Params)
    check(params, f"{catalog.task_where(request.task)}: dataset.params")
    key = {
        "name": "reasoning",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*sorted(Path(__file__).parent.glob("*.py"))),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name, params) for name in request.splits}
    return Dataset(signature(params), splits, entry.fingerprint, oracle)


def signature(params: Params) -> Signature:
    """Return what models need to know."""
    classes = classes_of(params.questions)
    return Signature(
        {
            **{half: Modality("graph", arrays.SHAPE) for half in HALVES},
            "question": Modality("text", (LENGTH,), WORDS),
        },
        {"answer": Output("label", len(classes), classes)},
    )


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    made: dict[str, Any] = {}
    trained = np.zeros(0, dtype=np.uint64)
    drawn = {
        name: draws.draw(seed, name, params, items, part, len(splits))
        for part, (name, items) in enumerate(splits.items())
    }
    if "train" in drawn:
        trained = drawn["train"].shape
    for name, items in drawn.items():
        tokens, lengths = tokens_of(items.scenes, items.asked)
        columns: dict[str, Any] = {
            half: arrays.graph(seed, "reasoning", name, scenes=items.scenes, half=at)
            for at, half in enumerate(HALVES)
        }
        columns |= {
            "question": tokens.astype(np.uint8),
            "lengths": lengths,
            "answer": _answers(items, params),
            "kind": items.asked.kind.astype(np.uint8),
            "hops": items.asked.hops.astype(np.uint8),
            "isomorphic": np.isin(items.shape, trained),
        }
        made.update({f"{name}.{field}": array for field, array in columns.items()})
    return made, {}


def _answers(items: draws.Items, params: Params) -> Any:
    """Return [N], the number of the right answer among all of the task."""
    classes = classes_of(params.questions)
    found = np.zeros(len(items), dtype=np.int64)
    for kind in params.questions:
        table = np.array([classes.index(answer) for answer in ANSWERS[kind]])
        here = items.asked.kind == QUESTIONS.index(kind)
        found[here] = table[items.asked.answer[here]]
    return found


def _split(entry: Entry, name: str, params: Params) -> Split:
    got = {
        key.removeprefix(f"{name}."): array
        for key, array in entry.arrays.items()
        if key.startswith(f"{name}.")
    }
    labels = np.asarray(got["answer"])
    kinds = np.array(QUESTIONS)[got["kind"]]
    steps = np.array([f"{kind} {hops}" for kind, hops in zip(kinds, got["hops"], strict=True)])
    classes = classes_of(params.questions)
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(len(labels))],
        inputs={
            **{half: got[half] for half in HALVES},
            "question": Ragged(got["question"], got["lengths"]),
        },
        targets={"answer": labels},
        references={"answer": PlantedAnswers(labels, classes, params=params)},
        groups={
            "question": kinds,
            "hops": np.asarray(got["hops"]).astype(np.int64),
            "question_hops": steps,
            "isomorphic": np.asarray(got["isomorphic"]),
        },
    )
