"""CMU-MOSI as one vector a modality and utterance: sentiment of opinions in video reviews.

2,199 utterances of 93 videos (Zadeh et al., "MOSI: Multimodal Corpus of Sentiment Intensity and
Subjectivity Analysis in Online Opinion Videos", 2016, arXiv:1606.06259), with the utterance
features of Poria et al., "Context-Dependent Sentiment Analysis in User-Generated Videos" (ACL
2017): text [100] of a convolutional network, audio [73] of openSMILE, video [100] of a 3D
convolutional network; positive or negative. A folder holds ``mosi.npz``, in which ``text``,
``audio``, ``video`` [N, d], ``label`` [N] of 0 and 1, ``is_test`` [N], ``video_id`` [N] and
``utt`` [N] stand.

The test split is the published one, by video: no video is in two splits.
Of the other videos ``validation_videos`` are drawn for validation, by the data seed and their
names alone. Utterances of one video share a speaker, so the video is the cluster. Features are
standardised by the training items.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmbench import rng
from mmbench.data import _places, _standard
from mmbench.data._cache import Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.errors import DataError
from mmbench.references import LabelReferences
from mmbench.spec import Positive
from mmbench.types import Dataset, Modality, Output, Signature, Split

if TYPE_CHECKING:
    from pathlib import Path

    from mmbench.types import Array

VERSION = 1

#: Modality -> numbers of one utterance.
MODALITIES = {"text": 100, "audio": 73, "video": 100}
CLASSES = ("negative", "positive")
_ARRAYS = (*MODALITIES, "label", "is_test", "video_id", "utt")


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``mosi_vectors``.

    Attributes:
        validation_videos: How many of the videos that are not for testing are for validation.
        standardise: Whether each number has mean 0 and variance 1 over the training items.
    """

    validation_videos: Positive = 10
    standardise: bool = True


def build(request: Request) -> Dataset:
    """Read the utterances; modalities ``text``, ``audio``, ``video``, output ``label``.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: The file is missing or broken.
    """
    params = _params(request)
    file = _find(request)
    key = {
        "name": "mosi_vectors",
        "version": VERSION,
        "params": params,
        "seed": request.seed,
        "file": digest_of(file),
        "source": digest_of(__file__, _standard.__file__, rng.__file__),
    }
    entry = cached(request.cache, key, lambda: _make(file, request.seed, params))
    splits = {}
    for name in ("test", "train", "val"):
        labels = entry.arrays[f"{name}_label"].astype(np.int64)
        splits[name] = Split(
            ids=entry.values["ids"][name],
            inputs={m: entry.arrays[f"{name}_{m}"] for m in MODALITIES},
            targets={"label": labels},
            references={"label": LabelReferences(labels, CLASSES)},
            clusters=np.array(entry.values["videos"][name]),
        )
    modalities = {name: Modality("vector", (size,)) for name, size in MODALITIES.items()}
    outputs = {"label": Output("label", len(CLASSES), CLASSES)}
    return Dataset(Signature(modalities, outputs), splits, entry.fingerprint)


def source_digest(request: Request) -> str:
    """Return the SHA-256 of the file.

    Raises:
        DataError: It is missing.
    """
    return digest_of(_find(request))


def _params(request: Request) -> Params:
    return checked(request, "mosi_vectors", VERSION, Params)


def _find(request: Request) -> Path:
    return _places.find(request, ("mosi.npz",), ("mosi", "MOSI"), "mosi.npz, or mosi/mosi.npz")


def _make(file: Path, seed: int, params: Params) -> Made:
    arrays = _read(file)
    videos = arrays["video_id"].astype(str)
    validation = _validation(videos[~arrays["is_test"]], seed, params.validation_videos, file)
    chosen = np.isin(videos, validation) & ~arrays["is_test"]
    rows = {
        "train": np.flatnonzero(~arrays["is_test"] & ~chosen),
        "val": np.flatnonzero(chosen),
        "test": np.flatnonzero(arrays["is_test"]),
    }
    made: dict[str, Array] = {}
    for name in MODALITIES:
        parts = {split: arrays[name][index] for split, index in rows.items()}
        if params.standardise:
            parts = _standard.standardise(parts)
        made |= {f"{split}_{name}": part.astype(np.float32) for split, part in parts.items()}
    made |= {f"{split}_label": arrays["label"][index] for split, index in rows.items()}
    ids = [f"{video}_{utt}" for video, utt in zip(videos, arrays["utt"], strict=True)]
    values = {
        "ids": {split: [ids[i] for i in index] for split, index in rows.items()},
        "videos": {split: videos[index].tolist() for split, index in rows.items()},
    }
    return made, values


def _validation(videos: Array, seed: int, count: int, file: Path) -> list[str]:
    """Draw the videos for validation: each has a word of its own, and the smallest are taken."""
    names = sorted(set(videos.tolist()))
    if count >= len(names):
        raise DataError(
            f"{file}: has {len(names)} videos for training: {count} cannot be set apart"
        )
    draws = {name: int(rng.words(seed, "mosi", "validation", name, count=1)[0]) for name in names}
    return sorted(names, key=lambda name: draws[name])[:count]


def _read(file: Path) -> dict[str, Array]:
    try:
        # numpy leaves a broken file open that it has opened itself.
        with file.open("rb") as told, np.load(told, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in _ARRAYS if name in opened}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{file}: is not a whole .npz of plain arrays: {why}") from None
    lacking = [name for name in _ARRAYS if name not in arrays]
    if lacking:
        raise DataError(f"{file}: lacks {', '.join(lacking)}: expected {', '.join(_ARRAYS)}")
    count = len(arrays["label"])
    for name, array in arrays.items():
        wanted = (count, MODALITIES[name]) if name in MODALITIES else (count,)
        if array.shape != wanted:
            raise DataError(f"{file}: {name} is {list(array.shape)}, expected {list(wanted)}")
    for name in MODALITIES:
        if not np.isfinite(arrays[name]).all():
            row = int(np.flatnonzero(~np.isfinite(arrays[name]).all(axis=1))[0])
            raise DataError(f"{file}: {name}: row {row} has a number that is not finite")
    if not np.isin(arrays["label"], (0, 1)).all():
        raise DataError(f"{file}: label: expected 0 (negative) and 1 (positive) only")
    arrays["is_test"] = arrays["is_test"].astype(bool)
    return arrays
