"""easy-VQA: questions about one coloured shape, answered by one of 13 words.

Zhou 2019, "easy-VQA", https://github.com/vzhou842/easy-VQA. A folder holds ``answers.txt``, a line
an answer, and in each of ``train/`` and ``test/`` a file ``questions.json``, a list of
``[question, answer, image]`` with the number of an image, and ``images/NUMBER.png``.

The test split is the published one. ``validation_images`` of the training images are drawn by the
data seed, with all of their questions. An item is a question; the questions of one image are one
independent unit (cluster). The classes are the answers, in the file's order; the vocabulary is that
of the training questions. Images have 64 x 64 pixels and are made smaller where the task says so;
no question is cut.

Three in four questions are answered by yes or no, which a question alone half gives away: "is
there not ...?" is mostly answered by yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from mmbench import rng, text
from mmbench.data import _images, _left_out, _places
from mmbench.data._cache import Entry, Made, Parts, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.errors import DataError, nearest
from mmbench.references import LabelReferences
from mmbench.spec import Positive
from mmbench.text import Vocabulary
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

VERSION = 1

ANSWERS = "answers.txt"
QUESTIONS = "questions.json"
#: Pixels of a side that images have.
NATIVE = 64
#: Characters of a question at most: whatever has more is no question.
LONGEST = 1_000
#: Answer -> what was asked for; any other answer is a colour.
ASKED = {
    **dict.fromkeys(("yes", "no"), "yes or no"),
    **dict.fromkeys(("circle", "rectangle", "triangle"), "shape"),
}


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``easy_vqa``.

    Attributes:
        folder: Name of the dataset's folder, where ``--data`` names the one above it.
        validation_images: How many of the training images are for validation.
        size: Pixels of a side that they are made to have; `NATIVE`: as they are.
        max_length: Words of a question at most; a longer one is an error, none is cut.
        skip_bad: Whether items that cannot be read are left out, counted and recorded.
    """

    folder: str = "easy_vqa"
    validation_images: Positive = 400
    size: Annotated[int, Meta(ge=8, le=NATIVE)] = NATIVE
    max_length: Positive = 9
    skip_bad: bool = False


@dataclass(frozen=True)
class _Asked:
    """A question: its place in the file, and what stands there."""

    part: str
    place: int
    question: str
    answer: int
    image: int

    @property
    def label(self) -> str:
        return f"{self.part}/{QUESTIONS}[{self.place}]"

    @property
    def cluster(self) -> str:
        return f"{self.part}/{self.image}"


def build(request: Request) -> Dataset:
    """Read questions; prepare them once, then open them from the cache.

    Modalities: ``image`` [3, S, S] uint8, ``question`` [L] token ids. Output: ``answer``, a label.
    Group: ``asked``, for what. Clusters: images.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or not what the task expects.
    """
    params = _params(request)
    folder = _find(request, params)
    answers = _answers(folder / ANSWERS)
    splits = _splits(folder, answers, request, params)
    entry = _prepared(folder, splits, answers, request, params)
    words = tuple(entry.values["vocabulary"])
    dataset = Dataset(
        signature=Signature(
            {
                "image": Modality("image", (3, params.size, params.size)),
                "question": Modality("text", (params.max_length,), words),
            },
            {"answer": Output("label", len(answers), answers)},
        ),
        splits={name: _split(name, asked, answers, entry) for name, asked in splits.items()},
        fingerprint=entry.fingerprint,
    )
    bad = {name: _left_out.of(entry, f"{name}_bad") for name in splits}
    return _left_out.without(dataset, bad)


def source_digest(request: Request) -> str:
    """Return the SHA-256 of answers and questions: which question, about which image.

    Raises:
        DataError: They are missing.
    """
    folder = _find(request, _params(request))
    return digest_of(folder / ANSWERS, *(folder / part / QUESTIONS for part in ("train", "test")))


def _params(request: Request) -> Params:
    return checked(request, "easy_vqa", VERSION, Params)


def _find(request: Request, params: Params) -> Path:
    wanted = f"a folder that holds {ANSWERS}, train/ and test/"
    return _places.folder(request, params.folder, ANSWERS, wanted)


# --- what stands in the files --------------------------------------------------------------------


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text: {error.reason}") from None


def _answers(file: Path) -> tuple[str, ...]:
    found = tuple(line.strip() for line in _read(file).splitlines() if line.strip())
    for name in found:
        if found.count(name) > 1:
            raise DataError(f"{file}: the answer {name!r} stands there twice")
    if len(found) < 2:
        raise DataError(f"{file}: holds {len(found)} answers, expected a line for each")
    return found


def _questions(folder: Path, part: str, answers: Sequence[str]) -> list[_Asked]:
    """Read the questions of a part, strictly."""
    file = folder / part / QUESTIONS
    try:
        rows = msgspec.json.decode(_read(file), type=list[Any])
    except ValueError as error:
        raise DataError(f"{file}: is not a JSON list: {error}") from None
    found = []
    seen: dict[tuple[str, int], _Asked] = {}
    for place, row in enumerate(rows):
        one = _question(row, f"{file}: [{place}]", part, place, answers)
        first = seen.setdefault((one.question, one.image), one)
        if first is not one:
            raise DataError(
                f"{file}: [{place}]: the question {one.question!r} about image {one.image} stands "
                f"at [{first.place}] already"
            )
        found.append(one)
    if not found:
        raise DataError(f"{file}: holds no question")
    return found


