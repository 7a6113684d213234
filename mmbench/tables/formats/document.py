"""A JSON document: which of several layouts it has is told by its content.

- a list of rows, ``[{"image_id": 1, "caption": "a dog"}, ...]``, as COCO's results are;
- such a list under one key, ``{"annotations": [...]}``;
- COCO's annotations and Karpathy's captions (`coco`, `karpathy`);
- columns, ``{"id": [...], "prediction": [...]}``;
- a mapping from id to a value, ``{"clip7": "a dog barks"}``, or to a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmbench.errors import DataError
from mmbench.tables.columns import IDS
from mmbench.tables.formats import coco, karpathy
from mmbench.tables.formats._content import bytes_of
from mmbench.tables.formats._json import decode
from mmbench.tables.table import Place, Table, from_rows

#: Keys under which others keep their list of rows.
_LISTS = ("annotations", "predictions", "references", "results", "items", "data", "rows")
#: What the value of a mapping is called.
VALUE = "value"


def read(path: Path) -> Table:
    """Read a JSON document of any of the layouts above.

    Raises:
        DataError: The file cannot be read, is broken, or has another layout.
    """
    content = decode(bytes_of(path), path)
    if karpathy.recognise(content):
        return karpathy.read(content, path)
    if coco.recognise(content):
        return coco.read(content, path)
    if isinstance(content, list):
        return _of_list(content, path, "")
    if isinstance(content, dict) and content:
        return _of_mapping(content, path)
    raise DataError(f"{path}: {_EXPECTED}, got {'nothing' if content == {} else type_of(content)}")


_EXPECTED = 'expected a list of rows, [{"id": ..., "prediction": ...}], or {id: prediction}'


def type_of(value: Any) -> str:
    """Return what JSON calls the type of a value."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "a boolean"
    names: dict[type[Any], str] = {str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _of_list(rows: Sequence[Any], path: Path, key: str) -> Table:
    def place(row: int) -> str:
        return f": {key}[{row}]"

    if not rows:
        raise DataError(f"{path}: {key or 'the list'} is empty")
    for k, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{path}{place(k)}: expected an object, got {type_of(row)}")
    return from_rows(str(path), rows, place)


def _of_mapping(content: Mapping[str, Any], path: Path) -> Table:
    for key in _LISTS:
        rows = content.get(key)
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            return _of_list(rows, path, key)
    columns = _columns(content)
    if columns is not None:
        return Table(str(path), columns)
    names = list(content)

    def place(row: int) -> str:
        return f": {names[row]!r}"

    return of_mapping(content, str(path), place)


def _columns(content: Mapping[str, Any]) -> Mapping[str, list[Any]] | None:
    """Return the content if it is columns: lists of one length, one of them called as ids are."""
    lists = {key: value for key, value in content.items() if isinstance(value, list)}
    if len(lists) == len(content) and len({len(v) for v in lists.values()}) == 1:
        return lists if any(key.lower() in IDS for key in lists) else None
    return None


def of_mapping(content: Mapping[Any, Any], source: str, place: Place) -> Table:
    """Return a table of id -> value, or of id -> row.

    Raises:
        DataError: Some values are rows and others are not.
    """
    rows = [isinstance(value, Mapping) for value in content.values()]
    if not any(rows):
        columns = {"id": list(content), VALUE: list(content.values())}
        return Table(source, columns, place)
    if not all(rows):
        odd = rows.index(False)
        raise DataError(f"{source}{place(odd)}: expected an object, as the others are")
    found = from_rows(source, list(content.values()), place)
    return Table(source, {**found.columns, "id": list(content)}, place)
