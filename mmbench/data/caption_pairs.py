"""Photographs beside captions, and whether the two belong together: a table of pairs.

A folder holds a folder of images and a tab-separated file whose first line is ``split image label
caption``; the splits are ``train``, ``valid`` and ``test``, the labels `CLASSES`. An item is a row;
rows of one photograph are one independent unit (cluster). The vocabulary is built on the captions
of the training rows. A caption is cut at ``max_length`` words.

The pairs of Flickr8k that are passed on in this shape follow a split of their own. Rows of the
official training photographs may be test rows here, so a model that was trained on one split must
not be tested on the other; and 309 of the 593 test photographs are validation photographs too
(none is a training one), so that a model chosen by validation has seen them with other captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmbench import text
from mmbench.data import _images, _karpathy_json, _left_out, _places
from mmbench.data._cache import Entry, Made, Parts, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.data._karpathy_json import LONGEST, is_bare
from mmbench.errors import DataError
from mmbench.references import LabelReferences
from mmbench.spec import Positive
from mmbench.text import Vocabulary
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

VERSION = 1

COLUMNS = ("split", "image", "label", "caption")
#: What the file calls a split -> what it is called here.
SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
CLASSES = ("no-match", "match")


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``caption_pairs``.

    Attributes:
        folder: Name of the dataset's folder, where ``--data`` names the one above it.
        pairs: The table in that folder.
        images: The folder of images beside it.
        size: Pixels of a side; images become squares, their proportions not kept.
        min_count: How often a word stands in the training captions to enter the vocabulary.
        max_length: Words of a caption at most.
        skip_bad: Whether rows that cannot be used, by their image or their caption, are left out,
            counted and recorded.
    """

    folder: str = "flickr8k"
    pairs: str = "itm_pairs.tsv"
    images: str = "Images"
    size: Positive = 64
    min_count: Positive = 2
    max_length: Positive = 24
    skip_bad: bool = False


@dataclass(frozen=True)
class _Pair:
    """A row: the line it stands on, and what it says."""

    line: int
    image: str
    label: int
    caption: str


def build(request: Request) -> Dataset:
    """Read pairs; prepare them once, then open them from the cache.

    Modalities: ``image`` [3, S, S] uint8, ``caption`` [L] token ids. Output: ``match``, a label.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or not what the task expects.
    """
    params = _params(request)
    file = _find(request, params)
    splits = _splits(file, request)
    entry = _prepared(file, splits, request, params)
    words = tuple(entry.values["vocabulary"])
    dataset = Dataset(
        signature=Signature(
            {
                "image": Modality("image", (3, params.size, params.size)),
                "caption": Modality("text", (params.max_length,), words),
            },
            {"match": Output("label", len(CLASSES), CLASSES)},
        ),
        splits={name: _split(name, pairs, entry) for name, pairs in splits.items()},
        fingerprint=entry.fingerprint,
    )
    bad = {name: _left_out.of(entry, f"{name}_bad") for name in splits}
    return _left_out.without(dataset, bad)


def source_digest(request: Request) -> str:
    """Return the SHA-256 of the table: which captions, beside which images, in which split.

    Raises:
        DataError: It is missing.
    """
    return digest_of(_find(request, _params(request)))


def _params(request: Request) -> Params:
    return checked(request, "caption_pairs", VERSION, Params)


def _find(request: Request, params: Params) -> Path:
    wanted = f"a folder that holds {params.pairs} and {params.images}/"
    return _places.folder(request, params.folder, params.pairs, wanted) / params.pairs


def _splits(file: Path, request: Request) -> dict[str, list[_Pair]]:
    """Read the table and sort its rows into splits of just the sizes the task names."""
    splits: dict[str, list[_Pair]] = {name: [] for name in sorted(request.splits)}
    for split, pair in _rows(file):
        if split in splits:
            splits[split].append(pair)
    for name, expected in request.splits.items():
        if len(splits[name]) != expected:
            raise DataError(
                f"{file}: the split {name!r} has {len(splits[name])} rows, task {request.task!r} "
                f"expects {expected}: use the published file, or a task whose splits.{name} says so"
            )
    return splits


def _rows(file: Path) -> list[tuple[str, _Pair]]:
    try:
        head, *lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text: {error.reason}") from None
    if tuple(head.split("\t")) != COLUMNS:
        raise DataError(
            f"{file}:1: expected the columns {', '.join(COLUMNS)}, with a tab between them"
        )
    return [_row(f"{file}:{k}", k, line) for k, line in enumerate(lines, start=2) if line]


