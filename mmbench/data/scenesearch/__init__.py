"""SceneSearch: texts that an image and a sound look for together. Built in, generated.

An image shows a shape in a colour at a time of day; a sound has an animal at the same time of day;
a text tells shape, colour, animal and time. One modality leaves many texts open, both together
almost none, and because attributes are independent, adding up a score of the image and one of the
sound is all that is needed: late fusion is optimal. In the structure ``xor`` image and sound
have times of day that have nothing to do with each other, and the text names a heading instead, the
exclusive or of the two: neither modality knows anything of it, nor does a sum of scores that was
trained for the least cross-entropy.

Every query has one right text, its own; texts that tell the same are not told apart by anybody,
which is what the ceiling is made of.

The parts: `world` (scenes), `picture` (images), `sound` (spectrograms), `wording` (texts), `oracle`
(best answers and proven bounds).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmbench import catalog
from mmbench.data._cache import Entry, Made, Parts, cached, rendered
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.scenecap import noise
from mmbench.data.scenesearch import picture, sound, wording, world
from mmbench.data.scenesearch.oracle import bounds, late_references, oracle
from mmbench.data.scenesearch.params import Params, check
from mmbench.references import MatchReferences
from mmbench.types import GALLERY, Dataset, Modality, Output, Ragged, Signature, Split

__all__ = ["VERSION", "Params", "bounds", "build", "late_references", "oracle", "source_digest"]

#: Raised whenever the data change.
VERSION = 1


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    Modalities: ``image`` [3, 32, 32] and ``audio`` [1, 16, 20] uint8 of the query, ``text`` [L]
    token ids of the gallery. Output: ``match``. Groups: the attributes. The gallery of a split are
    the texts of its items, and the first n items are the same whatever its size.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
    """
    params = checked(request, "scenesearch", VERSION, Params)
    check(params, f"{catalog.task_where(request.task)}: dataset.params")
    files = [*Path(__file__).parent.glob("*.py"), Path(noise.__file__)]
    key = {
        "name": "scenesearch",
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
    words, length = wording.vocabulary(params.structure), wording.longest()
    return Signature(
        {
            "image": Modality("image", picture.SHAPE),
            "audio": Modality("spectrogram", sound.SHAPE),
            "text": Modality("text", (length,), words, GALLERY),
        },
        {"match": Output("match", 1)},
    )


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    arrays: dict[str, Any] = {}
    for name, items in splits.items():
        scenes = world.draw(seed, name, items, params)
        spoken = wording.texts(scenes, wording.draw(seed, name, items), params.structure)
        tokens, lengths = wording.encode(spoken, params.structure)
        made = {
            "image": _images(seed, name, scenes, params.image_noise),
            "audio": _sounds(seed, name, scenes, params.audio_noise),
            "tokens": tokens.astype(np.int16),
            "lengths": lengths.astype(np.int16),
            **{attribute: values.astype(np.uint8) for attribute, values in vars(scenes).items()},
        }
        arrays.update({f"{name}.{field}": array for field, array in made.items()})
    return arrays, {}


def _images(seed: int, split: str, scenes: world.Scenes, amplitude: int) -> Parts:
    """Render the images of all scenes."""
    names, size = ("scenesearch", split, "picture"), len(scenes)
    draws = noise.small_integers(seed, *names, shape=(size, picture.DRAWS))

    def block_of(block: int, rows: slice) -> Any:
        part = scenes.take(rows)
        shape = (len(part), *picture.SHAPE)
        raw = noise.random_bytes(seed, *names, "noise", block, shape=shape)
        return picture.render(part.shape, part.colour, part.ground, draws[rows], raw, amplitude)

    return rendered(noise.blocks(size), picture.SHAPE, np.uint8, block_of)


def _sounds(seed: int, split: str, scenes: world.Scenes, amplitude: int) -> Parts:
    """Render the spectrograms of all scenes."""
    names, size = ("scenesearch", split, "sound"), len(scenes)
    draws = noise.small_integers(seed, *names, shape=(size, sound.DRAWS))

    def block_of(block: int, rows: slice) -> Any:
        part = scenes.take(rows)
        raw = noise.random_bytes(seed, *names, "noise", block, shape=(len(part), *sound.SHAPE))
        return sound.render(part, draws[rows], raw, amplitude)

    return rendered(noise.blocks(size), sound.SHAPE, np.uint8, block_of)


def _split(entry: Entry, name: str, params: Params) -> Split:
    prefix = f"{name}."
    arrays = {
        key.removeprefix(prefix): array
        for key, array in entry.arrays.items()
        if key.startswith(prefix)
    }
    size, told = len(arrays["shape"]), world.TOLD[params.structure]
    numbers = {one: arrays[one] for one in ("shape", "colour", "sound")}
    if params.structure == "independent":
        numbers["time"] = arrays["ground"]
    else:
        numbers |= {one: arrays[one] for one in ("ground", "air")}
        numbers["heading"] = arrays["ground"] ^ arrays["air"]
    groups = {one: np.array(world.VALUES[one])[found] for one, found in numbers.items()}
    text = Ragged(arrays["tokens"], arrays["lengths"])
    names = wording.decode(text, params.structure)
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(size)],
        inputs={"image": arrays["image"], "audio": arrays["audio"]},
        targets={"match": np.arange(size)[:, None]},
        references={"match": MatchReferences([(i,) for i in range(size)], size, names)},
        groups=groups,
        gallery=Split(
            ids=[f"{name}-text-{i:04d}" for i in range(size)],
            inputs={"text": text},
            targets={},
            references={},
            groups={one: groups[one] for one in told},
        ),
    )
