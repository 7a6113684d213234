"""Speech in Griko, said again in Italian: speech translation from 330 utterances.

Boito, Anastasopoulos, Lekakou, Villavicencio and Besacier 2018, "A small Griko-Italian speech
translation corpus" (SLTU), arXiv:1807.10740. Griko is a Greek dialect of southern Italy that hardly
anybody writes. A folder holds ``manifest.jsonl``, one line an utterance: ``id``, ``split`` (train,
dev), ``audio`` (a file), ``griko`` (its transcript), ``italian`` (its translation), ``speaker``
where it is known.

The split ``dev`` is the test; validation items are drawn from ``train`` by the data seed, as many
as the task says. Texts are cut at white space and put in lower case; the vocabularies are those of
what is left to train on. References are as people wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mmbench import rng, text
from mmbench.data import _building, _cache, _left_out, _sound, _speech_jsonl
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.data._sound import MelParams
from mmbench.data._speech_jsonl import Row
from mmbench.errors import DataError
from mmbench.references import TextReferences
from mmbench.spec import Positive
from mmbench.text import Vocabulary
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from pathlib import Path

    from mmbench.types import Array

VERSION = 1

SPLITS = {"train": "train", "dev": "test", "test": "test"}


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``griko``.

    Attributes:
        folder: Name of the dataset's folder, where ``--data`` names the one above it.
        manifest: The JSONL file in that folder.
        transcript: Whether what was said in Griko is a modality, ``griko``, beside ``audio``.
        min_count: How often a word stands in the training texts to enter a vocabulary.
        max_length: Tokens of a training target at most, the end mark included; and of ``griko``.
        mel: What spectrograms are made by.
        skip_bad: Whether utterances that cannot be read are left out, counted and recorded.
    """

    folder: str = "griko_italian"
    manifest: str = "manifest.jsonl"
    transcript: bool = True
    min_count: Positive = 1
    max_length: Positive = 40
    mel: MelParams = MelParams()
    skip_bad: bool = False


@dataclass(frozen=True)
class _Job:
    row: Row
    mel: MelParams


def build(request: Request) -> Dataset:
    """Read utterances; decode them once, then open them from the cache.

    Modalities: ``audio``, a spectrogram [1, T, F], and ``griko`` [L] token ids. Output:
    ``italian``, a text.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or not what the task expects.
    """
    params = _params(request)
    file = _speech_jsonl.find(request, params.folder, params.manifest)
    splits, faults = _speech_jsonl.usable(_splits(file, request, params))
    rows = [row for held in splits.values() for row in held]
    entry = _features(rows, request, params)
    spoken = {name: _tokens(held, "italian") for name, held in splits.items()}
    heard = {name: _tokens(held, "griko") for name, held in splits.items()}
    words = Vocabulary.build(spoken["train"], params.min_count)
    source = Vocabulary.build(heard["train"], params.min_count)
    audio = entry.arrays["audio"]
    modalities = {"audio": Modality("spectrogram", (1, *audio.shape[1:]))}
    if params.transcript:
        modalities["griko"] = Modality("text", (params.max_length,), source.words)
    found, start = {}, 0
    for name, held in splits.items():
        place = slice(start, start + len(held))
        start += len(held)
        lengths = entry.arrays["audio_lengths"][place]
        inputs: dict[str, Array | Ragged] = {"audio": Ragged(audio[place][:, None], lengths)}
        if params.transcript:
            inputs["griko"] = _ids(heard[name], source, params.max_length)
        found[name] = _split(held, inputs, spoken[name], words, params.max_length)
    dataset = Dataset(
        signature=Signature(
            modalities, {"italian": Output("text", params.max_length, words.words)}
        ),
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
    return checked(request, "griko", VERSION, Params)


def _splits(file: Path, request: Request, params: Params) -> dict[str, list[Row]]:
    """Sort lines by split, and draw the validation items."""
    rows = _speech_jsonl.read(file, ("audio",), ("griko", "italian"), params.skip_bad)
    splits = _speech_jsonl.parted(rows, SPLITS, file)
    known = splits["train"]
    wanted = request.splits.get("val", 0)
    if wanted >= len(known) or not splits["test"]:
        raise DataError(
            f"{file}: has {len(known)} lines for training, of which {wanted} are for validation, "
            f"and {len(splits['test'])} for testing: expected some of each"
        )
    order = rng.permutation(request.seed, "griko", "validation", count=len(known))
    drawn = {int(place) for place in order[:wanted]}
    return {
        "train": [row for place, row in enumerate(known) if place not in drawn],
        "val": [row for place, row in enumerate(known) if place in drawn],
        "test": splits["test"],
    }


def _features(rows: Sequence[Row], request: Request, params: Params) -> _cache.Entry:
    key = {
        "name": "griko",
        "version": VERSION,
        "mel": params.mel,
        "files": _speech_jsonl.content_digest(request.cache, rows, ("audio",)),
        "skip_bad": params.skip_bad,
        "libraries": _sound.versions(),
        "source": digest_of(__file__, _sound.__file__, _building.__file__),
    }
    jobs = [_Job(row, params.mel) for row in rows]
    return _building.prepared(request.cache, key, jobs, _item, skip=params.skip_bad)


def _item(job: _Job) -> dict[str, Array]:
    wave = _sound.read(job.row.files["audio"], job.row.label, job.mel.rate)
    return {"audio": _sound.log_mel(wave, job.mel)}


def _tokens(rows: Sequence[Row], column: str) -> list[list[str]]:
    return text.tokenize([row.texts[column] for row in rows], "words")


def _ids(texts: Sequence[Sequence[str]], vocabulary: Vocabulary, most: int) -> Ragged:
    """Return token ids [N, L], zeros behind each text, and how many there are."""
    rows = [vocabulary.encode(tokens)[:most] for tokens in texts]
    values = np.zeros((len(rows), most), dtype=np.int16)
    for value, ids in zip(values, rows, strict=True):
        value[: len(ids)] = ids
    return Ragged(values, np.array([len(ids) for ids in rows], dtype=np.int64))


def _split(
    rows: Sequence[Row],
    inputs: Mapping[str, Array | Ragged],
    spoken: Sequence[Sequence[str]],
    words: Vocabulary,
    most: int,
) -> Split:
    targets = np.zeros((len(rows), 1, most), dtype=np.int16)
    for target, tokens in zip(targets, spoken, strict=True):
        ids = [*words.encode(tokens[: most - 1]), text.EOS]
        target[0, : len(ids)] = ids
    speakers = np.array([row.speaker for row in rows])
    several = len(set(speakers.tolist())) > 1
    return Split(
        ids=[row.id for row in rows],
        inputs=inputs,
        targets={"italian": targets},
        references={"italian": TextReferences([(row.texts["italian"],) for row in rows])},
        groups={"speaker": speakers} if several else {},
        clusters=speakers if several else None,
    )
