"""Audio-visual sentences in the manner of the GRID corpus: mouth video, speech, what was said.

Cooke, Barker, Cunningham and Shao 2006, "An audio-visual corpus for speech perception and automatic
speech recognition" (JASA 120), doi:10.1121/1.2229005. A folder holds ``manifest.jsonl``, one line
an utterance: ``id``, ``split`` (train, valid, test), ``video`` and ``audio`` (files), ``text``, and
``speaker`` where there are several, who are the clusters then.

The symbols of a transcript are the words of the training split (``units = "words"``), or its
characters, the blank space among them. Symbols outside are left out of targets and never of
references.

**Noise** (``snr_db``) is added to every utterance of every split before its spectrogram is made, at
that ratio of mean powers: ``white``, or ``babble``, the sum of so many other training utterances
as loud as each other, begun at random places. It is drawn by the data seed and the utterance's id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from mmbench import rng
from mmbench.data import _building, _cache, _left_out, _sound, _speech_jsonl, _video
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.data._sound import MelParams
from mmbench.data._speech_jsonl import Row
from mmbench.errors import DataError
from mmbench.references import TextReferences
from mmbench.spec import Positive
from mmbench.text import steps_needed
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from pathlib import Path

    from mmbench.types import Array, Floats

VERSION = 1

#: The file's names of splits -> ours.
SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
#: The symbol 0 of every transcript.
BLANK = "<blank>"


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``grid``.

    Attributes:
        folder: Name of the dataset's folder, where ``--data`` names the one above it.
        manifest: The JSONL file in that folder.
        units: What a symbol of a transcript is.
        snr_db: Signal-to-noise ratio in decibels; none: as recorded.
        noise: What is added.
        talkers: Utterances that a babble is made of.
        mel: What spectrograms are made by.
        skip_bad: Whether utterances that cannot be read are left out, counted and recorded; with a
            babble, those too whose babble cannot.
    """

    folder: str = "grid_s1"
    manifest: str = "manifest.jsonl"
    units: Literal["words", "characters"] = "words"
    snr_db: Annotated[float, Meta(ge=-60.0, le=60.0)] | None = None
    noise: Literal["white", "babble"] = "white"
    talkers: Positive = 6
    mel: MelParams = MelParams()
    skip_bad: bool = False


@dataclass(frozen=True)
class _Job:
    """An utterance as a process gets it."""

    row: Row
    params: Params
    seed: int
    babble: tuple[Row, ...]


def build(request: Request) -> Dataset:
    """Read utterances; decode them once, then open them from the cache.

    Modalities: ``video`` [T, H, W] and ``audio``, a spectrogram [1, T, F]. Output: ``words``, a
    transcript. Group and clusters: ``speaker``, where there are several.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or not what the task expects.
    """
    params = _params(request)
    file = _speech_jsonl.find(request, params.folder, params.manifest)
    splits, faults = _speech_jsonl.usable(_splits(file, params))
    entry = _features(splits, request, params)
    symbols = _symbols([row.texts["text"] for row in splits["train"]], params.units)
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    said = {
        name: [_encoded(row.texts["text"], numbers, params.units) for row in rows]
        for name, rows in splits.items()
    }
    longest = max(steps_needed(ids) for ids in said["train"])
    video, audio = entry.arrays["video"], entry.arrays["audio"]
    modalities = {
        "video": Modality("video", tuple(video.shape[1:])),
        "audio": Modality("spectrogram", (1, *audio.shape[1:])),
    }
    found, start = {}, 0
    for name, rows in splits.items():
        found[name] = _split(rows, entry, slice(start, start + len(rows)), said[name])
        start += len(rows)
    dataset = Dataset(
        signature=Signature(modalities, {"words": Output("transcript", longest, symbols)}),
        splits=found,
        fingerprint=entry.fingerprint,
        left_out=faults,
    )
    return _left_out.without(dataset, _left_out.of_splits(entry, splits))


def source_digest(request: Request) -> str:
    """Return the SHA-256 of the JSONL file: which utterances, in which split.

    Raises:
        DataError: It is missing.
    """
    params = _params(request)
    return digest_of(_speech_jsonl.find(request, params.folder, params.manifest))


def _params(request: Request) -> Params:
    return checked(request, "grid", VERSION, Params)


