"""Columns that say to which group, or to which cluster, each item belongs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmbench.errors import DataError, UsageError
from mmbench.tables import cells, columns
from mmbench.tables.cells import is_missing, short
from mmbench.tables.table import Table

#: Numbers of more different values than this are put into quarters.
DISTINCT = 12
#: Groups that one column may have.
MOST = 50
#: Columns whose values are no property of an item.
_TAKEN = {*columns.IDS, *(name for names in columns.ROLES.values() for name in names), "split"}
_TAKEN |= {"caption", "text", "label", "class", "value", "score", "annotation_id"}


def of_items(table: Table, column: str, rows: Sequence[Sequence[int]]) -> list[Any]:
    """Return the value of a column for each item.

    Args:
        table: The table.
        column: One of its columns.
        rows: For each item, its rows; an item without any has the value None.

    Raises:
        DataError: The rows of one item differ.
    """
    values = table.columns[column]
    found = []
    for own in rows:
        first = values[own[0]] if len(own) else None
        for row in own[1:]:
            if values[row] != first:
                raise DataError(
                    f"{table.where(row)}: {column} is {values[row]!r}, but in another row of the "
                    f"same item it is {first!r}"
                )
        found.append(first)
    return found


def labelled(values: Sequence[Any], column: str) -> list[str]:
    """Return the group of each item as text.

    Numbers of many different values are put into four groups of about equal size, ``1 to 3.5``;
    a missing value is the group ``(none)``.

    Raises:
        UsageError: There are too many groups, or lists of them.
    """
    plain = [cells.plain(value) for value in values]
    for value in plain:
        if isinstance(value, list | tuple | dict | set):
            raise UsageError(f"--by {column}: holds {short(value)}: expected one value an item")
    there = [value for value in plain if not is_missing(value)]
    numbers = [_number(value) for value in there]
    if len(set(there)) > DISTINCT and None not in numbers:
        return _quarters(plain, [x for x in numbers if x is not None])
    if len(set(map(str, there))) > MOST:
        raise UsageError(
            f"--by {column}: has {len(set(map(str, there))):,} different values: expected at most "
            f"{MOST} groups, or numbers, which are put into quarters"
        )
    return [_shown(value) for value in plain]


def are_groups(name: str, values: Sequence[Any]) -> bool:
    """Whether a column looks as if it told groups: few values, and no name that has a role."""
    if name.lower() in _TAKEN or name.startswith("p:") or hasattr(values, "ndim"):
        return False
    plain = [value for value in values if isinstance(value, str | int | bool)]
    distinct = set(plain) if len(plain) == len(values) else set()
    return 2 <= len(distinct) <= min(MOST, len(values) // 2)


def in_order(labels: Sequence[str]) -> list[str]:
    """Return the distinct groups: numbers by size, others by name, ``(none)`` last."""

    def key(label: str) -> tuple[int, float, str]:
        number = _number(label.partition(" to ")[0])
        return (2, 0, "") if label == _NONE else (number is None, number or 0.0, label)

    return sorted(set(labels), key=key)


_NONE = "(none)"


def _shown(value: Any) -> str:
    if is_missing(value):
        return _NONE
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> float | None:
    """Return a number, also one that a CSV file holds as text; None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _quarters(values: Sequence[Any], numbers: Sequence[float]) -> list[str]:
    """Return for each value the range of its quarter; equal values are in the same one."""
    order = sorted(numbers)
    cuts = sorted({order[len(order) * k // 4] for k in (1, 2, 3)} - {order[0]})
    edges = [order[0], *cuts]
    ends = [max(x for x in order if x < cut) for cut in cuts] + [order[-1]]
    names = [f"{low:g} to {high:g}" for low, high in zip(edges, ends, strict=True)]
    found = []
    for value in values:
        number = _number(value)
        inside = number is not None and number == number
        place = sum(number >= cut for cut in cuts) if number is not None and inside else -1
        found.append(names[place] if inside else _NONE)
    return found
