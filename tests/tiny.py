"""A world of a few items for tests of models and training: picture, sound, words -> a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import torch

from mmbench import catalog
from mmbench.models.build import build
from mmbench.models.feed import Feed
from mmbench.models.model import Model
from mmbench.references import TextReferences
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
    """Return what the model says of the caption's words, [B, L, V]."""
    return model.verdict(
        "caption", model.fuse(items).branches, items.targets["caption"]
    ).combined.log_probs


def as_floats(items: Batch) -> Batch:
    """Return the same pixels as float32, which can hold NaN."""
    inputs = {n: x.float() if x.dtype == torch.uint8 else x for n, x in items.inputs.items()}
    return replace(items, inputs=inputs)
