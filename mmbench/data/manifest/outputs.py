"""What is right, from the cells of a manifest: classes, numbers, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data.manifest import cells
from mmbench.data.manifest.decode import BadItemError
from mmbench.data.manifest.items import Items, Row, target_column
from mmbench.data.manifest.params import Params, Target
from mmbench.references import (
    LabelReferences,
    MultilabelReferences,
    References,
    ScalarReferences,
    TextReferences,
)
from mmbench.spec import OutputSpec
from mmbench.text import EOS, Vocabulary, tokenize
from mmbench.types import Output

if TYPE_CHECKING:
    from mmbench.types import Array


class Right:
    """One output of all splits: what stands in its column, read and checked.

    Args:
        name: The output.
        spec: Its kind and classes.
        params: The manifest's.
        items: Its rows; what is wrong with any is written there.
    """

    def __init__(self, name: str, spec: OutputSpec, params: Params, items: Items) -> None:
        self.spec = spec
        self.target = params.targets.get(name, Target())
        self.classes = cells.Classes(spec.classes)
        self.column = target_column(name, params)
        self.values: dict[str, list[Any]] = {split: [] for split in items.splits}
        found: dict[int, Any] = {}
        # In the file's order, whatever the splits: the first label tells the type of all.
        rows = sorted((row for rows in items.splits.values() for row in rows),
                      key=lambda row: row.place)  # fmt: skip
        for row in rows:
            try:
                found[row.place] = self._read(items.table.rows[row.place].get(self.column))
            except BadItemError as error:
                items.blame(row, self.column, str(error))
        if spec.kind == "text":
            self._check_lengths(found, items, rows)
        for split, members in items.splits.items():
            self.values[split] = [found.get(row.place) for row in members]

    def _check_lengths(self, found: Mapping[int, Any], items: Items, rows: Sequence[Row]) -> None:
        """Blame texts that would be cut where nobody allowed it."""
        most = self.target.max_length - 1
        several = [(row, found[row.place]) for row in rows if row.place in found]
        tokens = iter(tokenize([one for _, own in several for one in own], self.target.tokenizer))
        for row, own in several:
            words = max(len(next(tokens)) for _ in own)
            if words > most and not self.target.cut:
                items.blame(
                    row,
                    self.column,
                    f"has {words} words, and max_length = {self.target.max_length} says {most} and "
                    f"an end mark: cut = true cuts what is learned from, never what is scored",
                )

    def _read(self, cell: Any) -> Any:
        kind = self.spec.kind
        if kind == "multilabel":
            return self.classes.places_of("" if cell is None else cell, self.target.separator)
        if cells.blank(cell):
            raise BadItemError("is blank: what is right has to be known")
        if kind == "label":
            return self.classes.place(cell)
        if kind == "scalar":
            return cells.number(cell)
        return cells.texts(cell, self.target.separator, self.target.longest)

    def held(
        self, good: Mapping[str, Array]
    ) -> tuple[Output, dict[str, Array], dict[str, References]]:
        """Return the output, and targets and references of the items `good` [n] of each split."""
        kept = {s: [self.values[s][i] for i in index] for s, index in good.items()}
        spec, main = self.spec, self.spec.main
        if spec.kind == "label":
            labels = {s: np.array(v, dtype=np.int64) for s, v in kept.items()}
            output = Output("label", len(spec.classes), spec.classes, main)
            return output, labels, {s: LabelReferences(v, spec.classes) for s, v in labels.items()}
        if spec.kind == "multilabel":
            flags = {s: self._flags(v) for s, v in kept.items()}
            output = Output("multilabel", len(spec.classes), spec.classes, main)
            right = {s: MultilabelReferences(v.astype(bool), spec.classes)
                     for s, v in flags.items()}  # fmt: skip
            return output, flags, dict(right)
        if spec.kind == "scalar":
            numbers = {s: np.array(v, dtype=np.float64) for s, v in kept.items()}
            train = numbers["train"]
            offset, scale = (float(train.mean()), float(train.std())) if len(train) else (0.0, 1.0)
            output = Output("scalar", 1, main=main, offset=offset, scale=scale or 1.0)
            return output, numbers, {s: ScalarReferences(v) for s, v in numbers.items()}
        return self._texts(kept)

    def _flags(self, several: Sequence[Sequence[int]]) -> Array:
        flags = np.zeros((len(several), len(self.spec.classes)), dtype=np.int64)
        for row, places in zip(flags, several, strict=True):
            row[list(places)] = 1
        return flags

    def _texts(
        self, kept: Mapping[str, Sequence[tuple[str, ...]]]
    ) -> tuple[Output, dict[str, Array], dict[str, References]]:
        """Make training targets: words, then the end mark; one too long is cut before its mark."""
        told = self.target
        tokens = {
            split: [tokenize(list(texts), told.tokenizer) for texts in several]
            for split, several in kept.items()
        }
        words = [one for several in tokens["train"] for one in several]
        vocabulary = Vocabulary.build(words, told.min_count)
        targets: dict[str, Array] = {}
        for split, items in tokens.items():
            most = max((len(several) for several in items), default=1)
            array = np.zeros((len(items), most, told.max_length), dtype=np.int32)
            for item, several in zip(array, items, strict=True):
                for row, one in zip(item, several, strict=False):
                    ids = [*vocabulary.encode(one[: told.max_length - 1]), EOS]
                    row[: len(ids)] = ids
            targets[split] = array
        output = Output("text", told.max_length, vocabulary.words, self.spec.main)
        return output, targets, {s: TextReferences(list(v)) for s, v in kept.items()}
