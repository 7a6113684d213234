"""Numbers: one an item."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError
from mmbench.references import References, ScalarReferences
from mmbench.tables import columns
from mmbench.tables.kinds import Answers
from mmbench.tables.pairs import single
from mmbench.tables.table import Table

if TYPE_CHECKING:
    from mmbench.types import Floats

#: What columns of numbers are usually called.
USUAL = ("value", "score", "rating", "number", "label", "answer", "array")


def truth(
    references: Table,
    rows: Sequence[Sequence[int]],
    predictions: Table,
    given: Mapping[str, str],
) -> ScalarReferences:
    """Return the right numbers, one an item.

    Raises:
        UsageError: No column looks like the references, or several do.
        DataError: A cell is no finite number, or an item has two rows.
    """
    name = columns.of_reference(references, predictions, USUAL, given)
    own = single(references, rows)
    found = numbers(references, name, own)
    for place in np.flatnonzero(np.isnan(found))[:1]:
        raise DataError(f"{references.where(own[place])}: {name} is empty: expected a number")
    return ScalarReferences(found)


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return the predicted numbers.

    Raises:
        UsageError: No column looks like the predictions, or several do.
        DataError: A cell is no finite number.
    """
    name = columns.need(predictions, "prediction", USUAL, given)
    found = numbers(predictions, name, rows)
    if not np.isnan(found).any():
        return Answers(found, {})
    return Answers([None if x != x else x for x in found.tolist()], {})


def numbers(table: Table, column: str, rows: Sequence[int | None]) -> Floats:
    """Return [N] the numbers of a column, NaN where there is none.

    Raises:
        DataError: A cell is no finite number.
    """
    values = table.columns[column]
    if getattr(values, "ndim", 0) == 1 and values.dtype.kind in "fiu" and None not in rows:
        found = np.asarray(values[np.asarray(rows)], dtype=np.float64)
        if np.isfinite(found).all():
            return found
    given = (None if row is None else number(table, column, row) for row in rows)
    return np.array([np.nan if x is None else x for x in given], dtype=np.float64)


def number(table: Table, column: str, row: int) -> float | None:
    """Return the number in a cell, also where it is written as text; None where it is empty.

    Raises:
        DataError: It is no finite number.
    """
    value: Any = table.columns[column][row]
    if value is None or value == "":
        return None
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{table.where(row)}: {column} is {value!r}: expected a finite number")
    return found
