"""What metrics of generated images read: features beside real ones, and what the images show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import ItemError, UsageError
from mmbench.metrics._items._vectors import vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.references import ImageReferences, Said
    from mmbench.types import Floats

    Ints = NDArray[np.int64]

#: The value of an attribute where none was read.
NONE = -1


@dataclass(frozen=True)
class ImageItems:
    """N generated images, each beside a real one.

    Attributes:
        real: [N, D] features of the real images.
        generated: [N, D] features of the generated ones; None where none were given.
        missing: [N] bool, where there is no generated image.
        true: Attribute -> [N], the value that it has to have.
        said: Attribute -> [N], the value that was read off the generated image, -1 where there is
            none; only those that were given.
        pairs: [N], a number that two items share of which one is an edit of the other; or None.
        known: [M, D] features of images that models were trained on; or None.
    """

    real: Floats
    generated: Floats | None
    missing: NDArray[np.bool_]
    true: Mapping[str, Ints]
    said: Mapping[str, Ints]
    pairs: Ints | None = None
    known: Floats | None = None

    def __len__(self) -> int:
        return len(self.missing)


def prepare(said: Said, references: ImageReferences) -> ImageItems:
    """Put generated images beside real ones.

    Args:
        said: The column ``features``: for each generated image its features, from the network or
            recipe that those of the real images are from. Attributes that were read off it: a
            column of whole numbers for each, named as in the references, or values that are
            mappings from attribute to number; other values (a path, say) mean nothing. Or values
            that are images [C, H, W] of 0..255 (an array of all, or its rows flat), where the
            references can read them; what no column tells is read off those. An image is missing
            where its features are None, or, without features, nothing is said about it.
        references: Of the same N items.

    Raises:
        UsageError: Features are not finite or of another length than the real ones; an attribute
            is no whole number; nothing was predicted at all.
    """
    real = np.asarray(references.features, dtype=np.float64)
    said = _read(said, references)
    column: Any = said.columns.get("features")
    generated, lacks = None, np.ones(len(said), dtype=bool)
    if column is not None:
        generated, lacks = _features(column, real.shape[1], said.ids)
    attributes = {
        name: found
        for name in references.attributes
        if (found := _attribute(said, name)) is not None
    }
    if generated is None:
        for found in attributes.values():
            lacks &= found == NONE
        if not attributes:
            raise UsageError(
                "there are no predictions: give the column 'features' (for each generated image "
                f"its {real.shape[1]} features), or a column for each attribute"
            )
    true = {name: np.asarray(of, dtype=np.int64) for name, of in references.attributes.items()}
    return ImageItems(real, generated, lacks, true, attributes, references.pairs, references.known)


def _read(said: Said, references: ImageReferences) -> Said:
    """Return what was said with what can be read off images, where that is what was said."""
    shape = () if references.read is None else tuple(references.read.shape)
    there = [k for k, value in enumerate(said.values) if _is_image(value, shape)]
    if references.read is None or not there:
        return said
    images = np.empty((len(there), *shape), dtype=np.uint8)
    for row, place in enumerate(there):
        found = np.asarray(said.values[place])
        if found.size != images[0].size or (found.ndim != 1 and found.shape != shape):
            raise ItemError(
                f"the image of {said.ids[place]!r} has the shape {list(found.shape)}: expected "
                f"{list(shape)}",
                said.ids[place],
            )
        if found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 255:
            raise ItemError(
                f"the image of {said.ids[place]!r} holds {found.dtype} from {found.min():g} to "
                f"{found.max():g}: expected whole numbers, 0 to 255",
                said.ids[place],
            )
        images[row] = found.reshape(shape)
    read = references.read(images)
    columns: dict[str, Any] = {"features": _spread(read.features, there, len(said))}
    columns |= {name: _spread(of, there, len(said)) for name, of in read.attributes.items()}
    return replace(said, columns={**columns, **said.columns})


def _is_image(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a value is pixels: an array, or lists of numbers; a mapping or a path is none."""
    if isinstance(value, str | bytes | Mapping) or not shape:
        return False
    return hasattr(value, "ndim") or isinstance(value, list | tuple)


def _spread(rows: Any, places: Sequence[int], count: int) -> list[Any]:
    """Return [count] what was read at some places, None at the others."""
    found: list[Any] = [None] * count
    for row, place in zip(rows, places, strict=True):
        found[place] = row
    return found


def _features(column: Any, width: int, ids: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the features [N, D], zeros where they are missing, and [N] where they are."""
    rows, present = vectors(column, "features", ids)
    if rows.shape[1] != width and present.any():
        raise UsageError(
            f"the generated images have {rows.shape[1]} features, the real ones {width}: take both "
            f"from the same network or recipe"
        )
    return np.asarray(rows, dtype=np.float64), ~present


def _attribute(said: Said, name: str) -> Ints | None:
    """Return [N] what was said about one attribute; None where nobody says anything."""
    if name in said.columns:
        values = list(said.columns[name])
    elif any(isinstance(value, Mapping) and name in value for value in said.values):
        values = [value.get(name) if isinstance(value, Mapping) else None for value in said.values]
    else:
        return None
    found = np.full(len(values), NONE, dtype=np.int64)
    for place, value in enumerate(values):
        if value is None:
            continue
        if isinstance(value, np.integer) and value == NONE:  # read, and nothing was seen
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ItemError(
                f"the attribute {name!r} of {said.ids[place]!r} is {value!r}: expected a whole "
                f"number from 0, or None",
                said.ids[place],
            )
        found[place] = value
    return found


def perfect(references: ImageReferences) -> tuple[list[None], dict[str, Sequence[Any]]]:
    """Return the real images' features, and the right attributes."""
    columns: dict[str, Any] = {"features": np.asarray(references.features, dtype=np.float64)}
    columns |= {name: values.tolist() for name, values in references.attributes.items()}
    return [None] * len(references), columns