def _splits(file: Path, params: Params) -> dict[str, list[Row]]:
    rows = _speech_jsonl.read(file, ("video", "audio"), ("text",), params.skip_bad)
    splits = _speech_jsonl.parted(rows, SPLITS, file)
    for name, held in splits.items():
        if not held:
            raise DataError(f"{file}: no line is of the split {name!r}")
    return splits


def _features(
    splits: Mapping[str, Sequence[Row]], request: Request, params: Params
) -> _cache.Entry:
    """Decode everything; one entry holds all splits, one behind the other."""
    rows = [row for held in splits.values() for row in held]
    noisy = params.snr_db is not None
    key = {
        "name": "grid",
        "version": VERSION,
        "mel": params.mel,
        "noise": [params.snr_db, params.noise, params.talkers, request.seed] if noisy else None,
        "files": _speech_jsonl.content_digest(request.cache, rows, ("video", "audio")),
        "skip_bad": params.skip_bad,
        "libraries": {**_sound.versions(), **_video.versions()},
        "source": digest_of(
            __file__, _sound.__file__, _video.__file__, _building.__file__, rng.__file__
        ),
    }
    babbling = noisy and params.noise == "babble"
    jobs = [
        _Job(row, params, request.seed, _others(row, splits["train"], request, params))
        if babbling
        else _Job(row, params, request.seed, ())
        for row in rows
    ]
    return _building.prepared(request.cache, key, jobs, _item, skip=params.skip_bad)


def _others(row: Row, training: Sequence[Row], request: Request, params: Params) -> tuple[Row, ...]:
    """Draw the utterances of a babble, none of them the utterance itself."""
    order = rng.permutation(request.seed, "babble", row.id, count=len(training))
    drawn = (training[int(place)] for place in order)
    others = [other for other in drawn if other.id != row.id][: params.talkers]
    if len(others) < params.talkers:
        raise DataError(
            f"task {request.task!r}: dataset.params.talkers = {params.talkers}, but there are "
            f"{len(others)} other training utterances"
        )
    return tuple(others)


def _item(job: _Job) -> dict[str, Array]:
    """Make what is kept of an utterance."""
    row, params = job.row, job.params
    wave = _sound.read(row.files["audio"], row.label, params.mel.rate)
    if params.snr_db is not None:
        wave = _sound.mix(wave, _noise(job, len(wave)), params.snr_db)
    return {
        "audio": _sound.log_mel(wave, params.mel),
        "video": _video.read(row.files["video"], row.label),
    }


def _noise(job: _Job, count: int) -> Floats:
    if not job.babble:
        return _sound.white(job.seed, "white noise", job.row.id, count=count)
    total = np.zeros(count)
    starts = rng.uniform(job.seed, "babble starts", job.row.id, count=len(job.babble))
    for other, start in zip(job.babble, starts, strict=True):
        wave = _sound.read(other.files["audio"], other.label, job.params.mel.rate)
        wave = np.resize(np.roll(wave, -int(start * len(wave))), count)
        total += wave / max(float(np.sqrt(np.mean(wave**2))), 1e-12)
    return total


def _symbols(texts: Sequence[str], units: str) -> tuple[str, ...]:
    """Return the blank, then the symbols of the training texts, sorted."""
    return (BLANK, *sorted({symbol for text in texts for symbol in _cut(text, units)}))


def _cut(text: str, units: str) -> list[str]:
    words = text.split()
    return words if units == "words" else list(" ".join(words))


def _encoded(text: str, numbers: Mapping[str, int], units: str) -> list[int]:
    return [numbers[symbol] for symbol in _cut(text, units) if symbol in numbers]


def _split(
    rows: Sequence[Row], entry: _cache.Entry, place: slice, said: Sequence[Sequence[int]]
) -> Split:
    targets = np.zeros((len(rows), max(map(len, said))), dtype=np.int16)
    for target, ids in zip(targets, said, strict=True):
        target[: len(ids)] = ids
    arrays: Mapping[str, Any] = entry.arrays
    speakers = np.array([row.speaker for row in rows])
    several = len(set(speakers.tolist())) > 1
    return Split(
        ids=[row.id for row in rows],
        inputs={
            "video": Ragged(arrays["video"][place], arrays["video_lengths"][place]),
            "audio": Ragged(arrays["audio"][place][:, None], arrays["audio_lengths"][place]),
        },
        targets={"words": targets},
        references={"words": TextReferences([(row.texts["text"],) for row in rows])},
        groups={"speaker": speakers} if several else {},
        clusters=speakers if several else None,
    )
