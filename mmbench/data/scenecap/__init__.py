"""SceneCap: captions of scenes that have to be both seen and heard. Built in, generated.

A 48 x 48 picture of a few coloured shapes, a stereo spectrogram of beeps, and captions that name
colours, shapes and one vertical relation (image), the sound (audio), the number of objects (both,
but for what an occluder hides) and the *emitter*, the object that makes the sound (image and
audio together: the sound's direction gives its column). Fusion shows in the emitter.

The parts: `world` (scenes), `render` (images), `sound` (spectrograms), `grammar` (captions),
`parser` (captions back to slots), `oracle` (best answers and proven bounds).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mmbench.data._cache import Entry, Made, Parts, cached, rendered
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.scenecap import grammar, noise, render, sound, world
from mmbench.data.scenecap.oracle import bounds, make_oracle
from mmbench.data.scenecap.references import references
from mmbench.types import Dataset, Modality, Output, Signature, Split

__all__ = ["VERSION", "Params", "bounds", "build", "source_digest"]

#: Raised whenever the data change.
VERSION = 1


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        references: Captions an item, 1..20.
        image_noise: Even noise on every pixel of at most so many of 255 levels, 0..60.
        audio_noise: The same on every band of the spectrogram, 0..100. Beyond about 50 the sound's
            direction is no longer certain, and the oracle is no longer within reach.
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
    params = checked(request, "scenecap", VERSION, Params)
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
    train = splits.get("train", next(iter(splits.values())))
    return Dataset(signature(), splits, entry.fingerprint, make_oracle(train))


def signature() -> Signature:
    """Return what models need to know."""
    words = grammar.vocabulary()
    return Signature(
        modalities={
            "image": Modality("image", render.SHAPE),
            "audio": Modality("spectrogram", sound.SHAPE),
        },
        outputs={"caption": Output("text", grammar.longest(), words)},
    )


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    arrays: dict[str, Any] = {}
    for name, items in splits.items():
        scenes = world.draw(seed, name, items, params.occlusion)
        facts = grammar.facts_of(scenes)
        made = {
            "caption": _captions(seed, name, facts, params.references),
            "facts": facts.astype(np.uint8),
            "visible": scenes.visible.astype(np.uint8),
            "occluded": scenes.occluded,
            "image": _render(render, seed, name, scenes, params.image_noise),
            "audio": _render(sound, seed, name, scenes, params.audio_noise),
        }
        arrays.update({f"{name}.{field}": array for field, array in made.items()})
    return arrays, {}


def _captions(seed: int, split: str, facts: world.Ints, references: int) -> NDArray[np.int16]:
    """Return the token ids of the references, [N, R, L]."""
    wordings = grammar.draw_wordings(seed, split, len(facts), references)
    texts = [
        grammar.caption(grammar.Facts(*fact), grammar.Wording(*wording))
        for fact, row in zip(facts.tolist(), wordings.tolist(), strict=True)
        for wording in row
    ]
    width = grammar.longest()
    return grammar.encode(texts, width).reshape(len(facts), references, width)


def _render(
    modality: ModuleType, seed: int, split: str, scenes: world.Scenes, amplitude: int
) -> Parts:
    """Render all scenes with `render` or `sound`."""
    names = ("scenecap", split, modality.__name__.rpartition(".")[2])
    draws = noise.small_integers(seed, *names, shape=(len(scenes), modality.DRAWS))

    def block_of(block: int, rows: slice) -> Any:
        part = scenes.take(rows)
        raw = noise.random_bytes(seed, *names, "noise", block, shape=(len(part), *modality.SHAPE))
        return modality.render(part, draws[rows], raw, amplitude)

    return rendered(noise.blocks(len(scenes)), modality.SHAPE, np.uint8, block_of)


def _split(entry: Entry, name: str) -> Split:
    prefix = f"{name}."
    arrays = {
        key.removeprefix(prefix): array
        for key, array in entry.arrays.items()
        if key.startswith(prefix)
    }
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