def _question(row: Any, where: str, part: str, place: int, answers: Sequence[str]) -> _Asked:
    if not isinstance(row, list) or [type(cell) for cell in row] != [str, str, int]:
        raise DataError(f"{where}: expected [question, answer, number of an image]")
    question, answer, image = row
    if answer not in answers:
        near = nearest(answer, answers)
        offer = f"did you mean {near!r}? " if near else ""
        raise DataError(
            f"{where}: the answer {answer!r} is none of {ANSWERS}: {offer}they are "
            f"{', '.join(list(answers)[:20])}"
        )
    if image < 0:
        raise DataError(f"{where}: image {image}: expected a number from 0")
    return _Asked(part, place, question, answers.index(answer), image)


def _splits(
    folder: Path, answers: Sequence[str], request: Request, params: Params
) -> dict[str, list[_Asked]]:
    """Set validation images apart, and hold the sizes against the task's."""
    known = _questions(folder, "train", answers)
    images = sorted({one.image for one in known})
    if params.validation_images >= len(images):
        raise DataError(
            f"{folder}: has questions about {len(images)} training images: "
            f"{params.validation_images} cannot be set apart"
        )
    draws = {k: int(rng.words(request.seed, "easy_vqa", "validation", k, count=1)[0])
             for k in images}  # fmt: skip
    validation = set(sorted(images, key=lambda k: draws[k])[: params.validation_images])
    found = {
        "test": _questions(folder, "test", answers),
        "train": [one for one in known if one.image not in validation],
        "val": [one for one in known if one.image in validation],
    }
    for name, expected in request.splits.items():
        if len(found.get(name, ())) != expected:
            raise DataError(
                f"{folder}: the split {name!r} has {len(found.get(name, ()))} questions, task "
                f"{request.task!r} expects {expected}: use the published files, or a task whose "
                f"splits.{name} says so"
            )
    return found


# --- arrays --------------------------------------------------------------------------------------


def _prepared(
    folder: Path,
    splits: Mapping[str, Sequence[_Asked]],
    answers: Sequence[str],
    request: Request,
    params: Params,
) -> Entry:
    first: dict[str, _Asked] = {}
    for asked in splits.values():
        for one in asked:
            first.setdefault(one.cluster, one)
    paths = [folder / one.part / "images" / f"{one.image}.png" for one in first.values()]
    labels = [one.label for one in first.values()]
    shown = _images.Photographs(paths, labels, params.size, NATIVE)
    images = _images.prepared(request.cache, shown, params.skip_bad)
    pixels, unseen = images.arrays["pixels"], _left_out.of(images)
    key = {
        "name": "easy_vqa",
        "version": VERSION,
        "params": params,
        "seed": request.seed,
        "questions": source_digest(request),
        "images": images.fingerprint,
        "source": digest_of(__file__, _left_out.__file__, text.__file__, rng.__file__),
    }

    def make() -> Made:
        place = {cluster: k for k, cluster in enumerate(first)}
        arrays: dict[str, Array | Parts] = {}
        values: dict[str, Any] = {}
        tokens: dict[str, list[list[str]]] = {}
        for name, asked in splits.items():
            tokens[name] = text.tokenize([one.question for one in asked], "ptb")
            wrong = _wrong(folder, asked, tokens[name], params)
            if params.skip_bad:
                blind = {k: unseen[place[one.cluster]] for k, one in enumerate(asked)
                         if place[one.cluster] in unseen}  # fmt: skip
                values[f"{name}_bad"] = {**wrong, **blind}
            elif wrong:
                raise DataError(wrong[min(wrong)])
            arrays[f"{name}_image"] = _images.taken(pixels, [place[one.cluster] for one in asked])
        left = values.get("train_bad", {})
        training = [own for k, own in enumerate(tokens["train"]) if k not in left]
        vocabulary = Vocabulary.build(training, 1)
        for name, several in tokens.items():
            padded = np.zeros((len(several), params.max_length), dtype=np.int16)
            for row, own in zip(padded, several, strict=True):
                ids = vocabulary.encode(own[: params.max_length])
                row[: len(ids)] = ids
            arrays[f"{name}_question"] = padded
            arrays[f"{name}_lengths"] = (padded != 0).sum(axis=1).astype(np.int64)
        values["vocabulary"] = vocabulary.words
        return arrays, values

    return cached(request.cache, key, make)


def _wrong(
    folder: Path, asked: Sequence[_Asked], tokens: Sequence[Sequence[str]], params: Params
) -> _left_out.Bad:
    """Return which questions cannot be used, and why."""
    found = {}
    for k, (one, own) in enumerate(zip(asked, tokens, strict=True)):
        where = f"{folder / one.part / QUESTIONS}: [{one.place}]"
        if len(one.question) > LONGEST:
            found[k] = f"{where}: the question has {len(one.question):,} characters"
        elif not own:
            found[k] = f"{where}: the question has no word"
        elif len(own) > params.max_length:
            found[k] = (
                f"{where}: the question has {len(own)} words: dataset.params.max_length = "
                f"{params.max_length}, and none is cut"
            )
    return found


def _split(name: str, asked: Sequence[_Asked], answers: tuple[str, ...], entry: Entry) -> Split:
    labels = np.array([one.answer for one in asked], dtype=np.int64)
    return Split(
        ids=[f"{one.cluster}:{one.place}" for one in asked],
        inputs={
            "image": entry.arrays[f"{name}_image"],
            "question": Ragged(entry.arrays[f"{name}_question"], entry.arrays[f"{name}_lengths"]),
        },
        targets={"answer": labels},
        references={"answer": LabelReferences(labels, answers)},
        groups={"asked": np.array([ASKED.get(answers[k], "colour") for k in labels])},
        clusters=np.array([one.cluster for one in asked]),
    )
