"""Reads further columns of a prediction: a vector of any length for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import ItemError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Array

    Bools = NDArray[np.bool_]

#: Rows that are looked at together.
_ROWS = 256
#: Beyond this, squares and sums of squares are no numbers any more.
_LARGEST = 1e100


def vectors(
    column: Any, name: str, ids: Sequence[str], infinite: bool = False
) -> tuple[Array, Bools]:
    """Return a column as an array [N, D], and [N] which items have something in it.

    An array of float32 or float64 is returned as it is, not copied.

    Args:
        column: [N, D] numbers, or N vectors of which some may be None.
        name: Its name, for messages.
        ids: The N names of the items.
        infinite: Whether infinite numbers are allowed.

    Returns:
        [N, D] float32 or float64, zeros where an item has nothing; and [N].

    Raises:
        UsageError: A vector has another length than the others, or holds something else than
            numbers.
    """
    if isinstance(column, np.ndarray) and column.ndim == 2:
        rows, present = column, np.ones(len(column), dtype=bool)
    else:
        present = np.array([row is not None for row in column], dtype=bool)
        rows = _stack(column, present, name, ids)
    if rows.dtype.kind not in "fiub":
        raise UsageError(f"the column {name!r} holds {rows.dtype}, expected numbers")
    if rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float32 if rows.dtype.itemsize < 4 else np.float64)
    limit = min(_LARGEST, float(np.finfo(rows.dtype).max))
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        wrong = np.isnan(part) if infinite else ~(np.abs(part) <= limit)
        if wrong.any():
            at = start + int(np.argmax(wrong.any(axis=1)))
            expected = "numbers (not NaN)" if infinite else f"finite numbers up to {limit:.0e}"
            raise ItemError(f"the column {name!r} of {ids[at]!r}: expected {expected}", ids[at])
    return rows, present


def _stack(column: Any, present: Bools, name: str, ids: Sequence[str]) -> Array:
    found = [np.asarray(row) for row in column if row is not None]
    for at, vector in zip(np.flatnonzero(present).tolist(), found, strict=True):
        if vector.shape != found[0].shape or vector.ndim != 1:
            raise ItemError(
                f"the column {name!r} of {ids[at]!r} has the shape {vector.shape}, expected "
                f"{found[0].shape[:1] or 'a list of numbers'} as for the others",
                ids[at],
            )
    stacked = np.stack(found) if found else np.zeros((0, 0))
    if present.all():
        return stacked
    rows: Array = np.zeros((len(present), stacked.shape[1]), dtype=stacked.dtype)
    rows[present] = stacked
    return rows
