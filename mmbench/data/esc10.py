"""Ten kinds of environmental sound in five official folds: ESC-10, as log-mel spectrograms.

Piczak 2015, "ESC: dataset for environmental sound classification" (ACM Multimedia),
doi:10.1145/2733373.2806390. A folder holds ``esc10_logmel.npz`` with ``logmel`` [400, F, T] uint8
(decibels are v / 255 x 100 - 80), ``label`` [400], ``fold`` [400] from 1, ``clip`` [400] (the names
of ESC's files) and ``classes`` [10].

A task is one fold: its clips are the test, those of the next fold (after the last, the first)
validate, the other three train. Clips cut from one recording (the middle part of a clip's name) are
clusters; the official folds never part them.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from mmbench.data import _places
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.errors import DataError
from mmbench.references import LabelReferences
from mmbench.types import Dataset, Modality, Output, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

VERSION = 1
FOLDS = 5
#: Arrays of the file -> their axes.
ARRAYS = {"logmel": 3, "label": 1, "fold": 1, "clip": 1, "classes": 1}


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``esc10``.

    Attributes:
        folder: Name of the dataset's folder, where ``--data`` names the one above it.
        file: The file of spectrograms in that folder.
        fold: Which of the five official folds is the test.
    """

    folder: str = "esc10"
    file: str = "esc10_logmel.npz"
    fold: Annotated[int, Meta(ge=1, le=FOLDS)]


def build(request: Request) -> Dataset:
    """Read the spectrograms.

    Modality: ``audio``, a spectrogram [1, T, F]. Output: ``label``. Clusters: recordings.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: The file is missing or broken.
    """
    params = _params(request)
    file = _find(request, params)
    arrays = _read(file)
    classes = tuple(str(name) for name in arrays["classes"])
    sounds = np.ascontiguousarray(arrays["logmel"].transpose(0, 2, 1))[:, None]  # [N, 1, T, F]
    following = params.fold % FOLDS + 1
    fold = arrays["fold"]
    rows = {
        "train": (fold != params.fold) & (fold != following),
        "val": fold == following,
        "test": fold == params.fold,
    }
    label = arrays["label"].astype(np.int64)
    clips = [str(name) for name in arrays["clip"]]
    splits = {}
    for name, held in rows.items():
        index = np.flatnonzero(held)
        if not len(index):
            raise DataError(f"{file}: fold: no clip is of the split {name!r}")
        splits[name] = Split(
            ids=[clips[i] for i in index],
            inputs={"audio": sounds[index]},
            targets={"label": label[index]},
            references={"label": LabelReferences(label[index], classes)},
            clusters=np.array([_recording(clips[i]) for i in index]),
        )
    return Dataset(
        signature=Signature(
            {"audio": Modality("spectrogram", sounds.shape[1:])},
            {"label": Output("label", len(classes), classes)},
        ),
        splits=splits,
        fingerprint=hashlib.sha256(f"{digest_of(file)} {params.fold}".encode()).hexdigest(),
    )


def source_digest(request: Request) -> str:
    """Return the SHA-256 of the file.

    Raises:
        DataError: It is missing.
    """
    return digest_of(_find(request, _params(request)))


def _recording(clip: str) -> str:
    """Return the recording that a clip, ``FOLD-RECORDING-TAKE.ogg``, was cut from."""
    parts = clip.split("-")
    return parts[1] if len(parts) > 2 else clip


def _params(request: Request) -> Params:
    return checked(request, "esc10", VERSION, Params)


def _find(request: Request, params: Params) -> Path:
    wanted = f"a folder that holds {params.file}"
    return _places.folder(request, params.folder, params.file, wanted) / params.file


def _read(file: Path) -> dict[str, Array]:
    """Read the arrays, strictly: a row that is wrong is named."""
    try:
        # Through a file of our own: numpy leaves one open that is no archive.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            found = {name: archive[name] for name in ARRAYS if name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{file}: cannot be read: {why}: copy it again from its source") from None
    for name, axes in ARRAYS.items():
        if name not in found:
            raise DataError(f"{file}: holds no array {name!r}: expected {', '.join(ARRAYS)}")
        if found[name].ndim != axes:
            raise DataError(f"{file}: {name} has {found[name].ndim} axes, expected {axes}")
    count = len(found["logmel"])
    for name in ("label", "fold", "clip"):
        if len(found[name]) != count:
            raise DataError(f"{file}: {name} has {len(found[name])} rows, and logmel {count}")
    if found["logmel"].dtype != np.uint8:
        raise DataError(f"{file}: logmel is {found['logmel'].dtype}, expected uint8")
    limits = {"label": (0, len(found["classes"]) - 1), "fold": (1, FOLDS)}
    for name, (low, high) in limits.items():
        wrong = np.flatnonzero((found[name] < low) | (found[name] > high))
        if len(wrong):
            raise DataError(
                f"{file}: {name}[{wrong[0]}] = {found[name][wrong[0]]}: expected {low} to {high}"
            )
    names, first = np.unique(found["clip"], return_index=True)
    if len(names) < count:
        row = int(np.setdiff1d(np.arange(count), first)[0])
        raise DataError(f"{file}: clip[{row}] = {str(found['clip'][row])!r} is there twice")
    return found
