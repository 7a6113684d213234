"""What stands in a cell: numbers, classes, texts, and paths that do not lead out of the folder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data import _hdf5
from mmbench.data.manifest.decode import BadItemError
from mmbench.errors import nearest

if TYPE_CHECKING:
    from mmbench.types import Array


def blank(cell: Any) -> bool:
    """Whether nothing stands in a cell."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def shown(cell: Any) -> str:
    """Return a cell for an error, shortened."""
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


def media(cell: Any, bases: Sequence[Path]) -> Path | bytes | _hdf5.Inside:
    """Return the file, the array in an HDF5 file, or the bytes, that a cell stands for.

    Args:
        cell: A path relative to one of the bases, ``FILE.h5#NAME``, bytes, or ``{"bytes": ...,
            "path": ...}``.
        bases: Folders, resolved; the first that holds the file counts.

    Raises:
        BadItemError: It is no path, leads out of the folder, or there is no such file.
    """
    if isinstance(cell, Mapping):
        content = cell.get("bytes")
        cell = content if isinstance(content, bytes) else cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, str):
        raise BadItemError(f"{shown(cell)} is no path")
    inside = _hdf5.named(cell)
    if inside is not None:
        return _hdf5.Inside(_file(inside[0], bases), inside[1])
    return _file(cell, bases)


def _file(cell: str, bases: Sequence[Path]) -> Path:
    """Return the file of a path that is relative to one of the bases and stays inside of it."""
    told = Path(cell)
    if told.is_absolute() or ".." in told.parts or "\\" in cell or "\0" in cell:
        raise BadItemError(f"{shown(cell)} leads out of the folder: expected a path inside of it")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", cell):
        raise BadItemError(f"{shown(cell)} is an address: expected a path inside of the folder")
    for base in bases:
        try:
            found = (base / told).resolve()
            there = found.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long
            raise BadItemError(f"{shown(cell)} cannot be looked for: {error}") from None
        if not there:
            continue
        if not found.is_relative_to(base):
            raise BadItemError(f"{shown(cell)} is a symbolic link out of the folder")
        return found
    if any((base / told).is_symlink() for base in bases):
        raise BadItemError(f"{shown(cell)} is a symbolic link to what is not there")
    raise BadItemError(f"{shown(cell)}: there is no such file")


def numbers(cells: Sequence[Any]) -> Array:
    """Return the array of numbers that one cell, or one of each of several columns, spells.

    A cell is a number, a (nested) list, or text: JSON, or numbers between commas or blanks.

    Raises:
        BadItemError: It spells none.
    """
    if len(cells) > 1:
        return np.array([number(cell) for cell in cells], dtype=np.float64)
    cell = cells[0]
    if isinstance(cell, str):
        text = cell.strip()
        try:
            cell = json.loads(text) if text.startswith("[") else re.split(r"[,;\s]+", text)
            cell = [float(part) if isinstance(part, str) else part for part in cell]
        except ValueError:
            raise BadItemError(f"{shown(text)} is no list of numbers") from None
    if not isinstance(cell, Sequence | np.ndarray):
        cell = [cell]
    try:
        array = np.array(cell)
        if array.dtype.kind not in "iuf":
            raise ValueError
    except ValueError:
        raise BadItemError(f"{shown(cell)} is no list of numbers, or its rows differ") from None
    return array


def is_number(word: str) -> bool:
    """Whether a text spells a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def number(cell: Any) -> float:
    """Return the finite number in a cell.

    Raises:
        BadItemError: There is none.
    """
    if isinstance(cell, str):
        try:
            cell = float(cell)
        except ValueError:
            raise BadItemError(f"{shown(cell)} is no number") from None
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, int | float | np.number):
        raise BadItemError(f"{shown(cell)} is no number")
    try:
        found = float(cell)
    except OverflowError:  # a whole number of more than 308 digits
        raise BadItemError(f"{shown(cell)} is too large a number") from None
    if not math.isfinite(found):
        raise BadItemError(f"{cell} is not finite")
    return found


def texts(cell: Any, separator: str, longest: int) -> tuple[str, ...]:
    """Return the texts in a cell: one, a list, or several between separators.

    Raises:
        BadItemError: It is no text, or one is empty or too long.
    """
    several = cell if isinstance(cell, list | tuple) else [cell]
    if separator and isinstance(cell, str):
        several = cell.split(separator)
    if not several:
        raise BadItemError("has no text")
    for one in several:
        text(one, longest)
    return tuple(several)


def text(cell: Any, longest: int) -> str:
    """Return the text in a cell.

    Raises:
        BadItemError: It is none, has no word, or is too long.
    """
    if not isinstance(cell, str):
        raise BadItemError(f"{shown(cell)} is no text")
    if not any(map(str.isalnum, cell)):
        raise BadItemError(f"{shown(cell)} is a text without a word")
    if len(cell) > longest:
        raise BadItemError(
            f"has {len(cell):,} characters, expected {longest:,} at most: longest = N allows more"
        )
    return cell


#: Type of a label in a file -> what it is called.
_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def spelled(cell: Any) -> tuple[str, str]:
    """Return how a class is spelled, and of which type it is.

    Raises:
        BadItemError: It is neither text nor a number.
    """
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if type(cell) not in _TYPES:
        raise BadItemError(f"{shown(cell)} is no label: expected text or a number")
    return (str(cell).lower() if isinstance(cell, bool) else str(cell)), _TYPES[type(cell)]


class Classes:
    """The classes of an output, by name; labels have to be of one type."""

    def __init__(self, names: Sequence[str]) -> None:
        self.places = {name: place for place, name in enumerate(names)}
        self.first: tuple[str, str] | None = None

    def place(self, cell: Any) -> int:
        """Return the number of the class that a cell names.

        Raises:
            BadItemError: It names none, or is of another type than the first one.
        """
        name, kind = spelled(cell)
        if self.first is None:
            self.first = (name, kind)
        elif self.first[1] != kind:
            raise BadItemError(
                f"{shown(cell)} is {kind}, and the first label, {self.first[0]}, is "
                f"{self.first[1]}: labels have to be of one type"
            )
        if name not in self.places:
            near = nearest(name, self.places)
            offer = f"did you mean {near!r}? " if near else ""
            known = ", ".join(list(self.places)[:12])
            raise BadItemError(f"{shown(cell)} is none of the classes: {offer}they are {known}")
        return self.places[name]

    def places_of(self, cell: Any, separator: str) -> list[int]:
        """Return the numbers of all classes that a cell names; it may name none.

        Raises:
            BadItemError: One is none, or stands twice.
        """
        if isinstance(cell, str):
            inside = cell.strip()
            if inside.startswith("["):
                try:
                    cell = json.loads(inside)
                except ValueError:
                    raise BadItemError(f"{shown(inside)} is no list") from None
            else:
                parts = inside.split(separator) if separator else [inside]
                cell = [part.strip() for part in parts if part.strip()]
        if not isinstance(cell, list | tuple):
            raise BadItemError(f"{shown(cell)} is no list of classes")
        found = [self.place(one) for one in cell]
        if len(set(found)) < len(found):
            raise BadItemError(f"{shown(cell)} names a class twice")
        return found
