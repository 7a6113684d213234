"""What can be known from a part of the modalities, and what cannot: best answers, proven bounds.

The image shows every attribute, every row and whether there is an occluder; the audio holds the
sound, the count and the emitter's column (that both can be decoded is shown in the tests). So the
posterior of what a part of the modalities leaves open follows from `world` alone:

* image alone: the emitter is each of the v visible objects with probability 1/v; the sound is
  each of 8; behind an occluder there is an object with probability 1/2.
* audio alone: the shapes of the upper and the lower object are every ordered pair of distinct
  shapes with probability 1/30, sizes are even, a colour is each of the 5 allowed ones (`ood`: the
  held-out one for one of the two objects, which is either with probability 1/2). A count c comes
  from c or c - 1 visible objects; whatever the share of occluders, "far" is at least as likely as
  "near" for every c.
* nothing: as audio alone; 3 objects are as likely as 4 and likelier than 2 or 5.

In every case a guess raises the expected F1 of its own slot (see `best_f1`), so the oracle never
abstains. (For the F1 over all slots together, leaving out what is hardly known would be better.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench.data.scenecap.consensus import best_wording
from mmbench.data.scenecap.grammar import Facts, Wording, caption
from mmbench.data.scenecap.parser import facts_of_slots
from mmbench.data.scenecap.world import COLOURS, SHAPES, SOUNDS
from mmbench.references import texts_of
from mmbench.types import Predictions, Split

# The shapes that have one word only: the guess that agrees best with unknown references.
_GUESS = (SHAPES.index("triangle"), SHAPES.index("diamond"))
# Fillers of all slots that a caption has: 2 objects, 4 attributes, 1 of each other kind.
_FILLERS = 10
# Items of the training split that decide between wordings.
_SAMPLE = 150


def make_oracle(train: Split) -> Callable[[Split, frozenset[str]], Predictions]:
    """Return the oracle, which words its answers as agrees best with the references of `train`.

    The oracle takes a split (or a part of one) and the modalities that it may look at, any subset
    of image and audio. Its decisions are the most probable ones; its wording is the one with the
    highest mean CIDEr-D on a sample of `train` that a search finds, once for each subset.
    """

    @cache
    def wording(modalities: frozenset[str]) -> Wording:
        sample = train.take(np.arange(min(_SAMPLE, len(train))))
        facts = decide(sample, modalities)
        return best_wording(
            lambda items, way: [caption(fact, way) for fact in facts[:items]],
            texts_of(sample.references["caption"]).texts,
        )

    def oracle(split: Split, modalities: frozenset[str]) -> Predictions:
        way = wording(modalities)
        texts = [caption(facts, way) for facts in decide(split, modalities)]
        return Predictions(split.ids, {"caption": texts})

    return oracle


def decide(split: Split, modalities: frozenset[str]) -> list[Facts]:
    """Return for each item the facts that are most probable given the modalities."""
    slots = texts_of(split.references["caption"]).slots or ()
    rows = zip(slots, split.groups["visible"], split.groups["held_out"], strict=True)
    found = []
    for planted, visible, held_out in rows:
        facts = facts_of_slots(planted)
        if "image" not in modalities:
            facts = _guess_image(facts, bool(held_out))
        if "audio" not in modalities:
            count = int(visible) if "image" in modalities else 3
            facts = facts._replace(sound=0, number=count)
        if not {"image", "audio"} <= modalities:
            facts = facts._replace(
                emitter_colour=facts.upper_colour, emitter_shape=facts.upper_shape
            )
        found.append(facts)
    return found


def _guess_image(facts: Facts, held_out: bool) -> Facts:
    upper, lower = _GUESS
    shift = 0 if held_out else 1  # shape i with colour i is a held-out pair
    return facts._replace(
        distance=1,
        upper_size=1,
        upper_colour=(upper + shift) % len(COLOURS),
        upper_shape=upper,
        lower_size=0,
        lower_colour=(lower + shift) % len(COLOURS),
        lower_shape=lower,
    )


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven upper bounds: metric -> modalities joined by ``+`` -> expected value at most.

    A metric is the F1 of a slot, or of all of them, 2 sum|P & G| / (sum|P| + sum|G|) over the
    items, P being what a caption fills the slot with and G the truth. Each bound is `best_f1` over
    the probabilities, given what the modality shows, of the fillers that a caption can hold:

    * emitter, image: one filler, right with probability 1/v, for the emitter is drawn evenly from
      the v visible objects and nothing in the image depends on it.
    * emitter, audio: one filler. Shape and colour are independent of all that is heard but the
      count: 1/30 for each allowed pair. ``ood``: a held-out pair is right if the emitter is the
      object that has one, 1/v, and its shape is the one said, 1/6; given the count c, the
      expectation of 1/v is largest if every scene has an occluder, and that is what is taken.
    * sound, image: one filler, 1/8. Count, image: one filler, 1, or 1/2 with an occluder.
    * object, audio: two fillers, each right with probability 1/3.
    * attribute, audio: two sizes, each 1/6, and two colours, each 1/15 (``ood``: 1/6).
    * relation, audio: one filler, 1/30 for the shapes; times 1/2 for the distance if the count is
      2 or 3, which leave near and far even.
    * slot, all kinds together: the fillers of all slots, those that are seen or heard being
      certain.

    The bound is one in expectation over scenes with these images (or these sounds): on N items a
    score may exceed it by a few standard errors, order (1/N)**0.5. Where a slot has one filler, it
    also bounds the mean over items of each item's own F1, at most the mean of the probabilities.

    Not bounded here: texts that the grammar's parser does not read, and what late fusion reaches.
    """
    slots = texts_of(split.references["caption"]).slots or ()
    items = len(split)
    visible = np.asarray(split.groups["visible"], dtype=np.float64)
    held_out = np.asarray(split.groups["held_out"], dtype=bool)
    occluded = np.asarray(split.groups["occluded"], dtype=bool)
    count = np.array([facts_of_slots(planted).number for planted in slots])
    # E[1/v | c] if half of the scenes hide an object, the most there can be.
    inverse = np.array([0.0, 0.0, 1 / 2, (1 / 3 + 1 / 2) / 2, (1 / 4 + 1 / 3) / 2, 1 / 4])[count]
    certain = np.ones(items)
    colour = np.where(held_out, 1 / 6, 1 / 15)
    # Kind -> chances of the fillers that a caption can hold, [fillers, N].
    image = {
        "emitter": [1 / visible],
        "sound": [certain / len(SOUNDS)],
        "count": [np.where(occluded, 1 / 2, 1.0)],
    }
    audio = {
        "emitter": [np.where(held_out, inverse / 6, 1 / 30)],
        "object": [certain / 3] * 2,
        "attribute": [certain / 6] * 2 + [colour] * 2,
        "relation": [np.where(count <= 3, 1 / 60, 1 / 30)],
    }
    found: dict[str, dict[str, float]] = {}
    for modality, chances in (("image", image), ("audio", audio)):
        for kind, rows in chances.items():
            level = best_f1(np.array(rows), len(rows) * items)
            found.setdefault(f"{kind}_f1", {})[modality] = level
        known = [certain] * (_FILLERS - sum(map(len, chances.values())))
        every = np.array([*known, *(row for rows in chances.values() for row in rows)])
        found.setdefault("slot_f1", {})[modality] = best_f1(every, _FILLERS * items)
    return found


def best_f1(probabilities: NDArray[np.float64], truths: int) -> float:
    """Return the largest expected F1 that any choice among uncertain fillers has.

    Which fillers are said depends on what is seen alone, so given that, the denominator of F1 is a
    constant and the expected numerator is twice the sum of the probabilities of those said. For
    each number k of fillers, the k most probable ones are best; the maximum over k is the bound.

    Args:
        probabilities: That each filler which could be said is right, given what is seen.
        truths: How many true fillers there are.
    """
    falling = np.sort(probabilities, axis=None)[::-1]
    said = np.arange(1, len(falling) + 1)
    return float(np.max(2 * np.cumsum(falling) / (said + truths)))
