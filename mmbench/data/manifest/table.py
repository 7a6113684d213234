"""Files of rows: JSONL, CSV, TSV, Parquet, and folders that ``datasets.save_to_disk`` wrote."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbench.data._cache import source_digest
from mmbench.errors import DataError, MissingExtraError, nearest

#: Characters of one cell of a CSV file at most.
LONGEST_CELL = 10_000_000


@dataclass(frozen=True)
class Table:
    """Rows of named cells.

    Attributes:
        file: Where they stand.
        columns: The names of all columns, in the file's order.
        rows: Row by row, column -> cell; a column that a row lacks has no key.
        unit: What a place is called: ``line`` or ``row``.
        places: [N] the line or row of each, from 1.
    """

    file: Path
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    unit: str
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, row: int) -> str:
        """Return what to call a row in an error: ``items.jsonl: line 7``."""
        return f"{self.file}: {self.unit} {self.places[row]}"

    def check(self, column: str, asked: str) -> None:
        """Refuse a column that is not there; `asked` says who wants it."""
        if column not in self.columns:
            near = nearest(column, self.columns)
            offer = f"did you mean {near!r}? " if near else ""
            known = ", ".join(self.columns[:20])
            raise DataError(
                f"{self.file}: has no column {column!r} ({asked}): {offer}it has {known}"
            )


def read(file: Path) -> Table:
    """Read a manifest.

    Raises:
        DataError: It is missing, broken, empty or of no known kind: one line that names the row.
        MissingExtraError: It is a dataset folder, and ``datasets`` is not installed.
    """
    if file.is_dir():
        found = _folder(file)
    elif file.suffix.lower() not in _READERS:
        known = ", ".join(_READERS)
        raise DataError(f"{file}: expected a manifest with one of the endings {known}, or a folder")
    else:
        try:
            found = _READERS[file.suffix.lower()](file)
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: is not UTF-8 text: byte {error.start}") from None
    if not found.rows:
        raise DataError(f"{file}: holds no row")
    return found


def digest(file: Path) -> str:
    """Return a digest of a manifest; of a dataset folder, of its descriptions and files' sizes."""
    if not file.is_dir():
        return source_digest(file)
    told = sorted(file.rglob("*.json"))
    sizes = [f"{p.relative_to(file)} {p.stat().st_size}" for p in sorted(file.rglob("*.arrow"))]
    return f"{source_digest(*told)} {' '.join(sizes)}"


def _jsonl(file: Path) -> Table:
    rows: list[Mapping[str, Any]] = []
    places: list[int] = []
    columns: dict[str, None] = {}
    with file.open(encoding="utf-8-sig") as opened:
        for number, line in enumerate(opened, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_once, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                why = str(error) or "is nested too deeply"
                raise DataError(f"{file}: line {number}: is not JSON: {why}") from None
            if not isinstance(row, dict):
                raise DataError(f"{file}: line {number}: expected an object, {{...}}")
            rows.append(row)
            places.append(number)
            columns |= dict.fromkeys(row)
    return Table(file, tuple(columns), rows, "line", places)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _separated(separator: str) -> Callable[[Path], Table]:
    def read_rows(file: Path) -> Table:
        csv.field_size_limit(LONGEST_CELL)
        rows: list[Mapping[str, Any]] = []
        places: list[int] = []
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, delimiter=separator, strict=True)
            try:
                head = next(reader, [])
                for other in (";", "\t", "|"):
                    if len(head) == 1 and other in head[0]:
                        raise DataError(
                            f"{file}: line 1: its cells seem to be separated by {other!r}, "
                            f"expected {separator!r}"
                        )
                if len(set(head)) < len(head) or not all(head):
                    twice = next((c for c in head if head.count(c) > 1), "")
                    raise DataError(f"{file}: the first line names the column {twice!r} twice")
                behind = reader.line_num
                for cells in reader:
                    # A cell may hold line ends: a row is called by the line that it begins on.
                    number, behind = behind + 1, reader.line_num
                    if not cells:
                        continue
                    if len(cells) != len(head):
                        raise DataError(
                            f"{file}: line {number}: has {len(cells)} cells, and the first line "
                            f"names {len(head)} columns"
                        )
                    rows.append(dict(zip(head, cells, strict=True)))
                    places.append(number)
            except csv.Error as error:
                raise DataError(f"{file}: line {reader.line_num}: {error}") from None
        return Table(file, tuple(head), rows, "line", places)

    return read_rows


def _parquet(file: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        found = pyarrow.parquet.read_table(file)
        rows = found.to_pylist()
    except (pyarrow.ArrowException, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: is not a whole Parquet file: {why}") from None
    names = tuple(found.column_names)
    if len(set(names)) < len(names):
        raise DataError(f"{file}: has two columns of one name")
    return Table(file, names, rows, "row", range(1, len(rows) + 1))


def _folder(folder: Path) -> Table:
    """Read what ``datasets.save_to_disk`` wrote; of several splits, each row knows its own."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise MissingExtraError("datasets, which reads dataset folders,", "media") from None
    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(
            f"{folder}: is not a folder that datasets.save_to_disk wrote: {why}"
        ) from None
    parts = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
    rows: list[Mapping[str, Any]] = []
    columns: dict[str, None] = {}
    for split, part in parts.items():
        columns |= dict.fromkeys(part.column_names)
        if split and "split" in part.column_names:
            raise DataError(
                f"{folder}: has splits of its own and a column 'split' too: rename the column"
            )
        rows += [{**row, "split": split} if split else row for row in _named(part)]
    if "" not in parts:
        columns["split"] = None
    return Table(folder, tuple(columns), rows, "row", range(1, len(rows) + 1))


def _named(part: Any) -> list[dict[str, Any]]:
    """Return rows whose classes have their names, and whose media are still encoded."""
    import datasets

    names: dict[str, list[str]] = {}
    for column, feature in part.features.items():
        inside = getattr(feature, "feature", feature)  # of a list of classes
        if isinstance(feature, list) and len(feature) == 1:
            inside = feature[0]
        if isinstance(inside, datasets.ClassLabel):
            names[column] = list(inside.names)
        elif isinstance(feature, datasets.Image | datasets.Audio):
            part = part.cast_column(column, type(feature)(decode=False))
    return [
        {
            column: _class_of(cell, names[column]) if column in names else cell
            for column, cell in row.items()
        }
        for row in part.with_format(None)
    ]


def _class_of(cell: Any, names: Sequence[str]) -> Any:
    if isinstance(cell, list):
        return [_class_of(one, names) for one in cell]
    return None if cell in (None, -1) else names[cell]  # -1 is what is not known


_READERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": _jsonl,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
