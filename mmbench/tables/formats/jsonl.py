"""JSON Lines: an object a line, ``{"id": "clip7", "prediction": "a dog barks"}``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmbench.errors import DataError
from mmbench.tables.formats._content import bytes_of
from mmbench.tables.formats._json import decode
from mmbench.tables.table import Table, from_rows


def read(path: Path) -> Table:
    """Read a file of JSON objects, one a line; blank lines are left out.

    A line may be of any length.

    Raises:
        DataError: The file cannot be read, or a line is broken or no object.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(bytes_of(path).split(b"\n"), 1):
        if not line.strip():
            continue
        row = decode(line, path, number)
        if not isinstance(row, dict):
            raise DataError(
                f"{path}:{number}: expected an object a line, like "
                f'{{"id": "a", "prediction": "..."}}, got {_what(row)}'
            )
        rows.append(row)
        lines.append(number)
    return from_rows(str(path), rows, lambda row: f":{lines[row]}")


def _what(value: Any) -> str:
    if isinstance(value, list):
        return "a list (is the whole file one JSON document? then its name should end in .json)"
    return "a text" if isinstance(value, str) else repr(value)
