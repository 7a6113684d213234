"""Photographs with captions in Karpathy's layout: one JSON file of captions and splits.

The layout of Karpathy & Fei-Fei, "Deep visual-semantic alignments for generating image
descriptions" (CVPR 2015), in which Flickr8k, Flickr30k and others are passed on: a folder holds
``dataset_flickr8k.json`` and a folder of images; the JSON's ``images[]`` have a ``filename``, a
``split`` and ``sentences[].raw``. We read the raw sentences and tokenise them ourselves (``ptb``);
the file's own ``tokens``, where it has them, are not looked at.

Items keep the file's order. The vocabulary is built on all captions of the training split. A
caption without a single word (blank, or nothing but punctuation) is an error, as is one of more
than 5,000 characters; where bad items are left out, the whole item is. Training targets are words,
then ``<eos>``; a caption of more than ``max_length - 1`` words is cut there before its ``<eos>``.
References are never cut.

**Tags** (``tags = true``) make a second modality out of what people said. For each image one
caption is drawn; its distinct words, sorted alphabetically, are its tags, each kept with
probability ``tag_keep``. That caption is then neither a reference nor a target, so copying the
tags' sentence is not rewarded. Words outside the vocabulary are no tags. Where more than
``max_tags`` are kept, those with the lowest draws stay. Where none is kept, the item's tags have
length 0 and are not present. The draws are streams of the data seed and the image's file name:
they depend on no order, on no other image, and are nested (a lower ``tag_keep`` keeps a subset).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from mmbench import rng, text
from mmbench.data import _coco_json, _images, _karpathy_json, _left_out, _places
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.data._karpathy_json import LONGEST, Photo, read
from mmbench.errors import DataError
from mmbench.references import TextReferences
from mmbench.spec import Count, Fraction, Positive
from mmbench.text import Vocabulary
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

VERSION = 1

#: Where images lie in copies of Flickr8k, tried in this order after ``params.images``.
FOLDERS = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset")


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``karpathy``.

    Attributes:
        folder: Name of the dataset's folder, where ``--data`` names the one above it.
        annotations: The JSON file in that folder; in COCO's own layout that of training images.
        layout: ``karpathy``, or ``coco``: a captions file as COCO passes them on for the training
            images and one for the test images; validation images are held out of the first.
        test: In COCO's own layout, the file of the test images.
        held_out: In COCO's own layout, how many images are for validation: those whose names have
            the lowest SHA-256, whatever their order in the file.
        images: The folder of images in that folder; where it is absent, `FOLDERS` are tried. Images
            that are told to lie in a folder of their own (``val2014``) lie in it, inside this one.
        size: Pixels of a side; images become squares, their proportions not kept.
        min_count: How often a word stands in the training captions to enter the vocabulary.
        max_length: Tokens of a training target at most, the end mark included.
        restval: Whether training takes the images marked ``restval`` too.
        tags: Whether the modality ``tags`` exists.
        tag_keep: Probability with which a tag is kept.
        max_tags: Tags of an item at most.
        skip_bad: Whether items that cannot be used, by their image or a caption, are left out,
            counted and recorded; captions of images that cannot be read stay in the vocabulary.
    """

    folder: str = "flickr8k"
    annotations: str = "dataset_flickr8k.json"
    layout: Literal["karpathy", "coco"] = "karpathy"
    test: str = ""
    held_out: Count = 0
    images: str = "Images"
    size: Positive = 64
    min_count: Positive = 5
    max_length: Positive = 20
    restval: bool = False
    tags: bool = False
    tag_keep: Fraction = 0.5
    max_tags: Positive = 20
    skip_bad: bool = False


