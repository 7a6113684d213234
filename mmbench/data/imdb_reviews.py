"""Reviews of films, for or against: the Large Movie Review Dataset in its folder ``aclImdb``.

Maas, Daly, Pham, Huang, Ng and Potts 2011, "Learning word vectors for sentiment analysis" (ACL),
https://ai.stanford.edu/~amaas/data/sentiment/. In each of ``train/`` and ``test/``, ``pos/`` and
``neg/`` hold a file a review, ``NUMBER_STARS.txt``, and line NUMBER (from 0) of ``urls_pos.txt`` or
``urls_neg.txt`` names the film's address. Reviews without a label (``train/unsup``) are not read.

The test split is the published one; its films are not in training. Reviews of one film are one
independent unit (cluster), and validation takes whole films: in an order that the data seed draws,
each film that does not make them more than the task's ``val``, until they are just so many. The
order of the training reviews is drawn too.

Line breaks of HTML become blanks. A review is cut behind ``max_length`` words; the vocabulary is
that of the training reviews as they are read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmbench import rng, text
from mmbench.data import _contents, _left_out, _places
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.errors import DataError
from mmbench.references import LabelReferences
from mmbench.spec import Positive
from mmbench.text import Vocabulary
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

VERSION = 1

CLASSES = ("neg", "pos")
#: Stars that reviews against a film have, and those for one.
STARS = {"neg": range(1, 5), "pos": range(7, 11)}
#: Bytes of a review at most: the longest has some 14,000.
LONGEST = 100_000


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``imdb_reviews``.

    Attributes:
        folder: Name of the dataset's folder, where ``--data`` names the one above it.
        min_count: How often a word stands in the training reviews to enter the vocabulary.
        max_length: Words of a review that are read, from its beginning.
        skip_bad: Whether reviews that cannot be read are left out, counted and recorded.
    """

    folder: str = "aclImdb"
    min_count: Positive = 5
    max_length: Positive = 256
    skip_bad: bool = False


@dataclass(frozen=True)
class _Review:
    part: str
    label: int
    number: int
    stars: int
    film: str
    size: int

    @property
    def name(self) -> str:
        """Return its id, which is its path without the ending."""
        return f"{self.part}/{CLASSES[self.label]}/{self.number}_{self.stars}"


def build(request: Request) -> Dataset:
    """Read reviews; tokenise them once, then open them from the cache.

    Modality: ``review`` [L] token ids. Output: ``label``. Group: ``stars``. Clusters: films.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or not what the task expects.
    """
    params = _params(request)
    folder = _find(request, params)
    splits = _splits(folder, request)
    entry = _prepared(folder, splits, request, params)
    words = tuple(entry.values["vocabulary"])
    dataset = Dataset(
        signature=Signature(
            {"review": Modality("text", (params.max_length,), words)},
            {"label": Output("label", len(CLASSES), CLASSES)},
        ),
        splits={name: _split(name, reviews, entry) for name, reviews in splits.items()},
        fingerprint=entry.fingerprint,
    )
    bad = {name: _left_out.of(entry, f"{name}_bad") for name in splits}
    return _left_out.without(dataset, bad)


def source_digest(request: Request) -> str:
    """Return a SHA-256 over the reviews' names and sizes and the films' addresses.

    Raises:
        DataError: Files are missing.
    """
    folder = _find(request, _params(request))
    return _digest([*_reviews(folder, "train"), *_reviews(folder, "test")])


def _params(request: Request) -> Params:
    return checked(request, "imdb_reviews", VERSION, Params)


def _find(request: Request, params: Params) -> Path:
    wanted = "a folder that holds train/ and test/, each with pos/, neg/ and urls_pos.txt"
    return _places.folder(request, params.folder, "train/pos", wanted)


def _digest(reviews: Sequence[_Review]) -> str:
    total = hashlib.sha256()
    for one in reviews:
        total.update(f"{one.name} {one.film} {one.size}\n".encode())
    return total.hexdigest()


# --- what lies in the folders --------------------------------------------------------------------


def _reviews(folder: Path, part: str) -> list[_Review]:
    """Return the reviews of a part, against the film first, by number."""
    found: list[_Review] = []
    for label, name in enumerate(CLASSES):
        films = _films(folder / part / f"urls_{name}.txt")
        place = folder / part / name
        try:
            with os.scandir(place) as entries:
                held = [(entry.name, entry.stat().st_size) for entry in entries
                        if entry.name.endswith(".txt")]  # fmt: skip
        except OSError as error:
            raise DataError(f"{place}: cannot be read: {error.strerror or error}") from None
        own = [_review(place, file, size, part, label, films) for file, size in held]
        found += sorted(own, key=lambda one: one.number)
        for one, other in pairwise(found):
            if (one.label, one.number) == (other.label, other.number):
                raise DataError(f"{place}: the number {one.number} stands there twice")
    if not found:
        raise DataError(f"{folder / part}: holds no review")
    return found


def _review(
    place: Path, file: str, size: int, part: str, label: int, films: Sequence[str]
) -> _Review:
    parts = re.fullmatch(r"(\d+)_(\d+)\.txt", file)
    if parts is None:
        raise DataError(f"{place / file}: expected a name like NUMBER_STARS.txt, 200_8.txt")
    number, stars = int(parts[1]), int(parts[2])
    allowed = STARS[CLASSES[label]]
    if stars not in allowed:
        raise DataError(
            f"{place / file}: has {stars} stars, expected {allowed[0]} to {allowed[-1]} of a "
            f"review in {CLASSES[label]}/"
        )
    if number >= len(films):
        raise DataError(
            f"{place / file}: urls_{CLASSES[label]}.txt has {len(films)} lines, and the review is "
            f"number {number}, from 0"
        )
    return _Review(part, label, number, stars, films[number], size)


