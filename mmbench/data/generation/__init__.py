"""Generation: pictures of what a caption and a tone tell together. Built in, generated.

The output is a picture of 32 x 32 pixels: one object on a light ground. The caption tells its
shape, its size, its place and two colours; the tone, low or high, says which of the two it has. So
three attributes are in the caption alone and the fourth in both together: an additive model of
what each tells cannot know the colour. What is not told (tint and slope of the ground, the exact
colour and place) varies, and is what a generator is to make up: a model that answers with the
mean of all pictures that could be right shows the attributes and is told from a real one at once.

The parts: `world` (facts and captions), `render` (pictures and tones), `matcher` (reads attributes
off a picture), `features` (64 numbers of a picture by which sets are compared), `oracle` (the best
answers, proven bounds, and three generators that are good at one thing only).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from mmbench.data import scenecap
from mmbench.data._cache import Entry, Made, Parts, cached, rendered
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.generation import features, matcher, render, world
from mmbench.data.generation.oracle import answer, bounds
from mmbench.data.scenecap import noise
from mmbench.data.scenecap.world import Ints
from mmbench.references import ImageReading, ImageReferences
from mmbench.types import Array, Dataset, Floats, Modality, Output, Ragged, Signature, Split

__all__ = ["VERSION", "Params", "bounds", "build", "source_digest"]

#: Raised whenever the data change.
VERSION = 1
#: Pictures whose features say what is usual: always these, so that features mean the same in every
#: dataset.
_USUAL = 500


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        image_noise: Even noise on every pixel of at most so many of 255 levels, 0..40.
        audio_noise: The same on every band of the tone, 0..60; the pitch stays certain.
    """

    image_noise: Annotated[int, msgspec.Meta(ge=0, le=40)] = 0
    audio_noise: Annotated[int, msgspec.Meta(ge=0, le=60)] = 24


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    The first n items of a split are the same whatever its size. Items 2k and 2k + 1 of every split
    but ``train`` are a pair, and one cluster: one word of the caption differs (see `world`).

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
    """
    params = checked(request, "generation", VERSION, Params)
    own, shared = Path(__file__).parent, Path(scenecap.__file__).parent
    files = (*sorted(own.glob("*.py")), *sorted(shared.glob("*.py")))
    key = {
        "name": "generation",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*files),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name) for name in request.splits}
    return Dataset(signature(), splits, entry.fingerprint, answer)


def signature() -> Signature:
    """Return what models need to know."""
    words = world.vocabulary()
    return Signature(
        modalities={
            "caption": Modality("text", (world.longest(),), words),
            "tone": Modality("spectrogram", render.TONE),
        },
        outputs={"image": Output("image", render.IMAGE[1], shape=render.IMAGE)},
    )


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    usual = features.raw_features(
        _pictures(0, "usual", world.draw(0, world.UNPAIRED, _USUAL), 0).whole()
    )
    arrays: dict[str, Any] = {}
    arrays["centre"], arrays["spread"] = features.centre_and_spread(usual)
    for split, items in splits.items():
        facts = world.draw(seed, split, items)
        caption, lengths = world.encode(world.captions(seed, split, facts))
        image = _pictures(seed, split, facts, params.image_noise)
        made = {
            "facts": facts.astype(np.uint8),
            "caption": caption,
            "lengths": lengths,
            "tone": _tones(seed, split, facts, params.audio_noise),
            "image": image,
            "features": _features(image),
        }
        arrays.update({f"{split}.{field}": array for field, array in made.items()})
    return arrays, {}


def _features(image: Parts) -> Parts:
    shape = (image.shape[0], features.SIZE)
    return Parts(shape, np.int32, lambda: (features.raw_features(x) for x in image.make()))


def _pictures(seed: int, split: str, facts: Ints, amplitude: int) -> Parts:
    return _rendered(
        render.pictures, render.IMAGE, render.IMAGE_DRAWS, seed, split, facts, amplitude
    )


def _tones(seed: int, split: str, facts: Ints, amplitude: int) -> Parts:
    return _rendered(render.tones, render.TONE, render.TONE_DRAWS, seed, split, facts, amplitude)


def _rendered(
    draw: Any,
    shape: tuple[int, ...],
    count: int,
    seed: int,
    split: str,
    facts: Ints,
    amplitude: int,
) -> Parts:
    """Render all items."""
    names = ("generation", split, draw.__name__)
    draws = noise.small_integers(seed, *names, shape=(len(facts), count))

    def block_of(block: int, rows: slice) -> Any:
        part = facts[rows]
        raw = noise.random_bytes(seed, *names, "noise", block, shape=(len(part), *shape))
        return draw(part, draws[rows], raw, amplitude)

    return rendered(noise.blocks(len(facts)), shape, np.uint8, block_of)


class Reader:
    """Reads pictures: what `ImageReferences.read` is here.

    Args:
        centre: [64] what is taken away from raw features.
        spread: [64] what they are divided by then.
    """

    shape: tuple[int, ...] = render.IMAGE

    def __init__(self, centre: Floats, spread: Floats) -> None:
        self.centre, self.spread = np.asarray(centre), np.asarray(spread)

    def __call__(self, images: Array) -> ImageReading:
        """Read pictures [N, 3, 32, 32] uint8."""
        return ImageReading(self.of_raw(features.raw_features(images)), matcher.read(images))

    def of_raw(self, raw: Array) -> Floats:
        """Scale raw features [N, 64]."""
        return features.scaled(raw, self.centre, self.spread)


def _split(entry: Entry, name: str) -> Split:
    prefix = f"{name}."
    arrays = {
        key.removeprefix(prefix): array
        for key, array in entry.arrays.items()
        if key.startswith(prefix)
    }
    read = Reader(entry.arrays["centre"], entry.arrays["spread"])
    facts = np.asarray(arrays["facts"], dtype=np.int64)
    items = len(facts)
    pairs = None if name == world.UNPAIRED else np.arange(items) // 2
    known = entry.arrays.get(f"{world.UNPAIRED}.features")
    seen = world.attributes_of(facts)
    references = ImageReferences(
        features=read.of_raw(arrays["features"]),
        attributes={attribute: seen[attribute] for attribute in world.ATTRIBUTES},
        names=dict(world.ATTRIBUTES),
        read=read,
        pairs=pairs,
        known=np.zeros((0, features.SIZE)) if known is None else read.of_raw(known),
    )
    named = {key: np.array(world.ATTRIBUTES[key])[values] for key, values in seen.items()}
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(items)],
        inputs={"caption": Ragged(arrays["caption"], arrays["lengths"]), "tone": arrays["tone"]},
        targets={"image": arrays["image"]},
        references={"image": references},
        groups={**named, "tone": np.array(world.TONES)[facts[:, -1]]},
        clusters=pairs,
    )