def build(request: Request) -> Dataset:
    """Read photographs and captions; prepare them once, then open them from the cache.

    Modalities: ``image`` [3, S, S] uint8 and, with tags, ``tags`` [T] token ids. Output:
    ``caption``. Groups: ``length`` (how much people wrote: mean words of the references) and,
    with tags, ``tag_count``.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or not what the task expects.
    """
    splits, images, captions = prepared(request, params := _params(request))
    words = tuple(captions.values["vocabulary"])
    modalities = {"image": Modality("image", (3, params.size, params.size))}
    if params.tags:
        modalities["tags"] = Modality("text", (params.max_tags,), words)
    fingerprint = hashlib.sha256(f"{images.fingerprint}{captions.fingerprint}".encode())
    dataset = Dataset(
        signature=Signature(modalities, {"caption": Output("text", params.max_length, words)}),
        splits={name: _split(name, images, captions, params) for name in splits},
        fingerprint=fingerprint.hexdigest(),
    )
    return _left_out.without(dataset, bad_items(images, captions))


def pixels_of(name: str, images: Entry, captions: Entry) -> Array:
    """Return the images of a split, [N, 3, S, S]; nothing is copied."""
    start = 0
    for split, ids in captions.values["ids"].items():
        if split == name:
            own: Array = images.arrays["pixels"][start : start + len(ids)]
            return own
        start += len(ids)
    raise KeyError(name)


def bad_items(images: Entry, captions: Entry) -> dict[str, _left_out.Bad]:
    """Return which items of each split cannot be used, by their image or a caption, and why."""
    unseen = _left_out.of_splits(images, captions.values["ids"])
    return {name: _left_out.of(captions, f"{name}_bad") | own for name, own in unseen.items()}


def prepared(request: Request, params: Params) -> tuple[list[str], Entry, Entry]:
    """Return the names of the splits, the cached images and the cached captions.

    Raises:
        DataError: Files are missing, broken, or not what the task expects.
    """
    folder, files = _find(request, params)
    splits = _splits(files, request, params)
    images = _pixels(folder, splits, request, params)
    return list(splits), images, _captions(files, splits, request, params)


def source_digest(request: Request) -> str:
    """Return the SHA-256 of the annotations file: which captions, on which images, in which split.

    Raises:
        DataError: It is missing.
    """
    return digest_of_annotations(request, _params(request))


def digest_of_annotations(request: Request, params: Params) -> str:
    """Return the SHA-256 of the annotations that are found.

    Raises:
        DataError: They are missing.
    """
    return digest_of(*_find(request, params)[1])


def _params(request: Request) -> Params:
    return checked(request, "karpathy", VERSION, Params)


def _find(request: Request, params: Params) -> tuple[Path, list[Path]]:
    """Return the dataset's folder, the one named or in it `params.folder`, and its annotations."""
    wanted = f"a folder that holds {params.annotations} and {params.images}/"
    folder = _places.folder(request, params.folder, params.annotations, wanted)
    others = [folder / params.test] if params.layout == "coco" else []
    return folder, [folder / params.annotations, *others]


def _read(files: Sequence[Path], params: Params) -> list[Photo]:
    if params.layout == "karpathy":
        return read(files[0])
    training = _coco_json.read(files[0], "train")
    order = sorted(training, key=lambda p: hashlib.sha256(p.filename.encode()).digest())
    held = {photo.index for photo in order[: params.held_out]}
    training = [replace(p, split="val") if p.index in held else p for p in training]
    return [*training, *_coco_json.read(files[1], "test")]


def _splits(files: Sequence[Path], request: Request, params: Params) -> dict[str, list[Photo]]:
    """Read the annotations and sort the images into splits of just the sizes the task names."""
    # In one order: a record tells the splits in another than the TOML, and means the same data.
    splits: dict[str, list[Photo]] = {name: [] for name in sorted(request.splits)}
    for photo in _read(files, params):
        name = "train" if photo.split == "restval" and params.restval else photo.split
        if name in splits:
            splits[name].append(photo)
    for name, expected in request.splits.items():
        if len(splits[name]) != expected:
            raise DataError(
                f"{files[0]}: the split {name!r} has {len(splits[name])} images, task "
                f"{request.task!r} expects {expected}: use the published file, or a task whose "
                f"splits.{name} says so"
            )
    return splits


