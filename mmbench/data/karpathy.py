"""Photographs with captions in Karpathy's layout: one JSON file of captions and splits.

The layout of Karpathy & Fei-Fei, "Deep visual-semantic alignments for generating image
descriptions" (CVPR 2015), in which Flickr8k, Flickr30k and others are passed on: a folder holds
``dataset_flickr8k.json`` and a folder of images; the JSON's ``images[]`` have a ``filename``, a
``split`` and ``sentences[].raw``. We read the raw sentences and tokenise them ourselves (``ptb``);
the file's own ``tokens``, where it has them, are not looked at.

Items keep the file's order. The vocabulary is built on all captions of the training split. A
caption without a single word (blank, or nothing but punctuation) is left out everywhere. Training
targets are words, then ``<eos>``; a caption of more than ``max_length - 1`` words is cut there
before its ``<eos>``. References are never cut.

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
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from mmbench import catalog, rng, text
from mmbench.data import _coco_json, _images, _karpathy_json
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request
from mmbench.data._karpathy_json import Photo, read
from mmbench.errors import DataError, SpecError
from mmbench.references import TextReferences
from mmbench.spec import Count, Fraction, Positive, check_params
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
    return Dataset(
        signature=Signature(modalities, {"caption": Output("text", params.max_length, words)}),
        splits={name: _split(name, images, captions, params) for name in splits},
        fingerprint=fingerprint.hexdigest(),
    )


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
    where = f"{catalog.task_where(request.task)}: dataset"
    if request.version != VERSION:
        raise SpecError(
            f"{where}.version = {request.version}: this mmbench makes karpathy {VERSION}; "
            f"write version = {VERSION}"
        )
    return check_params(request.params, Params, f"{where}.params")  # type: ignore[no-any-return]


def _find(request: Request, params: Params) -> tuple[Path, list[Path]]:
    """Return the dataset's folder, the one named or in it `params.folder`, and its annotations."""
    wanted = f"a folder that holds {params.annotations} and {params.images}/"
    if request.root is None:
        raise DataError(
            f"task {request.task!r} needs data of yours: --data DIR or MMBENCH_DATA=DIR, "
            f"DIR being {wanted}, or the folder above it"
        )
    for folder in (request.root, request.root / params.folder):
        if (folder / params.annotations).is_file():
            others = [folder / params.test] if params.layout == "coco" else []
            return folder, [folder / params.annotations, *others]
    raise DataError(
        f"{request.root}: neither {params.annotations} nor {params.folder}/{params.annotations} "
        f"is there: task {request.task!r} expects --data (or MMBENCH_DATA) to name {wanted}"
    )


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
    """Decode the images; the entry serves every task and seed that shows them at this size."""
    where = _images.find_folder(folder, tuple(dict.fromkeys((params.images, *FOLDERS))))
    paths = {name: [where / p.path for p in photos] for name, photos in splits.items()}
    labels = {name: [f"images[{p.index}]" for p in photos] for name, photos in splits.items()}
    listed = hashlib.sha256()
    for name in splits:
        sizes = _images.sizes(paths[name], labels[name])
        for path, size in zip(paths[name], sizes, strict=True):
            listed.update(f"{name}\0{path.name}\0{size}\n".encode())
    key = {
        "name": "karpathy_images",
        "version": VERSION,
        "size": params.size,
        "files": listed.hexdigest(),
        "pillow": version("pillow"),
        "source": digest_of(__file__, _images.__file__),
    }

    def make() -> Made:
        names = list(splits)
        return {n: _images.decoded(paths[n], labels[n], params.size) for n in names}, {}

    return cached(request.cache, key, make)


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
        spoken = {
            name: _spoken(files[-1] if name == "test" else files[0], photos, params)
            for name, photos in splits.items()
        }
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
        return arrays, values

    return cached(request.cache, key, make)


@dataclass(frozen=True)
class _Item:
    """One image's captions that have words: (as written, tokens)."""

    filename: str
    captions: tuple[tuple[str, list[str]], ...]

    @property
    def mean_words(self) -> float:
        return sum(len(tokens) for _, tokens in self.captions) / len(self.captions)


def _spoken(file: Path, photos: Sequence[Photo], params: Params) -> list[_Item]:
    """Tokenise the captions of a split and leave out those without a word."""
    tokens = iter(text.tokenize([raw for photo in photos for raw in photo.captions], "ptb"))
    needed = 2 if params.tags else 1  # one becomes the tags
    items = []
    for photo in photos:
        captions = [(raw, next(tokens)) for raw in photo.captions]
        kept = tuple(caption for caption in captions if caption[1])
        if len(kept) < needed:
            raise DataError(
                f"{file}: images[{photo.index}]: {photo.filename} has {len(kept)} captions with "
                f"words: at least {needed} needed"
            )
        items.append(_Item(photo.filename, kept))
    return items


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
    inputs: dict[str, Array | Ragged] = {"image": images.arrays[name]}
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
