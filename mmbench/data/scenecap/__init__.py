"""SceneCap: captions of scenes that have to be both seen and heard. Built in, generated.

A 48 x 48 picture of a few coloured shapes, a stereo spectrogram of beeps, and captions that name
colours, shapes and one vertical relation (image), the sound (audio), the number of objects (both,
but for what an occluder hides) and the *emitter*, the object that makes the sound (image and
audio together: the sound's direction gives its column). Fusion shows in the emitter.

The parts: `world` (scenes), `render` (images), `sound` (spectrograms), `grammar` (captions),
`parser` (captions back to slots), `oracle` (best answers and proven bounds).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request
from mmbench.data.scenecap import grammar, noise, render, sound, world
from mmbench.data.scenecap.oracle import bounds, make_oracle
from mmbench.data.scenecap.references import references
from mmbench.errors import SpecError
from mmbench.spec import check_params
from mmbench.types import Dataset, Modality, Output, Signature, Split

__all__ = ["VERSION", "Params", "bounds", "build", "source_digest"]

#: Raised whenever the data change.
VERSION = 1


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        references: Captions an item, 1..20.
        image_noise: Even noise on every pixel of at most so many of 255 levels, 0..60.
        audio_noise: The same on every band of the spectrogram, 0..100.
        occlusion: Probability that a grey occluder stands in the scene; it hides a further object
            half of the time.
    """

    references: Annotated[int, msgspec.Meta(ge=1, le=20)] = 5
    image_noise: Annotated[int, msgspec.Meta(ge=0, le=60)] = 8
    audio_noise: Annotated[int, msgspec.Meta(ge=0, le=100)] = 24
    occlusion: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.5


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    The split ``ood`` has held-out pairs of shape and colour in every relation clause; all others
    have none. The first n items of a split are the same whatever its size.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
    """
    where = f"task {request.task!r}: dataset"
    if request.version != VERSION:
        raise SpecError(
            f"{where}.version = {request.version}: this mmbench makes scenecap {VERSION}; "
            f"write version = {VERSION}"
        )
    params = check_params(request.params, Params, f"{where}.params")
    files = sorted(Path(__file__).parent.glob("*.py"))
    key = {
        "name": "scenecap",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*files),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name) for name in request.splits}
    return Dataset(
        signature(),
        splits,
        entry.fingerprint,
        make_oracle(splits.get("train", splits[next(iter(splits))])),
    )


def signature() -> Signature:
    """Return what models need to know."""
    words = grammar.vocabulary()
    return Signature(
        modalities={
            "image": Modality("image", render.IMAGE_SHAPE),
            "audio": Modality("spectrogram", sound.AUDIO_SHAPE),
        },
        outputs={"caption": Output("text", grammar.longest(), words)},
    )


def _make(seed: int, params: Params, splits: Any) -> Made:
    arrays: dict[str, Any] = {}
    for split, items in splits.items():
        scenes = world.draw(seed, split, items, params.occlusion)
        facts = grammar.facts_of(scenes)
        wordings = grammar.draw_wordings(seed, split, items, params.references)
        texts = [
            grammar.caption(grammar.Facts(*fact), grammar.Wording(*wording))
            for fact, row in zip(facts.tolist(), wordings.tolist(), strict=True)
            for wording in row
        ]
        tokens = grammar.encode(texts, grammar.longest())
        arrays[f"{split}.caption"] = tokens.reshape(items, params.references, -1)
        arrays[f"{split}.facts"] = facts.astype(np.uint8)
        arrays[f"{split}.visible"] = scenes.visible.astype(np.uint8)
        arrays[f"{split}.occluded"] = scenes.occluded
        arrays[f"{split}.image"] = _images(seed, split, scenes, params.image_noise)
        arrays[f"{split}.audio"] = _spectrograms(seed, split, scenes, params.audio_noise)
    return arrays, {}


def _images(seed: int, split: str, scenes: world.Scenes, amplitude: int) -> Any:
    items = len(scenes)
    draws = noise.small_integers(seed, "scenecap", split, "image", shape=(items, render.DRAWS))
    images = np.empty((items, *render.IMAGE_SHAPE), dtype=np.uint8)
    for block, rows in enumerate(noise.blocks(items)):
        part = scenes.take(rows)
        shape = (len(part), *render.IMAGE_SHAPE)
        raw = noise.random_bytes(seed, "scenecap", split, "pixels", block, shape=shape)
        images[rows] = render.render(part, draws[rows], raw, amplitude)
    return images


def _spectrograms(seed: int, split: str, scenes: world.Scenes, amplitude: int) -> Any:
    items = len(scenes)
    draws = noise.small_integers(seed, "scenecap", split, "audio", shape=(items, 2))
    spectrograms = np.empty((items, *sound.AUDIO_SHAPE), dtype=np.uint8)
    for block, rows in enumerate(noise.blocks(items)):
        part = scenes.take(rows)
        shape = (len(part), *sound.AUDIO_SHAPE)
        raw = noise.random_bytes(seed, "scenecap", split, "bands", block, shape=shape)
        spectrograms[rows] = sound.render(part, draws[rows], raw, amplitude)
    return spectrograms


def _split(entry: Entry, name: str) -> Split:
    arrays = {field: entry.arrays[f"{name}.{field}"] for field in FIELDS}
    items = len(arrays["visible"])
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(items)],
        inputs={"image": arrays["image"], "audio": arrays["audio"]},
        targets={"caption": arrays["caption"]},
        references={"caption": references(arrays["caption"], arrays["facts"])},
        groups={
            "visible": arrays["visible"],
            "occluded": arrays["occluded"],
            "held_out": np.full(items, name == world.HELD_OUT_SPLIT),
        },
    )


#: The arrays of each split in the cache.
FIELDS = ("image", "audio", "caption", "facts", "visible", "occluded")
