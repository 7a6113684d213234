"""Writes the task of a manifest after looking at it: what each column is, by its name and content.

Nothing is asked. What was guessed is told, and what to check; the TOML has it all in plain sight.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mmbench import catalog
from mmbench.data.manifest import table as _table
from mmbench.draft import _together
from mmbench.draft._looks import look
from mmbench.draft._toml import spelled
from mmbench.errors import DataError
from mmbench.spec import parse_task


@dataclass(frozen=True)
class Draft:
    """A task's TOML, and what its author should know.

    Attributes:
        text: The TOML.
        notes: What was guessed, and what to check; lines.
    """

    text: str
    notes: tuple[str, ...]


def draft(file: Path, name: str) -> Draft:
    """Look at a manifest and write its task.

    Args:
        file: The manifest; paths in it are relative to its folder.
        name: The task's.

    Raises:
        DataError: It cannot be read.
        UsageError: No column can be what is right, or what is given.
    """
    table = _table.read(file)
    columns = [look(table, column, file) for column in table.columns]
    _together.settle(table, columns)
    params, notes = _together.params(table, columns, file)
    try:
        text = spelled(table, columns, params, name)
    except DataError:
        if "group" not in params:
            raise
        group = params.pop("group")
        text = spelled(table, columns, params, name)
        notes = [note for note in notes if not note.startswith("all items of one")]
        notes.append(f"{group} has too few values to draw splits by: they cross splits")
    parse_task(tomllib.loads(text), f"{name}.toml")
    notes = [*_together.told(columns), *notes]
    return Draft(text, tuple(notes))


def task_name(file: Path) -> str:
    """Return a name for the task of a manifest, that nothing has yet."""
    plain = re.sub(r"[^a-z0-9]+", "_", file.stem.lower()).strip("_")[:28].strip("_") or "own"
    return f"own_{plain}" if plain in catalog.task_names() else plain
