"""Two worlds of a few items for tests of models and training.

Picture, sound and words -> a caption; and `ANSWERS`: two sequences and a vector -> a class, a set
of classes and a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import torch

from mmbench import catalog
from mmbench.models.build import build
from mmbench.models.feed import Feed
from mmbench.models.model import Model
from mmbench.references import (
    LabelReferences,
    MultilabelReferences,
    ScalarReferences,
    TextReferences,
)
from mmbench.spec import ModelSpec, TaskSpec, parse_task
from mmbench.text import EOS, SPECIALS
from mmbench.types import Batch, Modality, Output, Ragged, Signature, Split

WIDTH = 16
WORDS = (*SPECIALS, "a", "red", "blue", "cube", "ball", "hums", "rings", "left")
LONGEST = 6

#: One modality of every kind that an encoder may read; the words are ragged.
SIGNATURE = Signature(
    modalities={
        "image": Modality("image", (3, 26, 28)),
        "audio": Modality("spectrogram", (2, 9, 6)),
        "tags": Modality("text", (7,), WORDS),
    },
    outputs={"caption": Output("text", LONGEST, WORDS)},
)

TASK: TaskSpec = parse_task(
    {
        "schema": 1,
        "name": "tiny",
        "version": 1,
        "summary": "for tests",
        "dataset": {"name": "scenecap", "version": 1},
        "modalities": {
            name: {"kind": m.kind, "shape": list(m.shape)}
            for name, m in SIGNATURE.modalities.items()
        },
        "outputs": {"caption": {"kind": "text"}},
        "splits": {"train": 8, "val": 4, "test": 4},
        "metrics": {"main": "bleu1"},
        "budgets": {"small": {"items": 8, "steps": 4}},
    },
    "tiny",
)

#: The items of `split` that lack something; all others have everything.
NO_IMAGE, NO_AUDIO, NO_TAGS, NOTHING = 1, 2, 3, 4


def split(items: int, seed: int = 0, whole: bool = False) -> Split:
    """Draw items, each with one or two captions; unless `whole`, items 1 to 4 lack something."""
    draw = np.random.default_rng(seed)
    content: dict[str, Any] = {
        name: draw.integers(0, 256, (items, *SIGNATURE.modalities[name].shape), dtype=np.uint8)
        for name in ("image", "audio")
    }
    lengths = draw.integers(1, 8, items)
    words = draw.integers(len(SPECIALS), len(WORDS), (items, 7))
    words[np.arange(7) >= lengths[:, None]] = 0
    present = {name: np.ones(items, dtype=bool) for name in SIGNATURE.modalities}
    if not whole:
        present["image"][[NO_IMAGE, NOTHING]] = False
        present["audio"][[NO_AUDIO, NOTHING]] = False
        lengths[NO_TAGS] = 0  # no word at all is as good as an absent modality
        present["tags"][NOTHING] = False
    targets = np.zeros((items, 2, LONGEST), dtype=np.int64)
    for item in range(items):
        for text in range(1 + item % 2):
            count = int(draw.integers(1, LONGEST))
            targets[item, text, :count] = draw.integers(len(SPECIALS), len(WORDS), count)
            targets[item, text, count] = EOS
    texts = [tuple(_text(row) for row in rows if row[0]) for rows in targets.tolist()]
    return Split(
        ids=[f"item{item}" for item in range(items)],
        inputs={**content, "tags": Ragged(words, lengths)},
        targets={"caption": targets},
        references={"caption": TextReferences(texts)},
        present=present,
    )


def _text(row: Sequence[int]) -> str:
    return " ".join(WORDS[token] for token in row if token >= len(SPECIALS))


@dataclass(frozen=True, eq=False)
class World:
    """A signature, a task that promises it, and items of it."""

    signature: Signature
    task: TaskSpec
    draw: Callable[[int, int, bool], Split]

    @property
    def main(self) -> str:
        return self.signature.main

    def split(self, items: int, seed: int = 0, whole: bool = False) -> Split:
        return self.draw(items, seed, whole)

    def spec(self, name: str, **changes: Any) -> ModelSpec:
        """Return a shipped model as it is here, made small; `changes` replace whole parts."""
        found = catalog.model(name, (), self.task)
        return msgspec.structs.replace(found, **{"width": WIDTH, **changes})

    def make(self, model: ModelSpec, seed: int = 0) -> Model:
        return make(model, seed, self.signature)


CLASSES = ("cat", "dog", "owl", "eel")
TAGS = ("wet", "loud", "small")
ANSWERS_SIGNATURE = Signature(
    modalities={
        "steps": Modality("sequence", (7, 3)),
        "frames": Modality("sequence", (4, 2)),
        "numbers": Modality("vector", (5,)),
    },
    outputs={
        "animal": Output("label", len(CLASSES), CLASSES),
        "traits": Output("multilabel", len(TAGS), TAGS, main=False),
        "weight": Output("scalar", 1, (), False, offset=2.0, scale=3.0),
    },
)


def answers(items: int, seed: int = 0, whole: bool = False) -> Split:
    """Draw items of `ANSWERS`; unless `whole`, items 1 to 4 lack something."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 8, items)
    content = {
        name: draw.normal(size=(items, *m.shape)).astype(np.float32)
        for name, m in ANSWERS_SIGNATURE.modalities.items()
    }
    content["steps"][np.arange(7) >= lengths[:, None]] = 0
    present = {name: np.ones(items, dtype=bool) for name in content}
    if not whole:
        present["frames"][[NO_IMAGE, NOTHING]] = False
        present["numbers"][[NO_AUDIO, NOTHING]] = False
        lengths[NO_TAGS] = 0
        present["steps"][NOTHING] = False
    animal = draw.integers(0, len(CLASSES), items)
    traits = draw.integers(0, 2, (items, len(TAGS)))
    weight = draw.normal(2.0, 3.0, items).astype(np.float32)
    return Split(
        ids=[f"item{item}" for item in range(items)],
        inputs={**content, "steps": Ragged(content["steps"], lengths)},
        targets={"animal": animal, "traits": traits.astype(np.float32), "weight": weight},
        references={
            "animal": LabelReferences(animal, CLASSES),
            "traits": MultilabelReferences(traits.astype(bool), TAGS),
            "weight": ScalarReferences(weight.astype(np.float64)),
        },
        present=present,
    )


