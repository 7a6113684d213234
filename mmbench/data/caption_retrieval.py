"""Photographs and captions that look for each other: the retrieval view of `karpathy`.

Same files, same layouts, same pixels and tokens (they share the cache). An item is a photograph;
the gallery of a split are the captions of all its photographs, in the file's order, each right for
its own and for no other. Forward, an image looks for its captions; backward (metrics with
``_back``), a caption looks for its image; the captions of an image are one independent unit.

A caption is cut at ``max_length`` words, as `karpathy` cuts targets.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
import numpy as np

from mmbench.data import _left_out, karpathy
from mmbench.data._cache import Entry
from mmbench.data._contract import Request, checked
from mmbench.references import MatchReferences
from mmbench.spec import Count, Positive
from mmbench.text import EOS
from mmbench.types import GALLERY, Dataset, Modality, Output, Ragged, Signature, Split

VERSION = 1


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``caption_retrieval``; they are those of `karpathy`.

    Attributes:
        folder: Name of the dataset's folder, where ``--data`` names the one above it.
        annotations: The JSON file in that folder.
        layout: ``karpathy`` or ``coco``.
        test: In COCO's own layout, the file of the test images.
        held_out: In COCO's own layout, how many training images are for validation.
        images: The folder of images.
        size: Pixels of a side.
        min_count: How often a word stands in the training captions to enter the vocabulary.
        max_length: Words of a caption at most.
        restval: Whether training takes the images marked ``restval`` too.
        skip_bad: Whether images that cannot be read are left out, counted and recorded; their
            captions stay in the gallery, right for none.
    """

    folder: str = "flickr8k"
    annotations: str = "dataset_flickr8k.json"
    layout: Literal["karpathy", "coco"] = "karpathy"
    test: str = ""
    held_out: Count = 0
    images: str = "Images"
    size: Positive = 64
    min_count: Positive = 5
    max_length: Positive = 24
    restval: bool = False
    skip_bad: bool = False


def build(request: Request) -> Dataset:
    """Read photographs and captions; prepare them once, then open them from the cache.

    Modalities: ``image`` [3, S, S] uint8 of the query, ``caption`` [L] token ids of the gallery.
    Output: ``match``. Groups: ``length``, as in `karpathy`.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or not what the task expects.
    """
    params = _params(request)
    splits, images, captions = karpathy.prepared(request, params)
    words = tuple(captions.values["vocabulary"])
    fingerprint = hashlib.sha256(f"match{images.fingerprint}{captions.fingerprint}".encode())
    dataset = Dataset(
        signature=Signature(
            {
                "image": Modality("image", (3, params.size, params.size)),
                "caption": Modality("text", (params.max_length - 1,), words, GALLERY),
            },
            {"match": Output("match", 1)},
        ),
        splits={name: _split(name, images, captions) for name in splits},
        fingerprint=fingerprint.hexdigest(),
    )
    return _left_out.without(dataset, karpathy.bad_items(images, captions))


def source_digest(request: Request) -> str:
    """Return the SHA-256 of the annotations: which captions, on which images, in which split.

    Raises:
        DataError: They are missing.
    """
    return karpathy.digest_of_annotations(request, _params(request))


def _params(request: Request) -> karpathy.Params:
    own = msgspec.structs.asdict(checked(request, "caption_retrieval", VERSION, Params))
    own["max_length"] += 1  # a target has an end mark, and what is looked for has none
    return karpathy.Params(**own)


def _split(name: str, images: Entry, captions: Entry) -> Split:
    """Lay the captions of all images end to end."""
    targets = np.asarray(captions.arrays[f"{name}_targets"])  # [N, R, L]
    spoken = targets[:, :, 0] != 0
    tokens = targets[spoken]
    lengths = (tokens != 0).sum(axis=1) - 1
    tokens = np.where(tokens == EOS, 0, tokens)[:, :-1]
    number = np.cumsum(spoken).reshape(spoken.shape) - 1
    right = np.where(spoken, number, -1)
    texts = [text for own in captions.values["texts"][name] for text in own]
    ids = captions.values["ids"][name]
    counts = spoken.sum(axis=1)
    return Split(
        ids=ids,
        inputs={"image": karpathy.pixels_of(name, images, captions)},
        targets={"match": right},
        references={
            "match": MatchReferences(
                [tuple(row[row >= 0].tolist()) for row in right], len(tokens), texts
            )
        },
        groups={"length": karpathy.by_length(captions.arrays[f"{name}_words"])},
        gallery=Split(
            ids=[
                f"{one}#{k}" for one, count in zip(ids, counts, strict=True) for k in range(count)
            ],
            inputs={"caption": Ragged(tokens, lengths)},
            targets={},
            references={},
        ),
    )
