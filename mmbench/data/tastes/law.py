"""Users, items and clicks: how they are drawn, and what follows exactly from what is seen.

A user likes one colour and one brand, each drawn evenly, and has a vector that shows both: numbers
with normal noise, of which the two liked ones are louder. Next item: the item that the user takes
has the liked colour and brand. Click: the item that is shown has the liked colour with probability
1/2, else any other, likewise its brand, and the user clicks on it with a probability that depends
on whether both are liked, one, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import rng
from mmbench.data.interactions.noise import normals, quantised
from mmbench.data.scenesearch.world import VALUES, Ints
from mmbench.data.tastes.params import Params
from mmbench.errors import UsageError
from mmbench.references import LabelReferences, MatchReferences

if TYPE_CHECKING:
    from mmbench.types import Array, Floats, Split

BRANDS = (
    "arda", "belu", "cori", "dalo", "enzu", "fiva",
    "goma", "hiru", "ilda", "jova", "kemi", "luma",
)  # fmt: skip
#: How often a user clicks: whether the colour is liked, whether the brand is.
CLICKS = np.array([[0.05, 0.2], [0.2, 0.9]])
CLASSES = ("skipped", "clicked")
#: How often the item that is shown has the liked colour, and how often the liked brand.
LIKED = 0.5


@dataclass(frozen=True)
class Law:
    """What the items of a split were drawn from: numbers of colours and brands, and loudness.

    Attributes:
        sizes: How many colours and how many brands there are.
        loudness: The amplitude of a taste over the variance of the noise.
    """

    sizes: tuple[int, int]
    loudness: float

    def tastes(self, split: Split) -> tuple[Floats, Floats]:
        """Return the log-likelihood of each taste, [N, colours] and [N, brands], up to a constant.

        Of a normal vector with mean a in the liked place: ``a x / sigma**2``.
        """
        users: Any = split.inputs["user"]
        evidence = self.loudness * np.asarray(users, dtype=np.float64)
        return evidence[:, : self.sizes[0]], evidence[:, self.sizes[0] :]


@dataclass(frozen=True, kw_only=True)
class PlantedMatches(MatchReferences):
    """The item that each user takes, and the law of it all."""

    law: Law


@dataclass(frozen=True, kw_only=True)
class PlantedClicks(LabelReferences):
    """Whether each user clicks, and the law of it all."""

    law: Law


@dataclass(frozen=True)
class Drawn:
    """N users, each with an item.

    Attributes:
        users: [N, colours + brands] float32.
        colour, brand, shape: [N] of the items.
        clicked: [N] 0 or 1; for the next item 1.
    """

    users: Array
    colour: Ints
    brand: Ints
    shape: Ints
    clicked: Ints


def law(params: Params) -> Law:
    """Return the law that parameters make."""
    return Law((params.colours, params.brands), params.amplitude / params.noise**2)


def law_of(split: Split) -> Law:
    """Return the law of a split.

    Raises:
        UsageError: It is a split of another dataset.
    """
    for references in split.references.values():
        if isinstance(references, PlantedMatches | PlantedClicks):
            return references.law
    raise UsageError("this split is not of the dataset 'tastes', so its law is unknown")


def draw(seed: int, split: str, items: int, params: Params) -> Drawn:
    """Draw the users and items of a split; the first n are the same whatever N is."""

    def integers(name: str, below: int) -> Ints:
        return rng.integers(seed, "tastes", split, name, count=items, below=below)

    sizes = (params.colours, params.brands)
    liked = [
        integers(f"liked {name}", n) for name, n in zip(("colour", "brand"), sizes, strict=True)
    ]
    width = sum(sizes)
    even = width + width % 2  # normal numbers come in pairs
    noise = normals(seed, "tastes", split, "users", shape=(items, even))[:, :width]
    users = params.noise * noise
    for taste, first in zip(liked, (0, sizes[0]), strict=True):
        users[np.arange(items), first + taste] += params.amplitude
    shown, clicked = liked, np.ones(items, dtype=np.int64)
    if params.question == "click":
        shown = []
        for name, taste, size in zip(("colour", "brand"), liked, sizes, strict=True):
            other = (taste + 1 + integers(f"other {name}", size - 1)) % size
            kept = rng.uniform(seed, "tastes", split, f"kept {name}", count=items) < LIKED
            shown.append(np.where(kept, taste, other))
        hits = [(s == t).astype(np.int64) for s, t in zip(shown, liked, strict=True)]
        chance = rng.uniform(seed, "tastes", split, "click", count=items)
        clicked = (chance < CLICKS[hits[0], hits[1]]).astype(np.int64)
    shape = integers("shape", len(VALUES["shape"]))
    return Drawn(quantised(users), shown[0], shown[1], shape, clicked)


def click_chances(split: Split, heard: frozenset[str]) -> Floats:
    """Return [N] the exact probability of a click given what is heard.

    Whether the colour is liked takes the user and the image, whether the brand is takes the user
    and the text; without either it is even.
    """
    known = law_of(split)
    places = {"image": ("colour", VALUES["colour"]), "text": ("brand", BRANDS)}
    likes = []
    each = zip(places.items(), known.tastes(split), strict=True)
    for (modality, (name, values)), logs in each:
        if not {"user", modality} <= heard:
            likes.append(np.full(len(split), LIKED))
            continue
        mine = codes(split.groups[name], values)
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        own = weights[np.arange(len(split)), mine]
        others = (weights.sum(axis=1) - own) * (1 - LIKED) / (logs.shape[1] - 1)
        likes.append(LIKED * own / (LIKED * own + others))
    colour, brand = (np.stack([1 - like, like], axis=1) for like in likes)
    return np.asarray(np.einsum("ni,nj,ij->n", colour, brand, CLICKS))


def codes(names: Array, values: tuple[str, ...]) -> Ints:
    """Return names as numbers, [N]."""
    place = {value: k for k, value in enumerate(values)}
    return np.array([place[str(name)] for name in np.asarray(names).tolist()], dtype=np.int64)
