"""Tastes: items with a picture and a description, recommended to users. Built in, generated.

A user is a vector that shows, with noise, which colour and which brand the user likes. The picture
of an item shows its colour, its description names its brand. Two questions are asked of them:

* ``next_item``: which item of a catalogue the user takes next, where every user has one right item
  (leave-one-out, He et al. 2017, arXiv:1708.05031). The catalogues of the splits have no item in
  common, so that only what an item shows can tell whom it is for. Picture and description each tell
  half; their scores add up, so late fusion is optimal.
* ``click``: whether a user clicks on the item that is shown. User, picture and description on their
  own know nothing of it; it takes the user with both.

The parts: `law` (users, items, clicks, and what follows from what is seen), `oracle` (best answers
and proven bounds). Pictures are those of `mmbench.data.scenesearch.picture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmbench import rng
from mmbench.data import scenesearch
from mmbench.data._cache import Entry, Made, Parts, cached, rendered
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.interactions import noise as normal_noise
from mmbench.data.scenecap import noise
from mmbench.data.scenesearch import picture
from mmbench.data.scenesearch.world import VALUES
from mmbench.data.tastes import law as laws
from mmbench.data.tastes.law import BRANDS, CLASSES, PlantedClicks, PlantedMatches
from mmbench.data.tastes.oracle import bounds, late_bounds, late_references, oracle
from mmbench.data.tastes.params import Params
from mmbench.text import SPECIALS
from mmbench.types import GALLERY, QUERY, Dataset, Modality, Output, Ragged, Signature, Split

__all__ = [
    "VERSION",
    "Params",
    "bounds",
    "build",
    "late_bounds",
    "late_references",
    "oracle",
    "source_digest",
]

#: Raised whenever the data change.
VERSION = 1

#: Descriptions; the shape is in the picture too, and nobody has a taste for it.
TEMPLATES = (
    "the new {shape} by {brand}",
    "{brand} makes this {shape}",
    "one {shape} from the house of {brand}",
)
_EXAMPLE = {"shape": "disc", "brand": "arda"}
LONGEST = max(len(text.format(**_EXAMPLE).split()) for text in TEMPLATES)


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    Modalities: ``user`` [colours + brands] float32, ``image`` [3, 32, 32] uint8, ``text`` [L] token
    ids; of the next item, the last two are of the gallery. Output: ``match``, or the label
    ``click``. Groups: colour, brand and shape of the item. The first n items of a split are the
    same whatever its size.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
    """
    params = checked(request, "tastes", VERSION, Params)
    files = [
        *Path(__file__).parent.glob("*.py"),
        *Path(scenesearch.__file__).parent.glob("*.py"),
        Path(noise.__file__),
        Path(normal_noise.__file__),
    ]
    key = {
        "name": "tastes",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*sorted(files)),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name, params) for name in request.splits}
    return Dataset(signature(params), splits, entry.fingerprint, oracle)


def signature(params: Params) -> Signature:
    """Return what models need to know."""
    next_item = params.question == "next_item"
    role = GALLERY if next_item else QUERY
    return Signature(
        {
            "user": Modality("vector", (params.colours + params.brands,)),
            "image": Modality("image", picture.SHAPE, role=role),
            "text": Modality("text", (LONGEST,), vocabulary(), role),
        },
        {"match": Output("match", 1)}
        if next_item
        else {"click": Output("label", len(CLASSES), CLASSES)},
    )


@cache
def vocabulary() -> tuple[str, ...]:
    """Return the special tokens, then every word that a description may have, sorted."""
    words = {word for text in TEMPLATES for word in text.split() if "{" not in word}
    return (*SPECIALS, *sorted(words | {*BRANDS, *VALUES["shape"]}))


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    arrays: dict[str, Any] = {}
    for name, items in splits.items():
        drawn = laws.draw(seed, name, items, params)
        tokens, lengths = _descriptions(seed, name, drawn)
        made = {
            **vars(drawn),
            "image": _images(seed, name, drawn, params.image_noise),
            "tokens": tokens,
            "lengths": lengths,
        }
        arrays.update({f"{name}.{field}": array for field, array in made.items()})
    return arrays, {}


def _descriptions(seed: int, split: str, drawn: laws.Drawn) -> tuple[Any, Any]:
    """Return the token ids [N, L] of all items, and how many each has."""
    ids = {word: i for i, word in enumerate(vocabulary())}
    count, names = len(drawn.shape), ("tastes", split, "template")
    template = rng.integers(seed, *names, count=count, below=len(TEMPLATES))
    tokens = np.zeros((count, LONGEST), dtype=np.int16)
    lengths = np.zeros(count, dtype=np.int16)
    rows = zip(template.tolist(), drawn.shape.tolist(), drawn.brand.tolist(), strict=True)
    for k, (wording, shape, brand) in enumerate(rows):
        text = TEMPLATES[wording].format(shape=VALUES["shape"][shape], brand=BRANDS[brand])
        words = [ids[word] for word in text.split()]
        tokens[k, : len(words)], lengths[k] = words, len(words)
    return tokens, lengths


def _images(seed: int, split: str, drawn: laws.Drawn, amplitude: int) -> Parts:
    """Render the pictures of all items, on the ground of the day."""
    names, size = ("tastes", split, "picture"), len(drawn.shape)
    draws = noise.small_integers(seed, *names, shape=(size, picture.DRAWS))

    def block_of(block: int, rows: slice) -> Any:
        shape, colour = drawn.shape[rows], drawn.colour[rows]
        sizes = (len(shape), *picture.SHAPE)
        raw = noise.random_bytes(seed, *names, "noise", block, shape=sizes)
        day = np.zeros(len(shape), dtype=np.int64)
        return picture.render(shape, colour, day, draws[rows], raw, amplitude)

    return rendered(noise.blocks(size), picture.SHAPE, np.uint8, block_of)


def _split(entry: Entry, name: str, params: Params) -> Split:
    prefix = f"{name}."
    arrays = {
        key.removeprefix(prefix): array
        for key, array in entry.arrays.items()
        if key.startswith(prefix)
    }
    size, law = len(arrays["shape"]), laws.law(params)
    values = {"colour": VALUES["colour"], "brand": BRANDS, "shape": VALUES["shape"]}
    groups = {one: np.array(names)[arrays[one]] for one, names in values.items()}
    items = {"image": arrays["image"], "text": Ragged(arrays["tokens"], arrays["lengths"])}
    ids = [f"{name}-{i:04d}" for i in range(size)]
    if params.question == "click":
        clicked = np.asarray(arrays["clicked"])
        return Split(
            ids=ids,
            inputs={"user": arrays["users"], **items},
            targets={"click": clicked},
            references={"click": PlantedClicks(clicked, CLASSES, law=law)},
            groups=groups,
        )
    told = [" ".join(words) for words in zip(*groups.values(), strict=True)]
    right = PlantedMatches([(i,) for i in range(size)], size, told, law=law)
    return Split(
        ids=ids,
        inputs={"user": arrays["users"]},
        targets={"match": np.arange(size)[:, None]},
        references={"match": right},
        groups=groups,
        gallery=Split(
            ids=[f"{name}-item-{i:04d}" for i in range(size)],
            inputs=items,
            targets={},
            references={},
            groups=groups,
        ),
    )
