"""CIFAR-10: 60,000 photographs of 32 x 32 pixels, each of one of ten kinds of thing.

Krizhevsky 2009, "Learning multiple layers of features from tiny images",
https://www.cs.toronto.edu/~kriz/cifar.html, in the layout of its python version: a folder
``cifar-10-batches-py`` with ``data_batch_1`` to ``data_batch_5``, ``test_batch`` and
``batches.meta``, pickles that are read without running them (`mmbench.data._unpickle`).

The test split is the published one. ``val`` items, as many as the task says, are drawn from the
training batches by the data seed. Each photograph is its own independent unit: no two are told to
be of one thing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmbench import rng
from mmbench.data import _places, _unpickle
from mmbench.data._cache import Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.errors import DataError
from mmbench.references import LabelReferences
from mmbench.types import Dataset, Modality, Output, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

VERSION = 1

FOLDER = "cifar-10-batches-py"
TRAINING = tuple(f"data_batch_{k}" for k in range(1, 6))
TEST, META = "test_batch", "batches.meta"
#: Channels, rows and columns; a row of a batch holds them in this order.
SHAPE = (3, 32, 32)


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``cifar10``.

    Attributes:
        folder: Name of the folder of batches, where ``--data`` names the one above it.
    """

    folder: str = FOLDER


def build(request: Request) -> Dataset:
    """Read the batches once, then open them from the cache.

    Modality: ``image`` [3, 32, 32] uint8. Output: ``label``.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: A file is missing, broken, or holds what could run code.
    """
    params = _params(request)
    folder = _find(request, params)
    key = {
        "name": "cifar10",
        "version": VERSION,
        "seed": request.seed,
        "validation": request.splits.get("val", 0),
        "files": _digest(folder),
        "source": digest_of(__file__, _unpickle.__file__, rng.__file__),
    }
    entry = cached(request.cache, key, lambda: _make(folder, request))
    classes = tuple(entry.values["classes"])
    splits = {}
    for name in ("test", "train", "val"):
        labels = np.asarray(entry.arrays[f"{name}_labels"])
        part = "test" if name == "test" else "train"
        splits[name] = Split(
            ids=[f"{part}/{number:05d}" for number in entry.arrays[f"{name}_numbers"].tolist()],
            inputs={"image": entry.arrays[f"{name}_images"]},
            targets={"label": labels},
            references={"label": LabelReferences(labels, classes)},
        )
    return Dataset(
        signature=Signature(
            {"image": Modality("image", SHAPE)}, {"label": Output("label", len(classes), classes)}
        ),
        splits=splits,
        fingerprint=entry.fingerprint,
    )


def source_digest(request: Request) -> str:
    """Return a SHA-256 over sizes and ends of the batches.

    Raises:
        DataError: One is missing.
    """
    return _digest(_find(request, _params(request)))


def _params(request: Request) -> Params:
    return checked(request, "cifar10", VERSION, Params)


def _find(request: Request, params: Params) -> Path:
    wanted = f"{params.folder}/, or its content: {TRAINING[0]} to 5, {TEST} and {META}"
    return _places.find(request, (META,), (params.folder,), wanted).parent


def _digest(folder: Path) -> str:
    told = [_places.sampled_digest(folder / name) for name in (*TRAINING, TEST, META)]
    return hashlib.sha256(" ".join(told).encode()).hexdigest()


def _make(folder: Path, request: Request) -> Made:
    classes = _classes(folder / META)
    batches = [_batch(folder / name, classes) for name in TRAINING]
    images = np.concatenate([pixels for pixels, _ in batches])
    labels = np.concatenate([numbers for _, numbers in batches])
    wanted = request.splits.get("val", 0)
    if wanted >= len(images):
        raise DataError(
            f"{folder}: has {len(images):,} training images, of which the task "
            f"{request.task!r} wants {wanted:,} for validation"
        )
    order = rng.permutation(request.seed, "cifar10", "validation", count=len(images))
    test_images, test_labels = _batch(folder / TEST, classes)
    arrays: dict[str, Array] = {}
    for name, pixels, digits, index in (
        ("test", test_images, test_labels, np.arange(len(test_images))),
        ("train", images, labels, np.sort(order[wanted:])),
        ("val", images, labels, np.sort(order[:wanted])),
    ):
        arrays[f"{name}_images"] = pixels[index]
        arrays[f"{name}_labels"] = digits[index]
        arrays[f"{name}_numbers"] = index.astype(np.int64)
    return arrays, {"classes": list(classes)}


def _classes(file: Path) -> tuple[str, ...]:
    found = _texts(_unpickle.load(file)).get("label_names")
    names = [_text(name) for name in found] if isinstance(found, list) else []
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise DataError(f"{file}: label_names: expected a list of the names of the classes")
    return tuple(names)


def _batch(file: Path, classes: tuple[str, ...]) -> tuple[Array, Array]:
    """Return the images [N, 3, 32, 32] and labels [N] of a batch, strictly."""
    found = _texts(_unpickle.load(file))
    pixels, labels = found.get("data"), found.get("labels")
    size = int(np.prod(SHAPE))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise DataError(f"{file}: data: expected an array of unsigned bytes, a row an image")
    if pixels.shape[1] != size:
        raise DataError(f"{file}: data: a row has {pixels.shape[1]} bytes, expected {size}")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise DataError(f"{file}: labels: expected a list of {len(pixels)} numbers")
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(classes):
            raise DataError(
                f"{file}: labels[{row}] = {label!r}: expected a whole number from 0 to "
                f"{len(classes) - 1}"
            )
    return pixels.reshape(-1, *SHAPE), np.array(labels, dtype=np.int64)


def _texts(found: Any) -> dict[str, Any]:
    """Return a dict whose keys are texts: a pickle of Python 2 may have them as bytes."""
    return {_text(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