CAPTIONS = World(SIGNATURE, TASK, split)
ANSWERS = World(
    ANSWERS_SIGNATURE,
    parse_task(
        {
            "schema": 1,
            "name": "tiny_answers",
            "version": 1,
            "summary": "for tests",
            "dataset": {"name": "scenecap", "version": 1},
            "modalities": {
                name: {"kind": m.kind, "shape": list(m.shape)}
                for name, m in ANSWERS_SIGNATURE.modalities.items()
            },
            "outputs": {
                "animal": {"kind": "label", "classes": list(CLASSES), "main": True},
                "traits": {"kind": "multilabel", "classes": list(TAGS), "metrics": ["micro_f1"]},
                "weight": {"kind": "scalar", "metrics": ["mae"]},
            },
            "splits": {"train": 8, "val": 4, "test": 4},
            "metrics": {"main": "accuracy"},
            "budgets": {"small": {"items": 8, "steps": 4}},
        },
        "tiny_answers",
    ),
    answers,
)
WORLDS = {"captions": CAPTIONS, "answers": ANSWERS}


def world_of(model: Model) -> World:
    """Return the world that a model was built for."""
    return CAPTIONS if "caption" in model.signature.outputs else ANSWERS


def batch(items: Split, model: Model, index: Sequence[int] | None = None) -> Batch:
    """Return items as the model wants them, with targets."""
    feed = Feed(items, torch.device("cpu"), list(model.encoders), targets=True)
    return feed.batch(np.arange(len(items)) if index is None else np.asarray(index))


def spec(name: str, **changes: Any) -> ModelSpec:
    """Return a shipped model, made small; `changes` replace whole parts of it."""
    return msgspec.structs.replace(catalog.model(name), **{"width": WIDTH, **changes})


def make(model: ModelSpec, seed: int = 0, signature: Signature = SIGNATURE) -> Model:
    """Build a model, initialised from a seed; torch's own state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(model, signature).eval()


def log_probs(model: Model, items: Batch) -> torch.Tensor:
    """Return what the model says: of the caption's words [B, L, V]; of all answers [B, 1, C]."""
    branches = model.fuse(items).branches
    said = {o: model.verdict(o, branches, items.targets[o]).combined.answer for o in model.heads}
    if "caption" in said:
        return said["caption"]
    return torch.cat([answer.flatten(1) for answer in said.values()], dim=1)[:, None]


def as_floats(items: Batch) -> Batch:
    """Return the same pixels as float32, which can hold NaN."""
    inputs = {n: x.float() if x.dtype == torch.uint8 else x for n, x in items.inputs.items()}
    return replace(items, inputs=inputs)
