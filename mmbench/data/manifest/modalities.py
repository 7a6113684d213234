"""Modalities of a manifest: cells to arrays, decoded once and kept memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data import _building, _hdf5, _standard
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data.manifest import cells, decode
from mmbench.data.manifest.decode import BadItemError, Wanted, axis_of_steps, fitted
from mmbench.data.manifest.items import Items, Row, columns_of
from mmbench.data.manifest.params import Params, Source
from mmbench.errors import DataError
from mmbench.spec import ModalitySpec
from mmbench.text import Vocabulary, tokenize
from mmbench.types import Modality, Ragged

if TYPE_CHECKING:
    from mmbench.types import Array

#: Kinds that are bytes.
WHOLE = ("image", "video", "spectrogram")
#: Split -> what stands for each item: a file, bytes, an array, None if it is absent, or why it is
#: none of these.
Contents = Mapping[str, Sequence[Any]]
#: Libraries whose version changes what is decoded.
_LIBRARIES = {"image": "pillow", "spectrogram": "soundfile", "video": "av"}


@dataclass(frozen=True)
class Held:
    """A modality of all splits.

    Attributes:
        modality: What an encoder has to know.
        values: Split -> [N, ...].
        lengths: Split -> [N]; empty where every item has the whole shape.
        present: Split -> [N] bool; empty where no item lacks it.
        fingerprint: SHA-256 over all of it.
    """

    modality: Modality
    values: Mapping[str, Array]
    lengths: Mapping[str, Array]
    present: Mapping[str, Array]
    fingerprint: str

    def of(self, split: str) -> Array | Ragged:
        """Return the inputs of a split."""
        if not self.lengths:
            return self.values[split]
        return Ragged(self.values[split], self.lengths[split])


class Media:
    """A modality that is no text, from its cells to arrays; bad items are zeros until they go.

    Args:
        name: The modality.
        spec: Its kind and shape.
        params: The manifest's.
        items: Its rows; what is wrong with any is written there.
        bases: Folders that paths are relative to, resolved.
        cache: The cache folder.
    """

    def __init__(
        self,
        name: str,
        spec: ModalitySpec,
        params: Params,
        items: Items,
        bases: Sequence[Path],
        cache: Path,
    ) -> None:
        self.spec, self.items, self.bases, self.cache = spec, items, bases, cache
        self.source = params.modalities.get(name, Source())
        self.columns = columns_of(name, params)
        if spec.kind == "spectrogram" and not self.source.rate:
            self.needs_rate = f"dataset.params.modalities.{name}.rate"
        else:
            self.needs_rate = ""
        contents = {split: [self._content(row) for row in rows] for split, rows in
                    items.splits.items()}  # fmt: skip
        key = {
            "name": f"manifest_{spec.kind}",
            "shape": spec.shape,
            "source": self.source,
            "content": self._told(contents),
            "splits": list(items.splits),
            "library": _version(_LIBRARIES.get(spec.kind, "numpy")),
            "builder": digest_of(
                __file__, decode.__file__, cells.__file__, _building.__file__, _hdf5.__file__
            ),
        }
        self.entry = self._decoded(cache, key, contents)
        for split, faults in self.entry.values["faults"].items():
            for index, why in faults:
                items.blame(items.splits[split][index], self.columns[0], why)

    def held(self, good: Mapping[str, Array]) -> Held:
        """Return the items `good` [n] of each split, numbers standardised if that is wanted."""
        arrays = self.entry.arrays
        values: Mapping[str, Array]
        values = {s: _take(arrays[s], index) for s, index in good.items()}
        present = {s: _take(arrays[f"{s}_present"], index) for s, index in good.items()}
        kind = self.spec.kind
        lengths = {}
        if axis_of_steps(kind, len(self.spec.shape)) is not None:
            lengths = {s: _take(arrays[f"{s}_lengths"], index) for s, index in good.items()}
        fingerprint = self.entry.fingerprint
        if kind in ("vector", "sequence") and self.source.standardise:
            values, fingerprint = self._standardised(values, lengths, present, good)
        everywhere = all(there.all() for there in present.values())
        return Held(
            Modality(kind, tuple(self.spec.shape)),
            values,
            lengths,
            {} if everywhere else present,
            fingerprint,
        )

    def _standardised(
        self,
        values: Mapping[str, Array],
        lengths: Mapping[str, Array],
        present: Mapping[str, Array],
        good: Mapping[str, Array],
    ) -> tuple[Mapping[str, Array], str]:
        """Standardise by the training items that are used, once for every choice of them."""

        def make() -> Made:
            if lengths:
                return _standard.standardise(values, lengths), {}
            # What an absent item has in its place is no number to take the mean of.
            there = {split: flags.astype(np.int64) for split, flags in present.items()}
            made = _standard.standardise({s: v[:, None] for s, v in values.items()}, there)
            return {split: array[:, 0] for split, array in made.items()}, {}

        kept = hashlib.sha256(b"".join(good[split].tobytes() for split in sorted(good)))
        key = {
            "name": "manifest_standard",
            "of": self.entry.fingerprint,
            "good": kept.hexdigest(),
            "builder": digest_of(__file__, _standard.__file__),
        }
        entry = cached(self.cache, key, make)
        return {split: entry.arrays[split] for split in values}, entry.fingerprint

    def _content(self, row: Row) -> Any:
        """Return what is to be decoded: a file, bytes, an array, None if absent; or why not."""
        if row.place in self.items.faults:
            return None
        told = [self.items.table.rows[row.place].get(column) for column in self.columns]
        if all(map(cells.blank, told)):
            if self.source.optional:
                return None
            return BadItemError("is blank: optional = true lets items lack the modality")
        try:
            if self.spec.kind in ("vector", "sequence") and not _is_media(told[0]):
                return cells.numbers(told)
            return cells.media(told[0], self.bases)
        except BadItemError as error:
            return error

    def _told(self, contents: Mapping[str, Sequence[Any]]) -> str:
        """Return a digest of what is decoded; of a file, its name, size and time of change."""
        total = hashlib.sha256()
        for split, several in contents.items():
            for content in several:
                if isinstance(content, Path | _hdf5.Inside):
                    seen = (content if isinstance(content, Path) else content.file).stat()
                    told = f"{split} {content!r} {seen.st_size} {seen.st_mtime_ns}\n"
                    total.update(told.encode())
                elif isinstance(content, np.ndarray):
                    total.update(f"{split} {content.shape} {content.dtype}\n".encode())
                    total.update(np.ascontiguousarray(content).tobytes())
                else:
                    raw = content if isinstance(content, bytes) else str(content).encode()
                    total.update(f"{split} {len(raw)}\n".encode() + raw)
        return total.hexdigest()

    def _decoded(self, cache: Path, key: Mapping[str, Any], contents: Contents) -> Entry:
        """Decode the items of all splits: on several threads, watched, and resumed if killed."""
        wanted = Wanted(tuple(self.spec.shape), self.source)
        if self.needs_rate and any(
            isinstance(one, Path | bytes) for several in contents.values() for one in several
        ):
            raise DataError(f"{self.needs_rate} is missing: the samples a second that sounds have")
        jobs = [_Job(self.spec.kind, content, wanted) for several in contents.values()
                for content in several]  # fmt: skip
        sizes = {split: len(several) for split, several in contents.items()}

        def join(parts: _building.Parts) -> Made:
            return _laid_out(parts, sizes, self.spec.kind, wanted.shape)

        return _building.in_parts(cache, key, jobs, _item, join, threads=True)


@dataclass(frozen=True)
class _Job:
    """What is to be decoded: a file, bytes, an array, None if absent; or why it cannot be."""

    kind: str
    content: Any
    wanted: Wanted


def _item(job: _Job) -> dict[str, Array]:
    """Decode an item: its ``value`` with the steps in front, [1, ...] if it has none, or nothing.

    Beside it stand how many there are of it, 1 or 0, and the letters of why it is bad.
    """
    shape, whole = job.wanted.shape, job.kind in WHOLE
    axis = axis_of_steps(job.kind, len(shape))
    kind: Any = np.uint8 if whole else np.float32
    rest = shape if axis is None else tuple(n for k, n in enumerate(shape) if k != axis)
    value, why = np.zeros((0, *rest), dtype=kind), ""
    present = False
    try:
        if isinstance(job.content, BadItemError):
            raise job.content
        if job.content is not None:
            one = (
                fitted(job.kind, job.content, job.wanted)
                if isinstance(job.content, np.ndarray)
                else decode.decode(job.kind, job.content, job.wanted)
            )
            value = one[None] if axis is None else np.moveaxis(one, axis, 0)
            present = True
    except BadItemError as error:
        content = job.content
        place = content.name if isinstance(content, Path) else str(content)
        named = isinstance(content, Path | _hdf5.Inside)
        why = f"{place}: {error}" if named else str(error)
    return {
        "value": value,
        "present": np.array([present]),
        "why": np.frombuffer(why.encode(), dtype=np.uint8),
    }


def _laid_out(
    parts: _building.Parts, sizes: Mapping[str, int], kind: str, shape: tuple[int, ...]
) -> Made:
    """Lay items into arrays of their split, and gather why items are bad."""
    axis = axis_of_steps(kind, len(shape))
    arrays: dict[str, Array] = {}
    for split, size in sizes.items():
        arrays[split] = np.zeros((size, *shape), dtype=np.uint8 if kind in WHOLE else np.float32)
        arrays[f"{split}_present"] = np.zeros(size, dtype=bool)
        if axis is not None:
            arrays[f"{split}_lengths"] = np.zeros(size, dtype=np.int64)
    faults: dict[str, list[tuple[int, str]]] = {}
    places = iter([(split, index) for split, size in sizes.items() for index in range(size)])
    for _, made in parts():
        values, reasons = _building.split_up(made, "value"), _building.split_up(made, "why")
        for value, present, why in zip(values, made["present"], reasons, strict=True):
            split, index = next(places)
            if len(why):
                faults.setdefault(split, []).append((index, why.tobytes().decode()))
            if not present:
                continue
            one = value[0] if axis is None else np.moveaxis(value, 0, axis)
            arrays[f"{split}_present"][index] = True
            arrays[split][index][tuple(map(slice, one.shape))] = one
            if axis is not None:
                arrays[f"{split}_lengths"][index] = len(value)
    return arrays, {"faults": faults}


class Texts:
    """A modality of texts: tokenised, the vocabulary that of the training items that are used."""

    def __init__(self, name: str, spec: ModalitySpec, params: Params, items: Items) -> None:
        self.spec = spec
        self.source = params.modalities.get(name, Source())
        column = columns_of(name, params)[0]
        most = spec.shape[0]
        self.tokens: dict[str, list[list[str]]] = {}
        for split, rows in items.splits.items():
            told = [self._text(items, row, column) for row in rows]
            tokens = tokenize(told, self.source.tokenizer)
            for index, (row, text) in enumerate(zip(rows, told, strict=True)):
                if not text:
                    continue
                if not tokens[index]:
                    items.blame(row, column, f"{cells.shown(text)} is a text without a word")
                elif len(tokens[index]) > most and not self.source.cut:
                    items.blame(
                        row,
                        column,
                        f"has {len(tokens[index])} words, and the shape says {most} at most: "
                        f"cut = true cuts the rest off",
                    )
            self.tokens[split] = tokens

    def _text(self, items: Items, row: Row, column: str) -> str:
        cell = items.table.rows[row.place].get(column)
        if cells.blank(cell) and self.source.optional:
            return ""
        try:
            return cells.text("" if cell is None else cell, self.source.longest)
        except BadItemError as error:
            items.blame(row, column, str(error))
            return ""

    def held(self, good: Mapping[str, Array]) -> Held:
        """Return the token ids of the items `good` [n] of each split."""
        kept = {s: [self.tokens[s][i] for i in index] for s, index in good.items()}
        vocabulary = Vocabulary.build(kept["train"], self.source.min_count)
        values, lengths, present = {}, {}, {}
        total = hashlib.sha256("\n".join(vocabulary.words).encode())
        for split, several in kept.items():
            values[split], lengths[split] = padded(several, self.spec.shape[0], vocabulary)
            present[split] = lengths[split] > 0
            total.update(values[split].tobytes())
        everywhere = all(there.all() for there in present.values())
        modality = Modality("text", tuple(self.spec.shape), vocabulary.words)
        there = {} if everywhere else present
        return Held(modality, values, lengths, there, total.hexdigest())


def padded(
    several: Sequence[Sequence[str]], most: int, vocabulary: Vocabulary
) -> tuple[Array, Array]:
    """Return [N, most] token ids, 0 behind each, and their numbers [N]."""
    values = np.zeros((len(several), most), dtype=np.int32)
    lengths = np.zeros(len(several), dtype=np.int64)
    for index, tokens in enumerate(several):
        ids = vocabulary.encode(tokens[:most])
        values[index, : len(ids)] = ids
        lengths[index] = len(ids)
    return values, lengths


def _take(array: Array, index: Array) -> Array:
    """Take items; all of them in their order is the array itself, memory-mapped as it is."""
    if len(index) == len(array):
        return array
    taken: Array = array[index]
    return taken


def _is_media(cell: Any) -> bool:
    if isinstance(cell, bytes):
        return True
    if isinstance(cell, Mapping):
        return "bytes" in cell or "path" in cell
    if not isinstance(cell, str):
        return False
    return cell.strip().endswith(".npy") or _hdf5.named(cell) is not None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
