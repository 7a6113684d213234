"""Rows beside items: which rows of one table belong to which items of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, overload

from mmbench.errors import DataError, counted
from mmbench.tables import columns
from mmbench.tables.table import Table


class OneEach(Sequence[Sequence[int]]):
    """The rows of N items that have one each, in order; a million cost nothing."""

    def __init__(self, items: int) -> None:
        self._rows = range(items)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, item: int) -> Sequence[int]: ...

    @overload
    def __getitem__(self, item: slice) -> Sequence[Sequence[int]]: ...

    def __getitem__(self, item: int | slice) -> Sequence[Any]:
        if isinstance(item, slice):
            return [(row,) for row in self._rows[item]]
        return (self._rows[item],)


class Items(NamedTuple):
    """The items that are to be scored.

    Attributes:
        ids: N names, in the order in which they first appear.
        rows: For each, its rows of the table of references.
        by_order: The ids are those of the predictions, or none: the order says what belongs
            together.
    """

    ids: list[str]
    rows: Sequence[Sequence[int]]
    by_order: bool = False


def items(references: Table, predictions: Table, given: Mapping[str, str]) -> Items:
    """Return the items that are to be scored: each id of the references is one.

    Where neither table has ids, or one of them cannot have any, the order tells what belongs
    together.

    Raises:
        UsageError: One table has ids, and the other should have.
        DataError: A row has no id.
    """
    names = columns.ids(references, given)
    if names is None:
        theirs = columns.ids(predictions, given)
        if theirs is not None and not references.ordered:
            raise columns.needs_ids(references)
        if theirs is None or len(theirs) != len(references):
            theirs = [str(row + 1) for row in range(len(references))]
        return Items(theirs, OneEach(len(references)), by_order=True)
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    return Items(list(found), list(found.values()))


def rows_of(
    predictions: Table,
    items: Items,
    references: str,
    given: Mapping[str, str],
    allow_missing: bool = False,
    hint: str = "",
) -> Sequence[int | None]:
    """Return for each item the row of its prediction, None where there is none.

    Args:
        predictions: The table of predictions.
        items: N items.
        references: What messages call the references.
        given: Role -> the column that was named for it.
        allow_missing: Whether items may lack a prediction.
        hint: What else could help where ids do not match.

    Raises:
        UsageError: The predictions should have ids and have none.
        DataError: An id is missing, unknown, or there twice; or, without ids, the numbers differ.
    """
    names = columns.ids(predictions, given)
    if names is None and not predictions.ordered and not items.by_order:
        raise columns.needs_ids(predictions)
    place = {} if names is None else _once(predictions, names)
    if names is None or items.by_order:
        if len(predictions) != len(items.ids):
            raise DataError(
                f"{predictions.source} has {counted(len(predictions), 'row')}, but {references} "
                f"has {len(items.ids):,}: without ids on both sides the order says what belongs "
                f"together"
            )
        return range(len(items.ids))
    _refuse_unknown(predictions, place, items.ids, references, hint)
    missing = [name for name in items.ids if name not in place]
    if missing and not allow_missing:
        raise DataError(
            f"{predictions.source}: has no prediction for {len(missing):,} of the "
            f"{len(items.ids):,} items of {references} ({some(missing)}); --allow-missing "
            f"(allow_missing=True) counts them as failures{hint}"
        )
    return [place.get(name) for name in items.ids]


def single(table: Table, rows: Sequence[Sequence[int]]) -> Sequence[int]:
    """Return the row of each item, where an item may have one only.

    Raises:
        DataError: One has several.
    """
    if isinstance(rows, OneEach):
        return range(len(rows))
    for own in rows:
        if len(own) > 1:
            raise DataError(
                f"{table.where(own[1])}: a second row for the item of {table.where(own[0])}: "
                f"expected one right answer an item"
            )
    return [own[0] for own in rows]


def some(names: Sequence[str]) -> str:
    """Return the first few of many names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _once(table: Table, names: Sequence[str]) -> dict[str, int]:
    """Return id -> row."""
    found: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in found:
            raise DataError(
                f"{table.where(row)}: a second prediction for {name!r}; the first is at "
                f"{table.where(found[name])}: keep one"
            )
        found[name] = row
    return found


def _refuse_unknown(
    table: Table, place: Mapping[str, int], ids: Sequence[str], references: str, hint: str
) -> None:
    known = set(ids)
    unknown = [name for name in place if name not in known]
    if not unknown:
        return
    where = table.where(place[unknown[0]])
    if len(unknown) == len(place):
        raise DataError(
            f"{where}: none of the ids is known: {unknown[0]!r} here, {ids[0]!r} in {references}; "
            f"--column id=NAME says which column to take"
        )
    more = ""
    if len(unknown) > 1:
        others = len(unknown) - 1
        more = f", nor {'is' if others == 1 else 'are'} {counted(others, 'other')}"
    hint = hint or "; --split NAME takes the rows of one split" * ("split" in table.columns)
    raise DataError(
        f"{where}: the id {unknown[0]!r} is not among those of {references}{more}{hint}"
    )
