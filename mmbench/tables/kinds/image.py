"""Generated images, by their features beside those of real ones, and by what they show.

Features stand in a column ``features`` (a list a cell, or an array [N, D]; also the only array of
an ``.npy``). A column that both tables have is an attribute: what a generated image has to show,
and what was read off it. Its values are labels, numbered in the order of `label`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError, UsageError
from mmbench.references import ImageReferences, References
from mmbench.tables import columns
from mmbench.tables.cells import is_missing, parsed
from mmbench.tables.formats.arrays import MATRIX
from mmbench.tables.kinds import Answers
from mmbench.tables.kinds._classes import in_order
from mmbench.tables.kinds.label import labels_of
from mmbench.tables.pairs import single
from mmbench.tables.table import Table

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

#: What columns of features are called, the usual name first.
FEATURES = USUAL = ("features", "feature", "embedding", "embeddings", MATRIX)
#: Columns that are no attribute.
_ASIDE = (*columns.IDS, *FEATURES, "split")


@dataclass(frozen=True)
class NamedImages(ImageReferences):
    """What is right, with names.

    Attributes:
        names: Attribute -> the names of its values, in the order of their numbers.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def truth(
    references: Table,
    rows: Sequence[Sequence[int]],
    predictions: Table,
    given: Mapping[str, str],
) -> ImageReferences:
    """Return the real images' features, none where there is no such column, and right attributes.

    Raises:
        DataError: Features differ in length or are no numbers, or an attribute has no value.
        UsageError: There are neither features nor attributes.
    """
    own = single(references, rows)
    column = _features(references, "reference", given)
    attributes: dict[str, Array] = {}
    names: dict[str, tuple[str, ...]] = {}
    for name in references.columns:
        if name in predictions.columns and name.lower() not in _ASIDE:
            attributes[name], names[name] = _right(references, name, own, predictions)
    if column is None and not attributes:
        raise UsageError(
            f"{references.source}: has no column features, and no attribute that the predictions "
            f"have too (it has: {', '.join(references.columns)}): images need one of them"
        )
    features = np.zeros((len(own), 0))
    if column is not None:
        found = _vectors(references, column, own)
        for place in (k for k, row in enumerate(found) if row is None):
            raise DataError(f"{references.where(own[place])}: {column} is empty: expected numbers")
        features = np.asarray(found, dtype=np.float64)
    return NamedImages(features, attributes, names)


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return the generated images' features and the attributes that were read off them.

    Raises:
        DataError: Features differ in length or are no numbers.
    """
    assert isinstance(truth, ImageReferences)
    nothing: list[Any] = [None] * len(rows)
    found: dict[str, Any] = {}
    column = _features(predictions, "prediction", given)
    if column is not None:
        found["features"] = _vectors(predictions, column, rows)
    for name in truth.attributes:
        if name not in predictions.columns:
            continue
        numbers, told = labels_of(predictions, name, rows)
        known = truth.names[name] if isinstance(truth, NamedImages) else told
        place = {label: k for k, label in enumerate(known)}
        if not isinstance(truth, NamedImages):  # a task's own numbers
            place = {label: int(label) for label in told if label.isdecimal()}
        found[name] = [None if k < 0 else place.get(told[k], told[k]) for k in numbers.tolist()]
    return Answers(nothing, found)


def _features(table: Table, role: str, given: Mapping[str, str]) -> str | None:
    if role in given:
        return columns.named(table, given[role], f"{role}={given[role]}")
    return columns.of_names(table, FEATURES)


def _right(
    references: Table, name: str, rows: Sequence[int], predictions: Table
) -> tuple[Array, tuple[str, ...]]:
    """Return [N] the numbers of an attribute's right values, and the names of all values."""
    numbers, names = labels_of(references, name, rows)
    for place in np.flatnonzero(numbers < 0)[:1]:
        raise DataError(f"{references.where(rows[place])}: {name} is empty: expected a label")
    told = labels_of(predictions, name, range(len(predictions)))[1]
    order = in_order({*names, *told})
    place_of = {label: k for k, label in enumerate(order)}
    return np.array([place_of[label] for label in names], dtype=np.int64)[numbers], order


def _vectors(table: Table, column: str, rows: Sequence[int | None]) -> Any:
    """Return the vectors of a column, an array where none is missing."""
    whole = table.columns[column]
    there = [row for row in rows if row is not None]
    if getattr(whole, "ndim", 1) == 2 and len(there) == len(rows):
        return whole[there]
    found: list[Floats | None] = []
    width = 0
    for row in rows:
        value = None if row is None else parsed(whole[row])
        if row is None or is_missing(value):
            found.append(None)
            continue
        try:
            vector = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            vector = np.zeros(())
        width = width or vector.size
        if vector.shape != (width,):
            raise DataError(
                f"{table.where(row)}: {column} has the shape {vector.shape}: expected {width} "
                f"numbers, as the first row has"
            )
        found.append(vector)
    vectors = [vector for vector in found if vector is not None]
    return np.stack(vectors) if len(vectors) == len(found) else found
