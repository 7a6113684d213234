"""Plain text: a text a line, in the order of the other side, as translations are passed on."""

from __future__ import annotations

from pathlib import Path

from mmbench.tables.formats._content import text_of
from mmbench.tables.table import Table


def read(path: Path) -> Table:
    """Read one column, ``text``; a blank line is an empty text, and there are no ids.

    Raises:
        DataError: The file cannot be read.
    """
    lines = text_of(path).split("\n")
    if not lines[-1]:  # the last line's own end
        lines.pop()
    texts = [line.removesuffix("\r") for line in lines]
    return Table(str(path), {"text": texts}, lambda row: f":{row + 1}", ordered=True)
