"""Generated images: their pixels, or their features beside those of real ones and what they show.

Pixels stand in a column ``image`` (or are the only array of an ``.npy``), where the references are
of a task that can read them: [C, H, W] or [H, W, C] of 0..255 an item, nested or flat in the first
order; or a file of an image (PNG, ...), its bytes or its path beside the table.

Features stand in a column ``features`` (a list a cell, or an array [N, D]; also the only array of
an ``.npy``). A column that both tables have is an attribute: what a generated image has to show,
and what was read off it. Its values are labels, numbered in the order of `label`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
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
#: What columns of pixels are called.
IMAGES = ("image", "images", "picture", "pixels", MATRIX)
#: Columns that are no attribute.
_ASIDE = (*columns.IDS, *FEATURES, *IMAGES, "split")


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
    return ImageReferences(features, attributes, names)


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return the generated images, or their features and the attributes that were read off them.

    Raises:
        DataError: Features differ in length or are no numbers, or a cell is no image.
    """
    assert isinstance(truth, ImageReferences)
    nothing: list[Any] = [None] * len(rows)
    found: dict[str, Any] = {}
    shape = () if truth.read is None else tuple(truth.read.shape)
    pixels = _pixels(predictions, shape, given)
    if pixels is not None:
        nothing = [_image(predictions, pixels, row, shape) for row in rows]
    column = _features(predictions, "prediction", given)
    if column is not None and column != pixels:
        found["features"] = _vectors(predictions, column, rows)
    for name in truth.attributes:
        if name not in predictions.columns:
            continue
        numbers, told = labels_of(predictions, name, rows)
        place: dict[str, int] = {}
        if truth.read is not None or not truth.names:  # a task's own numbers
            place = {label: int(label) for label in told if label.isdecimal()}
        place |= {label: k for k, label in enumerate(truth.names.get(name, ()))}
        found[name] = [None if k < 0 else place.get(told[k], told[k]) for k in numbers.tolist()]
    return Answers(nothing, found)


def _features(table: Table, role: str, given: Mapping[str, str]) -> str | None:
    if role in given:
        return columns.named(table, given[role], f"{role}={given[role]}")
    return columns.of_names(table, FEATURES)


def _pixels(table: Table, shape: tuple[int, ...], given: Mapping[str, str]) -> str | None:
    """Return the column of images, where there is one that the references can read."""
    if not shape:
        return None
    if "prediction" in given:
        named = columns.named(table, given["prediction"], f"prediction={given['prediction']}")
        return named if _holds(table, named, shape) else None
    found = columns.of_names(table, IMAGES)
    return found if found is not None and _holds(table, found, shape) else None


def _holds(table: Table, column: str, shape: tuple[int, ...]) -> bool:
    """Whether a column's first cell is no vector of features."""
    cells = table.columns[column]
    first = parsed(cells[0]) if len(cells) else None
    if not isinstance(first, list) or any(isinstance(one, list) for one in first[:1]):
        return True
    return len(first) == math.prod(shape)


def _image(table: Table, column: str, row: int | None, shape: tuple[int, ...]) -> Array | None:
    """Return the pixels [C, H, W] of a cell, None where there is nothing."""
    cell: Any = None if row is None else table.columns[column][row]
    if isinstance(cell, Mapping):  # as Hugging Face's datasets write images
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, str) and cell[:1] != "[":
        cell = _opened(Path(table.source).parent / cell, table, row) if cell else None
    elif isinstance(cell, bytes):
        cell = _opened(io.BytesIO(cell), table, row)
    else:
        cell = parsed(cell)
    if is_missing(cell):
        return None
    assert row is not None
    try:
        found = given = np.asarray(cell)
        found = found if found.ndim != 3 or found.shape == shape else found.transpose(2, 0, 1)
        if found.size != math.prod(shape) or found.shape not in (shape, (found.size,)):
            raise ValueError(f"has the shape {list(given.shape)}")
        if found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 255:
            raise ValueError(f"holds {found.dtype}")
    except ValueError as error:
        told = str(error) if str(error).startswith(("has", "holds")) else "is no array"
        raise DataError(
            f"{table.where(row)}: {column} {told}: expected {list(shape)} whole numbers of 0 to 255"
        ) from None
    return found.astype(np.uint8).reshape(shape)


def _opened(file: Any, table: Table, row: int | None) -> Array:
    """Decode a file of an image, [H, W, 3].

    Raises:
        DataError: It is none, or cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    assert row is not None
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"{table.where(row)}: cannot be read as an image: {why}") from None


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
