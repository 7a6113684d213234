"""The best answers for every set of modalities, proven bounds, and generators of one virtue each.

The oracle is the renderer itself with other random numbers: what it draws is as real as the data,
whatever it may look at, and shows as much of what is told as the modalities let one know:

* caption and tone: every attribute;
* caption alone: shape, size and place; the colour is the first that is told, which it is half of
  the time, and nothing in a caption says when;
* tone alone, or nothing: an object drawn at random. That is the unconditional generator: its
  pictures are as good as real, and its attributes right by chance.

Beside it stand two generators that fail in ways that one kind of metric alone does not see:
`class_means` and `copies`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mmbench import rng
from mmbench.data.generation import render, world
from mmbench.data.scenecap import noise
from mmbench.data.scenecap.world import COLOURS, Ints
from mmbench.references import ImageReferences
from mmbench.types import Array, Predictions, Ragged, Split

#: Draws of what is not told that a mean is taken over.
_MEAN_OF = 64


def answer(split: Split, modalities: frozenset[str]) -> Predictions:
    """Return a picture for each item, given what may be looked at."""
    return _told(split, pictures(split, known(split, modalities)))


def known(split: Split, modalities: frozenset[str]) -> Ints:
    """Return the facts [N, 7] that the oracle draws: what it can know, and a guess at the rest."""
    truth = _facts(split)
    if "caption" not in modalities:
        return world.draw(_seed(split), world.UNPAIRED, len(split))
    if "tone" not in modalities:
        truth = truth.copy()
        truth[:, -1] = 0
    return truth


def pictures(split: Split, facts: Ints) -> Array:
    """Draw facts once more, with random numbers of the oracle's own; no noise of pixels."""
    names = ("generation", "oracle", split.ids[0])
    draws = noise.small_integers(0, *names, shape=(len(facts), render.IMAGE_DRAWS))
    return render.pictures(facts, draws, _silence(len(facts)), 0)


def class_means(split: Split) -> Predictions:
    """Answer with the mean of all pictures that could be right: attributes hold, nothing else."""
    facts = _facts(split)
    found = np.empty((len(facts), *render.IMAGE), dtype=np.uint8)
    for place in range(len(facts)):
        names = ("generation", "mean", place)
        draws = noise.small_integers(0, *names, shape=(_MEAN_OF, render.IMAGE_DRAWS))
        rows = np.repeat(facts[place : place + 1], _MEAN_OF, axis=0)
        drawn = render.pictures(rows, draws, _silence(_MEAN_OF), 0).astype(np.int64)
        found[place] = (drawn.sum(axis=0) + _MEAN_OF // 2) // _MEAN_OF
    return _told(split, found)


def copies(split: Split, train: Split) -> Predictions:
    """Answer with the training picture whose attributes agree in most: real ones, learned by heart.

    Of those that agree in as many, one at random.
    """
    truth, held = (_attributes(of) for of in (split, train))
    agree = (truth[:, None, :] == held[None, :, :]).sum(axis=2).astype(np.float64)  # [N, M]
    ties = rng.uniform(0, "generation", "copies", count=agree.size).reshape(agree.shape)
    return _told(split, np.asarray(train.targets["image"])[(agree + 0.5 * ties).argmax(axis=1)])


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven upper bounds: metric -> modalities joined by ``+`` -> expected value at most.

    Facts are even and independent of each other and of how a caption is worded, and an item is
    answered from its own caption and tone. So from the caption the colour is one of two with
    probability 1/2 each, whatever it says; from the tone nothing is known, and an attribute of C
    values is right with probability 1/C whatever is shown. Pictures that show no attribute are
    wrong. The bound is one in expectation: on N items a score may exceed it by a few standard
    errors.
    """
    del split
    chance = {name: 1.0 / len(values) for name, values in world.ATTRIBUTES.items()}
    caption = {name: 0.5 if name == "colour" else 1.0 for name in chance}
    every = {"tone": chance, "caption": caption}
    mean = {heard: sum(table.values()) / len(table) for heard, table in every.items()}
    each = {
        f"attribute_accuracy(attribute={name})": {
            heard: table[name] for heard, table in every.items() if table[name] < 1.0
        }
        for name in chance
    }
    return {"attribute_accuracy": mean, **each}


def _told(split: Split, images: Any) -> Predictions:
    return Predictions(split.ids, {"image": images})


def _facts(split: Split) -> Ints:
    """Return the facts [N, 7] of a split's items, the colours as their captions tell them."""
    shape, _, size, place = _attributes(split).T
    tone = np.asarray(split.groups["tone"]) == world.TONES[1]
    captions = split.inputs["caption"]
    assert isinstance(captions, Ragged)
    number = {name: place for place, name in enumerate(COLOURS)}
    words = [number.get(word, -1) for word in world.vocabulary()]
    told = np.array([[words[i] for i in row if words[i] >= 0] for row in captions.values.tolist()])
    columns = [shape, size, place // 2, place % 2, told[:, 0], told[:, 1], tone]
    return np.stack(columns, axis=1).astype(np.int64)


def _attributes(split: Split) -> Ints:
    """Return the attributes [N, 4] in the order of `world.ATTRIBUTES`."""
    references = split.references["image"]
    assert isinstance(references, ImageReferences)
    return np.stack([references.attributes[name] for name in world.ATTRIBUTES], axis=1)


def _seed(split: Split) -> int:
    return rng.stream_seed(0, "generation", "unconditional", split.ids[0]) % 2**31


def _silence(items: int) -> Array:
    return np.zeros((items, *render.IMAGE), dtype=np.uint8)
