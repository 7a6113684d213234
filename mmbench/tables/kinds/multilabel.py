"""Sets of labels: any number of classes an item, and probabilities where there are any.

A cell holds a list of labels, or one text with ``|`` or ``;`` between them; an empty one is no
label at all. Several rows of an item hold one set together. Classes are as for `label`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmbench.errors import DataError
from mmbench.references import MultilabelReferences, References
from mmbench.tables import columns
from mmbench.tables.cells import parsed, value_is_nan
from mmbench.tables.formats.arrays import MATRIX
from mmbench.tables.kinds import Answers
from mmbench.tables.kinds._classes import CLASSES, agreed, listed
from mmbench.tables.kinds._scores import classes_of, column_of, scores_and_column
from mmbench.tables.kinds.label import label_name
from mmbench.tables.table import Table

#: What columns of sets of labels are usually called.
USUAL = ("labels", "label", "classes", "tags", "categories", "genres", "answer", "value", MATRIX)


def truth(
    references: Table,
    rows: Sequence[Sequence[int]],
    predictions: Table,
    given: Mapping[str, str],
) -> MultilabelReferences:
    """Return the right classes of each item.

    Raises:
        UsageError: No column looks like the references, or several do.
        DataError: A cell is no set of labels.
    """
    name = columns.of_reference(references, predictions, USUAL, given)
    sets = [{x for row in own for x in set_of(references, name, row) or ()} for own in rows]
    right = _first(references, name, (row for own in rows for row in own))
    told = _told(predictions, given)
    scored = classes_of(predictions, given, {*told, *right})
    more = listed(references) if name != CLASSES else set()
    classes = agreed(right, told, scored, more, references.source)
    place = {label: k for k, label in enumerate(classes)}
    labels = np.zeros((len(sets), len(classes)), dtype=np.bool_)
    for item, own in enumerate(sets):
        labels[item, [place[label] for label in own]] = True
    return MultilabelReferences(labels, classes)


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return the predicted sets and, where there are any, probabilities [N][C].

    Raises:
        UsageError: There is neither a column of predictions nor one of probabilities.
        DataError: A cell holds something else.
    """
    assert isinstance(truth, MultilabelReferences)
    scores, name = scores_and_column(predictions, rows, truth.classes, given, USUAL)
    values: list[list[str] | None] = [None] * len(rows)
    if name is not None:
        values = [None if row is None else set_of(predictions, name, row) for row in rows]
    return Answers(values, {} if scores is None else {"scores": scores})


def set_of(table: Table, column: str, row: int) -> list[str] | None:
    """Return the labels in a cell, None where there is no answer.

    Raises:
        DataError: It is no set of labels.
    """
    value: Any = table.columns[column][row]
    if column == MATRIX:
        return [str(k) for k, right in enumerate(value) if right]
    if value is None or value_is_nan(value):
        return None
    value = parsed(value)
    if isinstance(value, str):
        value = [part.strip() for part in value.replace(";", "|").split("|") if part.strip()]
    where = f"{table.where(row)}: {column}"
    if isinstance(value, Mapping):
        value = [label for label, right in value.items() if right]
    if not isinstance(value, list | tuple | set | frozenset):
        value = [value]
    found = [label_name(label, where) for label in value]
    if len(set(found)) < len(found):
        raise DataError(f"{where} names a label twice: {found}")
    return found


def _told(predictions: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Return the predicted labels, and where each stands first."""
    name = columns.find(predictions, "prediction", USUAL, given, [column_of(predictions, given)])
    return {} if name is None else _first(predictions, name, range(len(predictions)))


def _first(table: Table, column: str, rows: Iterable[int]) -> dict[str, str]:
    """Return where each label stands first."""
    found: dict[str, str] = {}
    for row in rows:
        for label in set_of(table, column, row) or ():
            found.setdefault(label, f"{table.where(row)}: {column}")
    return found
