"""Modalities of a manifest: cells to arrays, decoded once and kept memory-mapped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data import _standard
from mmbench.data._cache import Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._images import MOST_THREADS
from mmbench.data.manifest import cells, decode
from mmbench.data.manifest.decode import BadItemError, Wanted, fitted
from mmbench.data.manifest.items import Items, Row, columns_of
from mmbench.data.manifest.params import Params, Source
from mmbench.errors import DataError
from mmbench.spec import ModalitySpec
from mmbench.text import Vocabulary, tokenize
from mmbench.types import Modality, Ragged

if TYPE_CHECKING:
    from mmbench.types import Array

#: The axis along which an item of a kind has a length of its own, and what one step is.
STEPS = {"video": 0, "spectrogram": 1, "sequence": 0}
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
            "builder": digest_of(__file__, decode.__file__, cells.__file__),
        }
        self.entry = cached(cache, key, lambda: self._make(contents))
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
        if kind in STEPS:
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
                if isinstance(content, Path):
                    seen = content.stat()
                    total.update(f"{split} {content} {seen.st_size} {seen.st_mtime_ns}\n".encode())
                elif isinstance(content, np.ndarray):
                    total.update(f"{split} {content.shape} {content.dtype}\n".encode())
                    total.update(np.ascontiguousarray(content).tobytes())
                else:
                    told = content if isinstance(content, bytes) else str(content).encode()
                    total.update(f"{split} {len(told)}\n".encode() + told)
        return total.hexdigest()

    def _make(self, contents: Mapping[str, Sequence[Any]]) -> Made:
        wanted = Wanted(tuple(self.spec.shape), self.source)
        arrays: dict[str, Array] = {}
        faults: dict[str, list[tuple[int, str]]] = {}
        whole = self.spec.kind in ("image", "video", "spectrogram")
        axis = STEPS.get(self.spec.kind)
        for split, several in contents.items():
            values = np.zeros(
                (len(several), *wanted.shape), dtype=np.uint8 if whole else np.float32
            )
            lengths = np.zeros(len(several), dtype=np.int64)
            present = np.zeros(len(several), dtype=bool)
            with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
                made = pool.map(lambda content: self._decoded(content, wanted), several)
                for index, one in enumerate(made):
                    if isinstance(one, str):
                        faults.setdefault(split, []).append((index, one))
                    elif one is not None:
                        present[index] = True
                        lengths[index] = 0 if axis is None else one.shape[axis]
                        values[index][tuple(map(slice, one.shape))] = one
            arrays[split] = values
            arrays[f"{split}_present"] = present
            if axis is not None:
                arrays[f"{split}_lengths"] = lengths
        return arrays, {"faults": faults}

    def _decoded(self, content: Any, wanted: Wanted) -> Array | str | None:
        if content is None:
            return None
        if isinstance(content, BadItemError):
            return str(content)
        try:
            if isinstance(content, np.ndarray):
                return fitted(self.spec.kind, content, wanted)
            if self.needs_rate:
                raise DataError(
                    f"{self.needs_rate} is missing: the samples a second that sounds have"
                )
            return decode.decode(self.spec.kind, content, wanted)
        except BadItemError as error:
            name = f"{content.name}: " if isinstance(content, Path) else ""
            return f"{name}{error}"


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
    return isinstance(cell, str) and cell.strip().endswith(".npy")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
