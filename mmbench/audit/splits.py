"""What splits hold, and what they share: items, parts of items, speakers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data.manifest import cells
from mmbench.references import LabelReferences, MultilabelReferences, ScalarReferences
from mmbench.text import UNK
from mmbench.types import Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array


def missing(split: Split) -> dict[str, int]:
    """Return how many items lack each modality; those that all have are not named."""
    counts = {name: int((~np.asarray(there)).sum()) for name, there in split.present.items()}
    return {name: count for name, count in counts.items() if count}


def _digests(split: Split, signature: Signature, modality: str) -> list[bytes]:
    """Return a digest of each item's modality; an empty one where the item lacks it.

    A text with a word that the vocabulary does not have is like no other one: which word it was is
    not known.
    """
    values = split.inputs[modality]
    unknown = signature.modalities[modality].kind == "text"
    lengths: Any = None
    if isinstance(values, Ragged):
        lengths, values = np.asarray(values.lengths), values.values
    there = split.present.get(modality)
    found = []
    for index in range(len(split)):
        if there is not None and not there[index]:
            found.append(b"")
            continue
        one = np.ascontiguousarray(values[index])
        if unknown and (one == UNK).any():
            found.append(f"{id(split)} {index}".encode())
            continue
        told = b"" if lengths is None else str(int(lengths[index])).encode()
        found.append(hashlib.sha256(told + one.tobytes()).digest())
    return found


def _in_two(digests: Mapping[str, list[bytes]]) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Return pairs of (split, place) that are the same and stand in two splits."""
    first: dict[bytes, tuple[str, int]] = {}
    found = []
    for split, several in digests.items():
        for place, digest in enumerate(several):
            if not digest.strip(b"\0"):
                continue
            before = first.setdefault(digest, (split, place))
            if before[0] != split:
                found.append((before, (split, place)))
    return found


def duplicates(splits: Mapping[str, Split], signature: Signature) -> list[str]:
    """Return a line for each item that has all its inputs in common with one of another split."""
    whole: dict[str, list[bytes]] = {}
    for name, split in splits.items():
        parts = [_digests(split, signature, modality) for modality in split.inputs]
        whole[name] = [
            hashlib.sha256(b"".join(one)).digest() if any(one) else b""
            for one in zip(*parts, strict=True)
        ]
    return [
        f"{two} {splits[two].ids[there]!r} is {one} {splits[one].ids[place]!r}"
        for (one, place), (two, there) in _in_two(whole)
    ]


def shared(splits: Mapping[str, Split], signature: Signature) -> dict[str, int]:
    """Return for each modality how many items have it in common with one of another split."""
    modalities = next(iter(splits.values())).inputs
    found = {
        modality: len(
            _in_two({name: _digests(own, signature, modality) for name, own in splits.items()})
        )
        for modality in modalities
    }
    return {modality: count for modality, count in found.items() if count}


def mixed(splits: Mapping[str, Split]) -> list[str]:
    """Return a line for each output whose classes are words and numbers: a slip, most often.

    Where types are told apart, as in JSONL and Parquet, labels of two types are refused; in CSV all
    are texts.
    """
    lines = []
    for name, references in next(iter(splits.values())).references.items():
        if not isinstance(references, LabelReferences):
            continue
        numbers = {k for k, word in enumerate(references.classes) if cells.is_number(word)}
        words = set(range(len(references.classes))) - numbers
        if not numbers or not words:
            continue
        odd = min(numbers, words, key=len)
        for split_name, split in splits.items():
            own = split.references[name]
            assert isinstance(own, LabelReferences)
            labels = own.labels
            (places,) = np.nonzero(np.isin(labels, sorted(odd)))
            if len(places):
                first = int(places[0])
                told = references.classes[int(labels[first])]
                lines.append(
                    f"{name}: classes are words and numbers: {told!r} stands first at {split_name} "
                    f"{split.ids[first]!r}: is that meant?"
                )
                break
    return lines


def crossing(splits: Mapping[str, Split]) -> list[str]:
    """Return a line for each cluster that has items in more than one split."""
    held: dict[str, list[str]] = {}
    for name, split in splits.items():
        if split.clusters is None:
            continue
        for cluster in sorted(set(map(str, split.clusters))):
            held.setdefault(cluster, []).append(name)
    return [f"{cluster!r} is in {' and '.join(names)}" for cluster, names in held.items()
            if len(names) > 1]  # fmt: skip


def balance(split: Split, signature: Signature) -> dict[str, dict[str, float]]:
    """Return for each output how frequent its classes are, or where its numbers lie."""
    found: dict[str, dict[str, float]] = {}
    for name in signature.outputs:
        right = split.references[name]
        if isinstance(right, LabelReferences):
            shares = np.bincount(right.labels, minlength=len(right.classes)) / max(1, len(right))
            found[name] = _named(right.classes, shares)
        elif isinstance(right, MultilabelReferences):
            found[name] = _named(right.classes, right.labels.mean(axis=0))
        elif isinstance(right, ScalarReferences):
            values = right.values
            found[name] = {
                "mean": float(values.mean()),
                "spread": float(values.std()),
                "least": float(values.min()),
                "most": float(values.max()),
            }
    return found


def _named(classes: tuple[str, ...], shares: Array) -> dict[str, float]:
    return {name: float(share) for name, share in zip(classes, shares, strict=True)}
