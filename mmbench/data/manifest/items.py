"""Rows to items: who is called how, and is in which split; what is wrong with which row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmbench.data._contract import Request
from mmbench.data.manifest import cells, rule
from mmbench.data.manifest.params import Params
from mmbench.data.manifest.table import Table
from mmbench.errors import DataError


@dataclass(frozen=True)
class Row:
    """One item: its place in the table, and its name."""

    place: int
    id: str


@dataclass
class Items:
    """The rows of each split, and what is wrong with any.

    Attributes:
        table: Where they stand.
        splits: Split, in one order whatever the TOML's -> its rows, in the file's order.
        faults: Place in the table -> why that item cannot be used; the first reason counts.
    """

    table: Table
    splits: dict[str, list[Row]]
    faults: dict[int, str] = field(default_factory=dict)

    def blame(self, row: Row, column: str, why: str) -> None:
        """Take note that an item is bad."""
        if row.place not in self.faults:
            where = f"{self.table.unit} {self.table.places[row.place]} (id {row.id!r})"
            self.faults[row.place] = f"{where}: {column}: {why}"

    def refuse(self) -> None:
        """Raise for the first bad row, if there is any.

        Raises:
            DataError: It names the row, and says how many more there are.
        """
        if not self.faults:
            return
        first = self.faults[min(self.faults)]
        more = len(self.faults) - 1
        also = f" ({more} more are bad; 'mmbench data check' names them)" if more else ""
        raise DataError(f"{self.table.file}: {first}{also}: mend it, or --skip-bad leaves it out")


def arrange(table: Table, request: Request, params: Params) -> Items:
    """Sort the rows into the task's splits.

    Raises:
        DataError: A column is missing, or splits are not those of the task.
    """
    for column, asked in _asked(request, params):
        table.check(column, asked)
    rows = [Row(place, _id(table, place, params.id)) for place in range(len(table))]
    if params.split:
        told = [params.names.get(split, split) for split in _told(table, params)]
    else:
        told = _drawn(table, rows, params.shares, request.seed, params)
    if params.validation:
        _set_apart(table, rows, told, request.seed, params)
    items = Items(table, {name: [] for name in sorted(request.splits)})
    for row, split in zip(rows, told, strict=True):
        if not split:
            continue
        if split not in items.splits:
            known = ", ".join(request.splits)
            raise DataError(
                f"{table.where(row.place)}: the split {split!r} is none of the task's, {known}: "
                f"name it in [splits], or in dataset.params.names what it is called there"
            )
        items.splits[split].append(row)
    _check_ids(items, params)
    return items


def _asked(request: Request, params: Params) -> list[tuple[str, str]]:
    """Return the columns that are needed, each with who needs it."""
    found = [(params.id, "dataset.params.id")] if params.id else []
    for key in ("split", "group", "cluster"):
        if getattr(params, key):
            found.append((getattr(params, key), f"dataset.params.{key}"))
    found += [(column, "dataset.params.groups") for column in params.groups]
    for name in request.modalities:
        found += [(column, f"modality {name}") for column in columns_of(name, params)]
    return found + [(target_column(name, params), f"output {name}") for name in request.outputs]


def columns_of(modality: str, params: Params) -> tuple[str, ...]:
    """Return the column of a modality, or its several."""
    source = params.modalities.get(modality)
    told = source.column if source is not None else ""
    if isinstance(told, tuple):
        return told
    return (told or modality,)


def target_column(output: str, params: Params) -> str:
    """Return the column of an output."""
    target = params.targets.get(output)
    return (target.column if target is not None else "") or output


def _id(table: Table, place: int, column: str) -> str:
    if not column:
        return f"{table.unit} {table.places[place]}"
    cell = table.rows[place].get(column)
    return str(cell).strip() if isinstance(cell, str | int) and not isinstance(cell, bool) else ""


def _check_ids(items: Items, params: Params) -> None:
    first: dict[str, Row] = {}
    every = sorted((row for rows in items.splits.values() for row in rows), key=lambda r: r.place)
    for row in every:
        if not row.id:
            cell = items.table.rows[row.place].get(params.id)
            items.blame(row, params.id, f"{cells.shown(cell)} is no id: expected text or a number")
        elif row.id in first:
            before = items.table.places[first[row.id].place]
            items.blame(row, params.id, f"stands at {items.table.unit} {before} already")
        else:
            first[row.id] = row


def _told(table: Table, params: Params) -> list[str]:
    """Return what the column of splits says; one name in two spellings is refused."""
    found: list[str] = []
    spellings: dict[str, tuple[str, int]] = {}
    for place, row in enumerate(table.rows):
        cell = row.get(params.split)
        if not isinstance(cell, str) or not cell.strip():
            raise DataError(
                f"{table.where(place)}: {params.split}: {cells.shown(cell)} names no split"
            )
        plain = cell.strip().lower()
        before = spellings.setdefault(plain, (cell, place))
        if before[0] != cell:
            raise DataError(
                f"{table.where(place)}: the split {cell!r} is called {before[0]!r} at "
                f"{table.unit} {table.places[before[1]]}: a split has one name"
            )
        found.append(cell)
    return found


def _set_apart(
    table: Table, rows: Sequence[Row], told: list[str], seed: int, params: Params
) -> None:
    """Turn a share of the training items into those that validate."""
    if "val" in told:
        raise DataError(
            f"{table.file}: has a split val already: dataset.params.validation is for files that "
            f"know only train and test"
        )
    training = [row for row in rows if told[row.place] == "train"]
    shares = {"train": 1.0 - params.validation, "val": params.validation}
    for row, split in zip(
        training, _drawn(table, training, shares, seed, params) if training else [], strict=True
    ):
        told[row.place] = split


def _drawn(
    table: Table,
    rows: Sequence[Row],
    shares: Mapping[str, float],
    seed: int,
    params: Params,
) -> list[str]:
    units = [row.id or f"row {row.place}" for row in rows]
    if params.group:
        units = [str(own) for own in grouped(table, rows, params.group)]
    found = rule.assign(units, shares, seed)
    if found is None:
        what = f"{len(set(units))} values of {params.group!r}" if params.group else "items"
        raise DataError(
            f"{table.file}: {what} are too few, or too unequal, for the shares "
            f"{', '.join(f'{k} {v:g}' for k, v in shares.items())}"
            + (
                ": without dataset.params.group each item is drawn by itself"
                if params.group
                else ""
            )
        )
    return found


def grouped(table: Table, rows: Sequence[Row], column: str) -> list[Any]:
    """Return what each item has in a column that groups items, without blanks around it.

    Raises:
        DataError: A cell is blank, or one group is spelled in two ways: what belongs together
            cannot be told.
    """
    found: list[Any] = []
    spellings: dict[str, tuple[str, int]] = {}
    for row in rows:
        cell = table.rows[row.place].get(column)
        if cells.blank(cell):
            raise DataError(f"{table.where(row.place)}: {column}: is blank: every item needs one")
        if isinstance(cell, str):
            cell = cell.strip()
            known, place = spellings.setdefault(cell.lower(), (cell, row.place))
            if known != cell:
                raise DataError(
                    f"{table.where(row.place)}: {column}: {cell!r} is called {known!r} at "
                    f"{table.unit} {table.places[place]}: a group has one name"
                )
        found.append(cell)
    return found
