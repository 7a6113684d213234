"""NIST ``trn``: the words of an utterance a line, and its id in parentheses behind them.

As ``sclite`` reads it: ``the cat sat (spk1-utt7)``. The speaker is what stands before the first
``-`` or ``_`` of an id and becomes the column ``speaker``, for ``--cluster`` and ``--by``. Lines
that begin with ``;;`` are comments. Alternatives, ``{ a / b }``, are refused: which of them was
said would have to be decided while aligning.
"""

from __future__ import annotations

import re
from pathlib import Path

from mmbench.errors import DataError
from mmbench.tables.formats._content import text_of
from mmbench.tables.table import Table

_LINE = re.compile(r"(.*?)\s*\(([^()\s]+)\)\s*")
_SPEAKER = re.compile(r"([^-_]+)[-_].")
_ALTERNATIVES = re.compile(r"\{[^{}]*/[^{}]*\}")


def read(path: Path) -> Table:
    """Read utterances: columns ``utterance``, ``text`` and, where ids tell it, ``speaker``.

    Raises:
        DataError: The file cannot be read, or a line has no id or has alternatives.
    """
    ids: list[str] = []
    texts: list[str] = []
    lines: list[int] = []
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise DataError(
                f"{path}:{number}: has no id: expected the words and then the id in parentheses, "
                f"'the cat sat (spk1-utt7)'"
            )
        if _ALTERNATIVES.search(found[1]):
            raise DataError(f"{path}:{number}: alternatives {{ a / b }} are not read: keep one")
        texts.append(found[1].strip())
        ids.append(found[2])
        lines.append(number)
    columns: dict[str, list[str]] = {"utterance": ids, "text": texts}
    speakers = [_SPEAKER.match(name) for name in ids]
    if all(speakers):
        columns["speaker"] = [match[1] for match in speakers if match is not None]
    return Table(str(path), columns, lambda row: f":{lines[row]}")
