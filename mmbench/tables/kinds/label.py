"""Labels: one class of several an item, and probabilities where there are any.

Classes are known by name; ``3``, ``3.0`` and ``"3"`` are the same. Which there are: `_classes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError
from mmbench.references import LabelReferences, References
from mmbench.tables import columns
from mmbench.tables.cells import short
from mmbench.tables.kinds import Answers
from mmbench.tables.kinds._classes import agreed, listed
from mmbench.tables.kinds._scores import classes_of, column_of, scores_and_column
from mmbench.tables.pairs import single
from mmbench.tables.table import Table

if TYPE_CHECKING:
    from mmbench.types import Array

#: What columns of labels are usually called.
USUAL = ("label", "class", "category", "answer", "value", "array")


def truth(
    references: Table,
    rows: Sequence[Sequence[int]],
    predictions: Table,
    given: Mapping[str, str],
) -> LabelReferences:
    """Return the right classes, one an item.

    Raises:
        UsageError: No column looks like the references, or several do.
        DataError: A cell holds no label, an item has two rows, or a label is no class.
    """
    name = columns.of_reference(references, predictions, USUAL, given)
    own = single(references, rows)
    right, names = labels_of(references, name, own)
    for place in np.flatnonzero(right < 0)[:1]:
        raise DataError(f"{references.where(own[place])}: {name} is empty: expected a label")
    there = _first(references, name, right, names, own)
    told = _told(predictions, given)
    scored = classes_of(predictions, given, {*told, *there})
    classes = agreed(there, told, scored, listed(references), references.source)
    place = {label: k for k, label in enumerate(classes)}
    labels = np.array([place[label] for label in names], dtype=np.int64)[right]
    return LabelReferences(labels, classes)


def _told(predictions: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Return the predicted labels, and where each stands first."""
    column = columns.find(predictions, "prediction", USUAL, given, [column_of(predictions, given)])
    if column is None:
        return {}
    rows = range(len(predictions))
    return _first(predictions, column, *labels_of(predictions, column, rows), rows)


def _first(
    table: Table, column: str, found: Array, names: Sequence[str], rows: Sequence[int]
) -> dict[str, str]:
    """Return where each label stands first."""
    numbers, places = np.unique(found, return_index=True)
    return {
        names[k]: f"{table.where(rows[place])}: {column}"
        for k, place in zip(numbers.tolist(), places.tolist(), strict=True)
        if k >= 0
    }


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return the predicted classes and, where there are any, probabilities [N][C].

    Raises:
        UsageError: There is neither a column of predictions nor one of probabilities.
        DataError: A cell holds something else.
    """
    assert isinstance(truth, LabelReferences)
    scores, name = scores_and_column(predictions, rows, truth.classes, given, USUAL)
    values: Any = [None] * len(rows)
    if name is not None:
        found, names = labels_of(predictions, name, rows)
        known = {label: k for k, label in enumerate(truth.classes)}
        # A whole number that is no class's name is the number of a class; what is neither stays
        # as it is, for the metrics to refuse by the item's id.
        of_name = [known.get(label, int(label) if label.isdecimal() else label) for label in names]
        if (found >= 0).all() and all(isinstance(value, int) for value in of_name):
            values = np.array(of_name, dtype=np.int64)[found]
        else:
            values = [None if k < 0 else of_name[k] for k in found.tolist()]
    return Answers(values, {} if scores is None else {"scores": scores})


def labels_of(
    table: Table, column: str, rows: Sequence[int | None]
) -> tuple[Array, tuple[str, ...]]:
    """Return [N] the number of each row's label, -1 where it is empty, and the labels' names.

    Raises:
        DataError: A cell is a list, a fraction, or NaN.
    """
    values = table.columns[column]
    if isinstance(values, np.ndarray) and values.dtype.kind in "iub" and None not in rows:
        taken = values if rows == range(len(values)) else values[np.asarray(rows)]
        distinct, numbers = np.unique(taken, return_inverse=True)
        return numbers.reshape(-1), tuple(str(value) for value in distinct.tolist())
    names: dict[str, int] = {}
    seen: dict[Any, int] = {None: -1, "": -1}
    found = np.empty(len(rows), dtype=np.int64)
    for place, row in enumerate(rows):
        value = None if row is None else values[row]
        key = (type(value), value) if isinstance(value, str | int | float) else None
        if value is None or (isinstance(value, str) and not value):
            found[place] = -1
        elif key is not None and key in seen:
            found[place] = seen[key]
        else:
            name = label_name(value, f"{table.where(row or 0)}: {column}")
            found[place] = names.setdefault(name, len(names))
            seen[key] = int(found[place]) if key is not None else -1
    return found, tuple(names)


def label_name(value: Any, where: str) -> str:
    """Return a label as text.

    Raises:
        DataError: It is a list, a fraction, or NaN.
    """
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, Mapping):
        raise DataError(
            f"{where} is {short(value)}: expected a label; probabilities go in 'scores'"
        )
    if not isinstance(value, str | int):
        raise DataError(f"{where} is {short(value)}: expected a label, a text or a whole number")
    return str(value)
