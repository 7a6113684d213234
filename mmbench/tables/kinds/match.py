"""Retrieval: queries that look for entries of a gallery.

Right answers come in one of two ways. A column ``relevant`` lists for each query its gallery
entries, by number (0 is the first) or by name; so does a column of references that holds whole
numbers. Without such a column every text of the references is a gallery entry, in the file's
order, and right for the item that it belongs to: five captions an image are five entries, as in
COCO's annotations and in Karpathy's file.

Predictions come in one of three: ``scores`` [N, M], similarities, which may also be the only array
of an ``.npy``; ``embedding`` [N, D] beside ``gallery`` [M, D]; or ``ranking``, for each query the
gallery entries that it finds, best first. ``gallery_ids`` names the entries of arrays; entries
without names are numbered. A name that only rankings mention is an entry that is right for nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmbench.errors import DataError, UsageError
from mmbench.references import MatchReferences, References
from mmbench.tables import columns
from mmbench.tables.cells import parsed, short
from mmbench.tables.formats.arrays import MATRIX
from mmbench.tables.kinds import Answers
from mmbench.tables.pairs import single
from mmbench.tables.table import Table

#: What columns are called, the usual name first.
RELEVANT = ("relevant", "matches", "positives")
SCORES = ("scores", "similarity", "similarities", MATRIX)
EMBEDDING = ("embedding", "embeddings", "query", "queries")
RANKING = ("ranking", "rankings", "retrieved", "prediction", "predictions")
GALLERY, GALLERY_IDS = "gallery", "gallery_ids"
USUAL = (*RELEVANT, *SCORES, *EMBEDDING, *RANKING)


@dataclass(frozen=True)
class NamedMatch(MatchReferences):
    """Right answers whose gallery entries have names.

    Attributes:
        names: The M names, in the order of the entries' numbers.
    """

    names: tuple[str, ...] = ()


def truth(
    references: Table,
    rows: Sequence[Sequence[int]],
    predictions: Table,
    given: Mapping[str, str],
) -> MatchReferences:
    """Return the right answers of each query.

    Raises:
        DataError: A right answer is no entry of the gallery.
    """
    column, read = _first(references, "reference", RELEVANT, given), _listed
    if column is not None and _gallery_size(predictions) is not None and not _named(predictions):
        cells = references.columns[column]
        if all(_whole(cell) is not None for cell in cells):
            read = _numbers  # as a CSV file writes them
    if column is None:
        column, read = _by_number(references, given), _numbers
    if column is None:
        return _entries(references, rows)
    own = single(references, rows)
    listed = [read(references, column, row) for row in own]
    ranked = _rankings(predictions, given)
    names = _names(predictions, [*listed, *ranked])
    if names is None:
        numbered = (number for own in [*listed, *ranked] for number in own)
        size = _gallery_size(predictions) or 1 + max(numbered, default=-1)
    else:
        size = len(names)
    place = {name: k for k, name in enumerate(range(size) if names is None else names)}
    relevant = [
        tuple(_places(found, place, names, f"{references.where(row)}: {column}"))
        for found, row in zip(listed, own, strict=True)
    ]
    if names is None:
        return MatchReferences(relevant, size)
    return NamedMatch(relevant, size, names)


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return similarities, embeddings or rankings, as the metrics of retrieval read them.

    Raises:
        UsageError: The table has none of them.
        DataError: A ranking names what is no entry of the gallery.
    """
    assert isinstance(truth, MatchReferences)
    nothing: list[Any] = [None] * len(rows)
    scores = _first(predictions, "scores", SCORES, given)
    if scores is not None:
        return Answers(nothing, {"scores": _taken(predictions.columns[scores], rows)})
    embedding = _first(predictions, "embedding", EMBEDDING, given)
    if embedding is not None:
        found = {"embedding": _taken(predictions.columns[embedding], rows)}
        gallery = (predictions.extras or {}).get(GALLERY, predictions.columns.get(GALLERY))
        return Answers(nothing, found if gallery is None else {**found, GALLERY: gallery})
    ranking = _first(predictions, "prediction", RANKING, given)
    if ranking is None:
        raise UsageError(
            f"{predictions.source}: has no column scores, embedding or ranking (it has: "
            f"{', '.join(predictions.columns)}): retrieval needs one of them"
        )
    names: Any = truth.names if isinstance(truth, NamedMatch) else range(truth.gallery)
    place = {name: k for k, name in enumerate(names)}
    values = [None if row is None else _ranked(predictions, ranking, row, place) for row in rows]
    return Answers(values, {})


def _first(table: Table, role: str, names: Sequence[str], given: Mapping[str, str]) -> str | None:
    if role in given and given[role] in table.columns:
        return given[role]
    return columns.of_names(table, names)


def _by_number(references: Table, given: Mapping[str, str]) -> str | None:
    """Return a column of references that lists gallery entries by number, None where none does.

    Whole numbers are no texts: they say which entries are right, whatever the column is called.
    Beside other columns it has to be called a reference: a class is a whole number too.
    """
    rest = [name for name in references.columns if name != columns.id_column(references, given)]
    named = [name for name in rest if name.lower() in columns.ROLES["reference"]]
    for name in named or (rest if len(rest) == 1 else ()):
        if all(_whole(cell) is not None for cell in references.columns[name]):
            return name
    return None


