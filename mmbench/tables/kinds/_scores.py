"""Probabilities of classes, however a table writes them.

A mapping from class to probability (in a CSV file: as JSON), a column ``p:CLASS`` each, a list in
the order of the classes, a matrix [N, C], or, of two classes, the probability of the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmbench.errors import DataError, UsageError, nearest
from mmbench.tables import columns
from mmbench.tables.cells import is_missing, parsed, short
from mmbench.tables.formats.arrays import MATRIX
from mmbench.tables.kinds.scalar import number
from mmbench.tables.table import Table


def column_of(table: Table, given: Mapping[str, str]) -> str | None:
    """Return the column of probabilities, None where there is none."""
    found = columns.find_named(table, "scores", given)
    if found is None and MATRIX in table.columns:
        matrix = table.columns[MATRIX]
        return MATRIX if getattr(matrix, "dtype", np.dtype(int)).kind == "f" else None
    return found


def classes_of(table: Table, given: Mapping[str, str], labels: Iterable[str]) -> set[str]:
    """Return the classes that the probabilities are of.

    Args:
        table: The table.
        given: Role -> the column that was named for it.
        labels: The classes that are known otherwise. A plain list of probabilities has no names:
            it is one of class 0, class 1, ..., or of two classes in order.

    Raises:
        DataError: Nobody says which class each number of a list is of.
    """
    if table.extras and "classes" in table.extras:
        return set(_listed_classes(table))
    found = set(columns.of_scores(table))
    column = column_of(table, given)
    if column is None:
        return found
    width = 0
    for value in table.columns[column]:
        plain = value if hasattr(value, "shape") else _mapped(value)
        if isinstance(plain, Mapping):
            # The first row names the classes: what another one has besides is a slip.
            found = found or set(map(str, plain))
        elif hasattr(plain, "__len__") and not isinstance(plain, str):
            width = width or len(plain)
        if width and (hasattr(plain, "shape") or found):
            break  # all rows of a matrix are alike
    if not width:
        return found
    numbered = {str(k) for k in range(width)}
    named = set(labels)
    if named <= numbered:
        return numbered
    if not len(named) == width == 2:
        raise DataError(
            f"{table.source}: {column} holds lists, which do not say which class each number is "
            f"of, and the classes are {some(named)}: write {{class: probability}}, or a column "
            f"p:CLASS each"
        )
    return found


def scores_of(
    table: Table, rows: Sequence[int | None], classes: Sequence[str], given: Mapping[str, str]
) -> Any:
    """Return the probabilities [N][C], None where the table has none.

    Raises:
        DataError: A cell holds something else.
    """
    apart = columns.of_scores(table)
    if apart:
        names = [apart.get(label) for label in classes]
        return [None if row is None else _of_columns(table, names, row) for row in rows]
    column = column_of(table, given)
    if column is None:
        return None
    whole = table.columns[column]
    if getattr(whole, "ndim", 1) == 2 and None not in rows and len(classes) == whole.shape[1]:
        taken = whole if rows == range(len(whole)) else whole[list(rows)]
        order = _order(table, classes)
        return taken if order == list(range(len(order))) else taken[:, order]
    return [None if row is None else _of_cell(table, column, row, classes) for row in rows]


def scores_and_column(
    table: Table,
    rows: Sequence[int | None],
    classes: Sequence[str],
    given: Mapping[str, str],
    usual: Sequence[str],
) -> tuple[Any, str | None]:
    """Return the probabilities and the column of predictions, one of which there has to be.

    Raises:
        UsageError: There is neither.
        DataError: A cell holds something else.
    """
    scores = scores_of(table, rows, classes, given)
    taken = [column_of(table, given)]
    if scores is not None:
        return scores, columns.find(table, "prediction", usual, given, taken)
    try:
        return None, columns.need(table, "prediction", usual, given, taken)
    except UsageError as error:
        raise UsageError(
            f"{error}; probabilities stand in a column scores, {{class: number}} in each row, or "
            f"in columns p:CLASS"
        ) from None


def _order(table: Table, classes: Sequence[str]) -> list[int]:
    """Return where each class stands in a row of a matrix."""
    if not table.extras or "classes" not in table.extras:
        return list(range(len(classes)))
    place = {label: k for k, label in enumerate(_listed_classes(table))}
    return [place[label] for label in classes]


def _listed_classes(table: Table) -> list[str]:
    return [str(label) for label in (table.extras or {}).get("classes", ())]


def _of_columns(table: Table, names: Sequence[str | None], row: int) -> list[float] | None:
    """Read a row of columns ``p:CLASS``; a class that nobody gave a column has probability 0."""
    found = [0.0 if name is None else number(table, name, row) for name in names]
    numbers = [value for value in found if value is not None]
    if numbers and len(numbers) < len(found):
        empty = next(name for name, value in zip(names, found, strict=True) if value is None)
        raise DataError(f"{table.where(row)}: {empty} is empty: give a number for every class")
    return numbers or None


def _of_cell(table: Table, column: str, row: int, classes: Sequence[str]) -> list[float] | None:
    value = _mapped(table.columns[column][row])
    if is_missing(value):
        return None
    named = _listed_classes(table)
    if isinstance(value, list | tuple) and len(value) == len(named):
        value = dict(zip(named, value, strict=True))
    if isinstance(value, Mapping):
        by_name = {str(key): x for key, x in value.items()}
        stray = [name for name in by_name if name not in classes]
        if stray:
            near = nearest(stray[0], classes)
            offer = f"did you mean {near!r}? " if near else ""
            raise DataError(
                f"{table.where(row)}: {column} names {stray[0]!r}, which is no class: {offer}the "
                f"classes, as the first row names them, are {some(classes)}"
            )
        lacking = [label for label in classes if label not in by_name]
        if lacking:
            raise DataError(
                f"{table.where(row)}: {column} has no {lacking[0]!r}: give a number for every "
                f"class, 0 where it is none; the classes are {some(classes)}"
            )
        value = [by_name[label] for label in classes]
    if isinstance(value, int | float) and len(classes) == 2:
        value = [1.0 - value, value]
    if isinstance(value, list | tuple) and len(value) == len(classes):
        try:
            return [float(x) for x in value]
        except (TypeError, ValueError):
            pass
    raise DataError(
        f"{table.where(row)}: {column} is {short(value)}: expected {len(classes)} numbers, or "
        f"a mapping from class to number; the classes are {some(classes)}"
    )


def _mapped(value: Any) -> Any:
    """Return a cell as list, mapping or number, also where a CSV file holds a number as text."""
    value = parsed(value)
    try:
        return float(value) if isinstance(value, str) and value else value
    except ValueError:
        return value


def some(labels: Iterable[str]) -> str:
    """Return the first few of many classes."""
    listed = list(dict.fromkeys(labels))
    return ", ".join(listed[:6]) + (", ..." if len(listed) > 6 else "")