def _pixels(
    folder: Path, splits: Mapping[str, Sequence[Photo]], request: Request, params: Params
) -> Entry:
    """Decode the images of all splits, one behind the other."""
    where = _images.find_folder(folder, tuple(dict.fromkeys((params.images, *FOLDERS))))
    photos = [photo for own in splits.values() for photo in own]
    paths = [where / photo.path for photo in photos]
    labels = [f"images[{photo.index}]" for photo in photos]
    shown = _images.Photographs(paths, labels, params.size)
    return _images.prepared(request.cache, shown, params.skip_bad)


def _captions(
    files: Sequence[Path], splits: Mapping[str, Sequence[Photo]], request: Request, params: Params
) -> Entry:
    """Tokenise, count, draw the tags: everything that is made of words."""
    key = {
        "name": "karpathy_captions",
        "version": VERSION,
        "params": params,
        "seed": request.seed,
        "splits": list(splits),
        "annotations": digest_of(*files),
        "source": digest_of(
            __file__, _karpathy_json.__file__, _coco_json.__file__, text.__file__, rng.__file__
        ),
    }

    def make() -> Made:
        bad: dict[str, _left_out.Bad] | None
        bad = {name: {} for name in splits} if params.skip_bad else None
        spoken = {
            name: _spoken(files[-1] if name == "test" else files[0], photos, params,
                          None if bad is None else bad[name])
            for name, photos in splits.items()
        }  # fmt: skip
        training = [tokens for item in spoken["train"] for _, tokens in item.captions]
        vocabulary = Vocabulary.build(training, params.min_count)
        arrays: dict[str, Array] = {}
        values: dict[str, Any] = {"vocabulary": vocabulary.words, "ids": {}, "texts": {}}
        for name, items in spoken.items():
            if params.tags:
                drawn = [_draw(item, vocabulary, request.seed, params) for item in items]
                items = [item for item, _ in drawn]
                tags = [ids for _, ids in drawn]
                arrays[f"{name}_tags"] = _padded(tags, params.max_tags, vocabulary)
                arrays[f"{name}_tag_lengths"] = np.array([len(ids) for ids in tags], dtype=np.int64)
            arrays[f"{name}_targets"] = _targets(items, vocabulary, params.max_length)
            arrays[f"{name}_words"] = np.array([item.mean_words for item in items])
            values["ids"][name] = [item.filename for item in items]
            values["texts"][name] = [[raw for raw, _ in item.captions] for item in items]
        if bad is not None:
            values.update({f"{name}_bad": own for name, own in bad.items()})
        return arrays, values

    return cached(request.cache, key, make)


@dataclass(frozen=True)
class _Item:
    """One image's captions: (as written, tokens)."""

    filename: str
    captions: tuple[tuple[str, list[str]], ...]

    @property
    def mean_words(self) -> float:
        return sum(len(tokens) for _, tokens in self.captions) / len(self.captions)


def _spoken(
    file: Path, photos: Sequence[Photo], params: Params, bad: _left_out.Bad | None
) -> list[_Item]:
    """Tokenise the captions of a split; an item whose captions are wrong has none that say a word.

    Raises:
        DataError: A caption is wrong, and nobody takes note of it in `bad`.
    """
    tokens = iter(text.tokenize([raw for photo in photos for raw in photo.captions], "ptb"))
    needed = 2 if params.tags else 1  # one becomes the tags
    items = []
    for place, photo in enumerate(photos):
        captions = tuple((raw, next(tokens)) for raw in photo.captions)
        where = f"{file}: images[{photo.index}]: {photo.filename}"
        fault = _fault(captions)
        if fault is None and len(captions) < needed:
            fault = f" has {len(captions)} captions: at least {needed} needed"
        if fault is not None:
            if bad is None:
                raise DataError(f"{where}{fault}: --skip-bad leaves such items out and counts them")
            bad[place] = f"{where}{fault}"
            captions = (("", []),) * needed
        items.append(_Item(photo.filename, captions))
    return items