def _row(where: str, number: int, line: str) -> tuple[str, _Pair]:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS):
        raise DataError(f"{where}: has {len(cells)} cells, expected {len(COLUMNS)}")
    split, image, label, caption = cells
    if split not in SPLITS:
        raise DataError(f"{where}: unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    if label not in CLASSES:
        raise DataError(f"{where}: unknown label {label!r}, expected one of {', '.join(CLASSES)}")
    if not is_bare(image):
        raise DataError(f"{where}: image {image!r} is not the bare name of a file")
    return SPLITS[split], _Pair(number, image, CLASSES.index(label), caption)


def _prepared(
    file: Path, splits: Mapping[str, Sequence[_Pair]], request: Request, params: Params
) -> Entry:
    where = _images.find_folder(file.parent, tuple(dict.fromkeys((params.images, "images"))))
    first: dict[str, int] = {}
    for pairs in splits.values():
        for pair in pairs:
            first.setdefault(pair.image, pair.line)
    paths = [where / name for name in first]
    labels = [f"{file.name}:{line}" for line in first.values()]
    shown = _images.Photographs(paths, labels, params.size)
    images = _images.prepared(request.cache, shown, params.skip_bad)
    pixels, unseen = images.arrays["pixels"], _left_out.of(images)
    key = {
        "name": "caption_pairs",
        "version": VERSION,
        "params": params,
        "splits": list(splits),
        "pairs": digest_of(file),
        "images": images.fingerprint,
        "source": digest_of(__file__, _karpathy_json.__file__, text.__file__),
    }

    def make() -> Made:
        values: dict[str, Any] = {}
        tokens, wrong = {}, {}
        for name, pairs in splits.items():
            tokens[name] = text.tokenize([pair.caption for pair in pairs], "ptb")
            wrong[name] = _wrong(file, pairs, tokens[name])
            if wrong[name] and not params.skip_bad:
                raise DataError(wrong[name][min(wrong[name])])
        place = {name: k for k, name in enumerate(first)}
        if params.skip_bad:
            for name, pairs in splits.items():
                blind = {k: unseen[place[pair.image]] for k, pair in enumerate(pairs)
                         if place[pair.image] in unseen}  # fmt: skip
                values[f"{name}_bad"] = wrong[name] | blind
        left = values.get("train_bad", {})
        training = [own for k, own in enumerate(tokens["train"]) if k not in left]
        vocabulary = Vocabulary.build(training, params.min_count)
        arrays: dict[str, Array | Parts] = {}
        for name, pairs in splits.items():
            arrays[f"{name}_image"] = _images.taken(pixels, [place[pair.image] for pair in pairs])
            rows = [vocabulary.encode(own[: params.max_length]) for own in tokens[name]]
            padded = np.zeros((len(rows), params.max_length), dtype=np.int32)
            for row, ids in zip(padded, rows, strict=True):
                row[: len(ids)] = ids
            arrays[f"{name}_caption"] = padded
            arrays[f"{name}_lengths"] = np.array([len(ids) for ids in rows], dtype=np.int64)
        return arrays, {**values, "vocabulary": vocabulary.words}

    return cached(request.cache, key, make)


def _wrong(file: Path, pairs: Sequence[_Pair], tokens: Sequence[Sequence[str]]) -> _left_out.Bad:
    """Return which captions cannot be used, and why."""
    found = {}
    for k, (pair, own) in enumerate(zip(pairs, tokens, strict=True)):
        where = f"{file}:{pair.line}: the caption of {pair.image}"
        if len(pair.caption) > LONGEST:
            found[k] = (
                f"{where} has {len(pair.caption):,} characters, more than any caption "
                f"({LONGEST:,}): is a quote or a line end missing?"
            )
        elif not own:
            found[k] = f"{where} has no word"
    return found


def _split(name: str, pairs: Sequence[_Pair], entry: Entry) -> Split:
    labels = np.array([pair.label for pair in pairs], dtype=np.int64)
    return Split(
        # A photograph stands in several rows, and two rows may even be alike.
        ids=[f"{pair.image}:{pair.line}" for pair in pairs],
        inputs={
            "image": entry.arrays[f"{name}_image"],
            "caption": Ragged(entry.arrays[f"{name}_caption"], entry.arrays[f"{name}_lengths"]),
        },
        targets={"match": labels},
        references={"match": LabelReferences(labels, CLASSES)},
        clusters=np.array([pair.image for pair in pairs]),
    )
