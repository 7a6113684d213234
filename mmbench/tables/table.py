"""A small table of what somebody predicted, or of what is right; each row knows where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

#: Says where a row stands, behind the table's own name: ``:17``.
Place = Callable[[int], str]


def rows_from_one(row: int) -> str:
    """Return the place of a row in a table that has no lines."""
    return f": row {row + 1}"


@dataclass(frozen=True)
class Table:
    """N rows and their columns.

    Attributes:
        source: What messages call it: a file's path, or what an object is, ``predictions``.
        columns: Name -> N values, a list or an array; None where a row has none.
        place: From a row to where it stands in the source: a line, an element, a row.
        ordered: Its rows can only be told apart by their order, as in a list or an array.
        digest: SHA-256 of the file; empty for an object in memory.
        extras: Arrays that are no column, by name: those of an ``.npz`` of another length.
    """

    source: str
    columns: Mapping[str, Any]
    place: Place = rows_from_one
    ordered: bool = False
    digest: str = ""
    extras: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def where(self, row: int) -> str:
        """Return source and place of a row: ``predictions.jsonl:17``."""
        return f"{self.source}{self.place(row)}"

    def take(self, rows: Sequence[int]) -> Table:
        """Return some rows, in that order; they still know where they stand."""
        kept, place = list(rows), self.place
        columns = {name: [values[i] for i in kept] for name, values in self.columns.items()}
        return replace(self, columns=columns, place=lambda row: place(kept[row]))


def from_rows(
    source: str, rows: Sequence[Mapping[str, Any]], place: Place = rows_from_one
) -> Table:
    """Make a table of rows that may lack columns; columns come in the order of appearance."""
    names: Iterable[str] = dict.fromkeys(chain.from_iterable(rows))
    return Table(source, {str(name): [row.get(name) for row in rows] for name in names}, place)