def _fault(captions: Sequence[tuple[str, list[str]]]) -> str | None:
    """Return what is wrong with a photograph's captions."""
    for k, (raw, tokens) in enumerate(captions, 1):
        if len(raw) > LONGEST:
            return (
                f": its caption {k} has {len(raw):,} characters, more than any caption "
                f"({LONGEST:,})"
            )
        if not tokens:
            return f": its caption {k} has no word"
    return None


def _draw(
    item: _Item, vocabulary: Vocabulary, seed: int, params: Params
) -> tuple[_Item, list[int]]:
    """Draw one caption, take it away, and return the rest with the ids of the tags it leaves."""
    stream = ("karpathy", "tags", item.filename)
    count = len(item.captions)
    chosen = int(rng.integers(seed, *stream, "caption", count=1, below=count)[0])
    # Every word has its draw, known or not, so that the draws do not depend on the vocabulary.
    words = sorted({token for token in item.captions[chosen][1] if any(map(str.isalnum, token))})
    draws = rng.uniform(seed, *stream, "keep", count=len(words))
    kept = [pair for pair in zip(draws, words, strict=True) if pair[0] < params.tag_keep]
    kept = sorted(pair for pair in kept if pair[1] in vocabulary.ids)[: params.max_tags]
    rest = item.captions[:chosen] + item.captions[chosen + 1 :]
    return _Item(item.filename, rest), vocabulary.encode(sorted(word for _, word in kept))


def _targets(items: Sequence[_Item], vocabulary: Vocabulary, length: int) -> Array:
    """Return [N, R, L] token ids: words, end mark, zeros; R is the most captions an item has."""
    most = max(len(item.captions) for item in items)
    rows: list[list[int]] = []
    for item in items:
        for _, tokens in item.captions:
            rows.append([*vocabulary.encode(tokens[: length - 1]), text.EOS])
        rows.extend([] for _ in range(most - len(item.captions)))
    return _padded(rows, length, vocabulary).reshape(len(items), most, length)


def _padded(rows: Sequence[Sequence[int]], length: int, vocabulary: Vocabulary) -> Array:
    """Return [len(rows), length], zeros behind each row; as small a type as holds every id."""
    small = len(vocabulary) <= np.iinfo(np.int16).max
    padded = np.zeros((len(rows), length), dtype=np.int16 if small else np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return padded


def by_length(words: Array) -> Array:
    """Return to which group each item belongs by the mean words of its captions, [N]."""
    labels = np.array(["under 10 words", "10 to under 12 words", "12 words and more"])
    return np.asarray(labels[np.digitize(words, [10.0, 12.0])])


def _split(name: str, images: Entry, captions: Entry, params: Params) -> Split:
    """Put a split together from the two entries; nothing is copied."""
    inputs: dict[str, Array | Ragged] = {"image": pixels_of(name, images, captions)}
    groups = {"length": by_length(captions.arrays[f"{name}_words"])}
    present = {}
    if params.tags:
        counts = captions.arrays[f"{name}_tag_lengths"]
        inputs["tags"] = Ragged(captions.arrays[f"{name}_tags"], counts)
        present["tags"] = np.asarray(counts > 0)
        labels = np.array(["none", "1 to 3", "4 to 6", "7 and more"])
        groups["tag_count"] = labels[np.digitize(counts, [1, 4, 7])]
    return Split(
        ids=captions.values["ids"][name],
        inputs=inputs,
        targets={"caption": captions.arrays[f"{name}_targets"]},
        references={"caption": TextReferences([tuple(t) for t in captions.values["texts"][name]])},
        present=present,
        groups=groups,
    )
