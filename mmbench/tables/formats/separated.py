"""CSV and TSV: a header line, then a row a line; quoted as spreadsheets and pandas do it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mmbench.errors import DataError
from mmbench.tables.formats._content import text_of
from mmbench.tables.table import Table

#: Characters of one field at most. The module's own limit of 131,072 would cut long lists of
#: probabilities short; without any, one lost quotation mark would swallow the rest of a file.
LONGEST_FIELD = 16 * 2**20


def read(path: Path) -> Table:
    """Read a table of texts; its columns are parted by commas, semicolons or tabs.

    Which of them: tabs in a ``.tsv``, else what stands in the header.

    Raises:
        DataError: The file cannot be read, its quotation marks do not match, or a row has more or
            fewer fields than the header.
    """
    text = text_of(path)
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        rows, lines = _rows(text, path)
    finally:
        csv.field_size_limit(before)
    header, *rows = rows
    _check_header(header, path)
    for row, line in zip(rows, lines[1:], strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{path}:{line}: has {len(row)} fields, but the header has {len(header)} "
                f"({', '.join(header)}); a field that holds the separator stands in quotes"
            )
    columns = {name: [row[k] for row in rows] for k, name in enumerate(header)}
    return Table(str(path), columns, lambda row: f":{lines[row + 1]}")


def _rows(text: str, path: Path) -> tuple[list[list[str]], list[int]]:
    """Return the rows, header first, and the line that each begins with; blank lines left out."""
    delimiter = _delimiter(text.partition("\n")[0], path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines, begin = [], [], 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{begin}: the row that begins here is broken: {error}") from None
    return rows, lines


def _delimiter(header: str, path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=header.count)


def _check_header(header: list[str], path: Path) -> None:
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"{path}:1: the column {name!r} is there twice: rename one")