def _numbers(table: Table, column: str, row: int) -> list[Any]:
    return _whole(table.columns[column][row]) or []


def _whole(cell: Any) -> list[int] | None:
    """Return the whole numbers of a cell, None where it holds anything else."""
    cell = parsed(cell)
    if isinstance(cell, str) and cell.strip().isdecimal():
        return [int(cell)]
    cells = cell if isinstance(cell, list | tuple) else [cell]
    whole = [
        int(x)
        for x in cells
        if (isinstance(x, int) and not isinstance(x, bool))
        or (isinstance(x, float) and x.is_integer())
    ]
    return whole if len(whole) == len(cells) else None


def _entries(references: Table, rows: Sequence[Sequence[int]]) -> MatchReferences:
    """Make an entry of every row, or of every text of a cell that lists several."""
    cells = references.columns.get("references")
    sizes = [1] * len(references)
    if cells is not None:
        sizes = [len(cell) if isinstance(cell, list | tuple) else 1 for cell in cells]
    begin = np.cumsum([0, *sizes]).tolist()
    relevant = [
        tuple(entry for row in own for entry in range(begin[row], begin[row + 1])) for own in rows
    ]
    return MatchReferences(relevant, begin[-1])


def _listed(table: Table, column: str, row: int) -> list[Any]:
    """Return what a cell lists: all numbers, or all names.

    Raises:
        DataError: It is no list of entries.
    """
    value = parsed(table.columns[column][row])
    if isinstance(value, str | int):
        value = [value]
    alike = isinstance(value, list | tuple) and len({isinstance(x, str) for x in value}) <= 1
    if not alike or not all(isinstance(x, str | int) for x in value):
        raise DataError(
            f"{table.where(row)}: {column} is {short(value)}: expected a list of gallery "
            f"entries, all by number or all by name"
        )
    return list(value)


def _rankings(predictions: Table, given: Mapping[str, str]) -> list[list[Any]]:
    """Return all rankings, for what they say of the gallery."""
    column = _first(predictions, "prediction", RANKING, given)
    values = [] if column is None else predictions.columns[column]
    there = [row for row, value in enumerate(values) if value is not None]
    return [_listed(predictions, str(column), row) for row in there]


def _names(predictions: Table, listed: Sequence[Sequence[Any]]) -> tuple[str, ...] | None:
    """Return the gallery's names, None where its entries are numbered.

    Raises:
        DataError: There is not one name for each column of the similarities.
        UsageError: Entries are named, and nobody says which column is which.
    """
    ids = (predictions.extras or {}).get(GALLERY_IDS, predictions.columns.get(GALLERY_IDS))
    size = _gallery_size(predictions)
    if ids is not None:
        if size not in (None, len(ids)):
            raise DataError(
                f"{predictions.source}: {GALLERY_IDS} has {len(ids):,} names, but the gallery has "
                f"{size:,} entries: expected one name each"
            )
        return tuple(str(name) for name in ids)
    if not any(isinstance(x, str) for own in listed for x in own):
        return None
    if size is not None:
        raise UsageError(
            f"{predictions.source}: right answers are named, and nothing says which of the "
            f"{size:,} entries bears which name: add {GALLERY_IDS}, or list right answers by number"
        )
    return tuple(sorted({str(x) for own in listed for x in own}))


def _named(predictions: Table) -> bool:
    return GALLERY_IDS in {*(predictions.extras or {}), *predictions.columns}


def _gallery_size(predictions: Table) -> int | None:
    """Return how many entries similarities or embeddings are of, None for rankings."""
    gallery: Any = (predictions.extras or {}).get(GALLERY, predictions.columns.get(GALLERY))
    if gallery is not None:
        return len(gallery)
    scores = _first(predictions, "scores", SCORES, {})
    row: Any = None if scores is None else predictions.columns[scores][0]
    return len(row) if hasattr(row, "__len__") else None


def _places(
    found: Sequence[Any], place: Mapping[Any, int], names: Sequence[str] | None, where: str
) -> list[int]:
    keys = found if names is None else [str(x) for x in found]
    for key in keys:
        if key not in place:
            known = f"0 to {len(place) - 1}" if names is None else "those of gallery_ids"
            raise DataError(f"{where} names {key!r}, which is no gallery entry: they are {known}")
    return [place[key] for key in keys]


def _ranked(table: Table, column: str, row: int, place: Mapping[Any, int]) -> list[int] | None:
    if table.columns[column][row] is None:
        return None
    named = any(isinstance(key, str) for key in place)
    keys = _listed(table, column, row)
    where = f"{table.where(row)}: {column}"
    return _places(keys, place, tuple(map(str, place)) if named else None, where)


def _taken(column: Any, rows: Sequence[int | None]) -> Any:
    there = [row for row in rows if row is not None]
    if isinstance(column, np.ndarray) and len(there) == len(rows):
        return column if there == list(range(len(column))) else column[there]
    return [None if row is None else column[row] for row in rows]
