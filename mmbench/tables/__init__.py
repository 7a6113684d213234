"""Predictions and references that people bring: files, or objects in memory, read as tables.

`read` knows a file's format by its name; ``formats`` has one file each. `columns` finds out which
column is what, ``kinds`` (one file a kind of output) turns columns into what scoring compares, and
`pairs` puts the rows of two tables beside each other.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path

from mmbench.errors import DataError
from mmbench.tables.table import Table

__all__ = ["FORMATS", "Table", "of_split", "read"]

#: A file's suffix -> the module in ``formats`` that reads it.
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "document",
    ".csv": "separated",
    ".tsv": "separated",
    ".parquet": "parquet",
    ".trn": "trn",
    ".txt": "lines",
    ".npy": "arrays",
    ".npz": "arrays",
}


def read(path: Path) -> Table:
    """Read a file as a table; only the format that it needs is imported.

    Raises:
        DataError: The file is missing, a folder, of an unknown format, broken, or without a row:
            one line that names it and, where it has lines, the line.
    """
    name = FORMATS.get(path.suffix.lower())
    if path.is_dir():
        raise DataError(f"{path}: is a folder: name a file in it")
    if name is None:
        raise DataError(
            f"{path}: cannot tell its format: expected a name that ends in {', '.join(FORMATS)}"
        )
    table: Table = importlib.import_module(f"mmbench.tables.formats.{name}").read(path)
    if not len(table):
        raise DataError(f"{path}: holds no row")
    return replace(table, digest=hashlib.sha256(path.read_bytes()).hexdigest())


def of_split(table: Table, split: str | None) -> Table:
    """Return the rows whose column ``split`` says so; all of them where there is no such column.

    The predictions of one split need not say which it is: whoever asks for one checks that the
    column is somewhere.

    Raises:
        DataError: No row is of that split.
    """
    if split is None or "split" not in table.columns:
        return table
    values = table.columns["split"]
    rows = [row for row, value in enumerate(values) if value == split]
    if not rows:
        known = ", ".join(sorted({str(value) for value in values}))
        raise DataError(f"{table.source}: no row is of the split {split!r}; there are: {known}")
    return table if len(rows) == len(values) else table.take(rows)
