"""What a column of a manifest seems to be, and how long what it holds may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmbench.text import tokenize

#: Words of a text that a drafted task takes at most.
LONGEST = 256
#: Characters of a text that a manifest allows if its TOML says nothing.
CHARACTERS = 2000


@dataclass
class Column:
    """What a column seems to be.

    Attributes:
        name: Its name.
        role: ``id``, ``split``, ``group``, ``modality``, ``output``, ``subgroup`` or ``unused``.
        kind: Of a modality or an output.
        shape: Of a modality.
        keys: What stands in its table in the TOML beside the column.
        classes: Of an output.
        blanks: How many cells are blank.
        why: What it was told by.
    """

    name: str
    role: str = "unused"
    kind: str = ""
    shape: tuple[int, ...] = ()
    keys: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    blanks: int = 0
    why: str = ""


def words(texts: Sequence[str]) -> int:
    """Return how many words the longest text has, one at least."""
    return max(1, *map(len, tokenize(list(texts))))


def limit(column: Column, texts: Sequence[str]) -> None:
    """Say how long texts that are learned may be, and that longer ones are cut."""
    most = words(texts)
    column.keys["max_length"] = min(most + 1, LONGEST)
    if most + 1 > LONGEST:
        column.keys["cut"] = True
        column.why += f" of up to {most} words, learned up to word {LONGEST - 1}"
    if max(map(len, texts)) > CHARACTERS:
        column.keys["longest"] = max(map(len, texts))