def _films(file: Path) -> list[str]:
    """Return the film of each line of a file of addresses."""
    found = []
    for number, line in enumerate(_read(file).splitlines(), 1):
        film = re.search(r"/title/(tt\d+)", line)
        if film is None:
            raise DataError(f"{file}: line {number}: {line[:60]!r} is no address of a film")
        found.append(film[1])
    return found


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text: byte {error.start}") from None


def _splits(folder: Path, request: Request) -> dict[str, list[_Review]]:
    """Set whole films apart for validation, and hold the sizes against the task's."""
    known = _reviews(folder, "train")
    chosen = _validation(known, request, folder)
    # Budgets take the first so many, which must not be those of one kind.
    order = rng.permutation(request.seed, "imdb", "order", count=len(known))
    known = [known[int(place)] for place in order]
    found = {
        "test": _reviews(folder, "test"),
        "train": [one for one in known if one.film not in chosen],
        "val": [one for one in known if one.film in chosen],
    }
    for name, expected in request.splits.items():
        if len(found.get(name, ())) != expected:
            raise DataError(
                f"{folder}: the split {name!r} has {len(found.get(name, ()))} reviews, task "
                f"{request.task!r} expects {expected}: use the published files, or a task whose "
                f"splits.{name} says so"
            )
    return found


def _validation(known: Sequence[_Review], request: Request, folder: Path) -> set[str]:
    wanted = request.splits.get("val", 0)
    counts: dict[str, int] = {}
    for one in known:
        counts[one.film] = counts.get(one.film, 0) + 1
    draws = {film: int(rng.words(request.seed, "imdb", "validation", film, count=1)[0])
             for film in counts}  # fmt: skip
    chosen: set[str] = set()
    there = 0
    for film in sorted(counts, key=lambda film: (draws[film], film)):
        if there + counts[film] <= wanted:
            chosen.add(film)
            there += counts[film]
    if there != wanted or len(chosen) == len(counts):
        raise DataError(
            f"{folder}: no choice of films was found whose reviews are just {wanted} for "
            f"validation, others being left to train on: splits.val = {there} would do"
        )
    return chosen


# --- arrays --------------------------------------------------------------------------------------


def _prepared(
    folder: Path, splits: Mapping[str, Sequence[_Review]], request: Request, params: Params
) -> Entry:
    key = {
        "name": "imdb_reviews",
        "version": VERSION,
        "params": params,
        "splits": {name: _digest(reviews) for name, reviews in splits.items()},
        "contents": _contents_of(folder, splits, request, params),
        "source": digest_of(__file__, _left_out.__file__, text.__file__),
    }

    def make() -> Made:
        arrays: dict[str, Array] = {}
        values: dict[str, Any] = {}
        tokens: dict[str, list[list[str]]] = {}
        for name, reviews in splits.items():
            bad: _left_out.Bad | None = {} if params.skip_bad else None
            tokens[name] = _tokens(folder, reviews, params, bad)
            if bad is not None:
                values[f"{name}_bad"] = bad
        vocabulary = Vocabulary.build(tokens["train"], params.min_count)
        for name, several in tokens.items():
            padded = np.zeros((len(several), params.max_length), dtype=np.int32)
            for row, own in zip(padded, several, strict=True):
                row[: len(own)] = vocabulary.encode(own)
            arrays[f"{name}_review"] = padded
            arrays[f"{name}_lengths"] = np.array([len(own) for own in several], dtype=np.int64)
        values["vocabulary"] = vocabulary.words
        return arrays, values

    return cached(request.cache, key, make)


def _contents_of(
    folder: Path, splits: Mapping[str, Sequence[_Review]], request: Request, params: Params
) -> str:
    names = [one.name for reviews in splits.values() for one in reviews]
    paths = [folder / f"{name}.txt" for name in names]
    # A file that cannot be read is told of where it is read.
    bad: _left_out.Bad | None = {} if params.skip_bad else None
    found = _contents.digests(request.cache, paths, names, bad)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def _tokens(
    folder: Path, reviews: Sequence[_Review], params: Params, bad: _left_out.Bad | None
) -> list[list[str]]:
    """Return the words of each review that are read; none of one that is wrong."""

    def blame(place: int, line: str) -> None:
        if bad is None:
            raise DataError(line)
        bad.setdefault(place, line)

    texts = []
    for place, one in enumerate(reviews):
        try:
            texts.append(_content(folder, one))
        except DataError as error:
            blame(place, str(error))
            texts.append("")
    found = text.tokenize(texts, "ptb")
    for place, own in enumerate(found):
        if not own:
            blame(place, f"{folder / reviews[place].name}.txt: holds no word")
    return [own[: params.max_length] for own in found]


def _content(folder: Path, one: _Review) -> str:
    file = folder / f"{one.name}.txt"
    if not file.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{file}: is a symbolic link out of the folder {folder}")
    if one.size > LONGEST:
        raise DataError(f"{file}: has {one.size:,} bytes, more than any review ({LONGEST:,})")
    return _read(file).replace("<br />", " ")


def _split(name: str, reviews: Sequence[_Review], entry: Entry) -> Split:
    labels = np.array([one.label for one in reviews], dtype=np.int64)
    return Split(
        ids=[one.name for one in reviews],
        inputs={"review": Ragged(entry.arrays[f"{name}_review"], entry.arrays[f"{name}_lengths"])},
        targets={"label": labels},
        references={"label": LabelReferences(labels, CLASSES)},
        groups={"stars": np.array([str(one.stars) for one in reviews])},
        clusters=np.array([one.film for one in reviews]),
    )
