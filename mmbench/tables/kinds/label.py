"""Labels: one class of several an item, and probabilities where there are any.

Classes are known by name; ``3``, ``3.0`` and ``"3"`` are the same. They are those of the
probabilities, or else the right labels and what a column ``classes`` of the references lists
(``cat|dog|cow``): a model may say what never was right in these items, but then somebody has to say
that it is a class. Where all are whole numbers, what is predicted is one. Their order: by number
where all are whole numbers, else by alphabet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError, nearest
from mmbench.references import LabelReferences, References
from mmbench.tables import columns
from mmbench.tables.cells import parsed, short
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
    told = _told(predictions, given)
    if told and not set(told) & set(right_names) and not _are_numbers(told, len(right_names)):
        raise DataError(
            f"{predictions.source}: names none of the classes of {references.source}: "
            f"{some(sorted(told))} here, {some(sorted(right_names))} there"
        )
    listed = _listed(references)
    scored = classes_of(predictions, given, {*told, *right_names})
    known = (scored | listed) or set(right_names)
    if not scored and _all_numbers({*known, *told}):
        known |= set(told)  # numbers are no names that one could misspell
    for label in [label for label in right_names if label not in known][:1]:
        row = rows[int(np.flatnonzero(right == right_names.index(label))[0])][0]
        raise _unknown(label, f"{references.where(row)}: {name}", known, "of the probabilities")
    unknown = [label for label in told if label not in known]
    if unknown and (_all_numbers(known) or not _are_numbers(unknown, len(known))):
        raise _unknown(
            unknown[0],
            told[unknown[0]],
            known,
            f"of {references.source}; if it is one, list all in a column 'classes' of the "
            f"references: {'|'.join([*sorted(known)[:2], unknown[0]])}",
        )
    classes = in_order(known)
    return LabelReferences(_renumbered(right, right_names, classes), classes)


def _told(predictions: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Return the predicted labels, and where each stands first."""
    column = columns.find(predictions, "prediction", USUAL, given, [column_of(predictions, given)])
    if column is None:
        return {}
    found, names = labels_of(predictions, column, range(len(predictions)))
    numbers, first = np.unique(found, return_index=True)
    return {
        names[k]: f"{predictions.where(row)}: {column}"
        for k, row in zip(numbers.tolist(), first.tolist(), strict=True)
        if k >= 0
    }


def _are_numbers(labels: Iterable[str], count: int) -> bool:
    """Whether labels are numbers of classes, of which there are `count`."""
    return all(label.isdecimal() and int(label) < count for label in labels)


def _listed(references: Table) -> set[str]:
    """Return what the column ``classes`` lists, in any row."""
    cells = references.columns.get("classes", ())
    found: set[str] = set()
    for cell in cells:
        cell = parsed(cell)
        parts = cell.split("|") if isinstance(cell, str) else cell or ()
        found.update(str(part).strip() for part in parts)
    return found - {""}


def _unknown(label: str, where: str, known: Iterable[str], of: str) -> DataError:
    near = nearest(label, known)
    offer = f"did you mean {near!r}? " if near else ""
    return DataError(
        f"{where} is {label!r}, which is no class: {offer}known: {some(sorted(known))}, {of}"
    )


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


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return distinct labels: by number where all are whole numbers, else by alphabet."""
    distinct = set(labels)
    return tuple(sorted(distinct, key=int if _all_numbers(distinct) else None))


def _all_numbers(labels: Iterable[str]) -> bool:
    return all(label.removeprefix("-").isdecimal() for label in labels)


def _renumbered(numbers: Array, names: Sequence[str], classes: Sequence[str]) -> Array:
    place = {label: k for k, label in enumerate(classes)}
    return np.array([place[name] for name in names], dtype=np.int64)[numbers]
