"""Labels: one class of several an item, and probabilities where there are any.

Classes are known by name; ``3``, ``3.0`` and ``"3"`` are the same. Where nobody lists them they
are all that references, predictions and probabilities name, in order: by number where all are
whole numbers, else by alphabet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError
from mmbench.references import LabelReferences, References
from mmbench.tables import columns
from mmbench.tables.kinds import Answers
from mmbench.tables.kinds._scores import classes_of, column_of, scores_of, some
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
        DataError: A cell holds no label, an item has two rows, or no predicted label is a right
            one anywhere: then the two sides do not speak of the same classes.
    """
    name = columns.of_reference(references, predictions, USUAL, given)
    right, right_names = labels_of(references, name, single(references, rows))
    for place in np.flatnonzero(right < 0)[:1]:
        where = references.where(rows[place][0])
        raise DataError(f"{where}: {name} is empty: expected a label")
    told: set[str] = set()
    scores = column_of(predictions, given)
    said_name = columns.find(predictions, "prediction", USUAL, given, [scores])
    if said_name is not None:
        told = set(labels_of(predictions, said_name, range(len(predictions)))[1])
        if told and not told & set(right_names):
            raise DataError(
                f"{predictions.source}: names none of the classes of {references.source}: "
                f"{some(sorted(told))} here, {some(sorted(right_names))} there"
            )
    told.update(right_names)
    classes = in_order({*told, *classes_of(predictions, given, told)})
    return LabelReferences(_renumbered(right, right_names, classes), classes)


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return the predicted classes and, where there are any, probabilities [N][C].

    Raises:
        UsageError: There is neither a column of predictions nor one of probabilities.
        DataError: A cell holds something else.
    """
    assert isinstance(truth, LabelReferences)
    scores = scores_of(predictions, rows, truth.classes, given)
    find = columns.find if scores is not None else columns.need
    name = find(predictions, "prediction", USUAL, given, [column_of(predictions, given)])
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
        if value is None or value == "":
            found[place] = -1
        elif key in seen:
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
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise DataError(f"{where} is {value!r}: expected a label, a text or a whole number")
    return str(value)


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return distinct labels: by number where all are whole numbers, else by alphabet."""
    distinct = set(labels)
    whole = all(label.removeprefix("-").isdecimal() for label in distinct)
    return tuple(sorted(distinct, key=int if whole else None))


def _renumbered(numbers: Array, names: Sequence[str], classes: Sequence[str]) -> Array:
    place = {label: k for k, label in enumerate(classes)}
    return np.array([place[name] for name in names], dtype=np.int64)[numbers]
