"""Reads further columns of a prediction: a row of numbers for each item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import ItemError, UsageError

if TYPE_CHECKING:
    from mmbench.metrics._ranking import Bools
    from mmbench.references import Said
    from mmbench.types import Floats

#: How far the sum of an item's probabilities may lie from 1: single precision, rounded for print.
_TOLERANCE = 1e-4


def probabilities(said: Said, classes: tuple[str, ...], exclusive: bool) -> Floats | None:
    """Return the column ``scores`` as [N, C], NaN in the rows of items that have none.

    Args:
        said: The predictions.
        classes: The C names, in the order of the numbers.
        exclusive: Whether exactly one class is right, so that the numbers of an item add up to 1.

    Returns:
        None where there is no such column, or no item has anything in it.

    Raises:
        UsageError: An item has something else than one probability for each class.
    """
    column = said.columns.get("scores")
    if column is None:
        return None
    if len(column) != len(said):
        raise UsageError(f"expected scores of {len(said)} items, got {len(column)}")
    found, there = _rows(said, column, classes)
    if not there.any():
        return None
    given = found if there.all() else found[there]
    if not (given.min() >= 0 and given.max() <= 1 + _TOLERANCE):  # or one is NaN
        place, number = np.argwhere(~((given >= 0) & (given <= 1 + _TOLERANCE)))[0].tolist()
        name = _name(said, there, place)
        raise ItemError(
            f"the scores of {name!r} hold {given[place, number]}: expected probabilities, 0 to 1",
            name,
        )
    if exclusive:
        sums = given @ np.ones(len(classes))
        wrong = np.flatnonzero(np.abs(sums - 1) > _TOLERANCE)
        if len(wrong):
            name = _name(said, there, wrong[0])
            raise ItemError(
                f"the scores of {name!r} add up to {sums[wrong[0]]:.6g}: expected probabilities "
                f"that add up to 1 (of logits, take the softmax)",
                name,
            )
    return found


def _name(said: Said, there: Bools, place: int) -> str:
    """Return the id of an item, given its place among those that have scores."""
    return str(said.ids[int(np.flatnonzero(there)[place])])


def _rows(said: Said, column: Any, classes: tuple[str, ...]) -> tuple[Floats, Bools]:
    """Return the numbers [N, C], and [N] whether an item has any."""
    shape = (len(said), len(classes))
    try:
        found: Floats = np.asarray(column, dtype=np.float64)
        if found.shape == shape:
            return found, np.ones(len(said), dtype=np.bool_)
    except (TypeError, ValueError):
        pass
    # An item without scores, or one that is wrong: one at a time, to name it.
    found = np.full(shape, np.nan)
    there = np.array([row is not None for row in column], dtype=np.bool_)
    for place in np.flatnonzero(there).tolist():
        found[place] = _row(column[place], said.ids[place], classes)
    return found, there


def _row(row: Any, name: str, classes: tuple[str, ...]) -> Floats:
    try:
        numbers: Floats = np.asarray(row, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (len(classes),):
        named = ", ".join(classes[:6]) + (", ..." if len(classes) > 6 else "")
        raise ItemError(
            f"the scores of {name!r} are {_short(row)}: expected {len(classes)} numbers, one for "
            f"each class ({named})",
            name,
        )
    return numbers


def _short(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."
