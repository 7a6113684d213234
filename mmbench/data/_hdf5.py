"""Arrays in HDF5 files, by h5py: ``features.h5#clip17/audio``, or a file that holds one array."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import MissingExtraError

if TYPE_CHECKING:
    from mmbench.types import Array

#: How the names of such files end.
ENDINGS = (".h5", ".hdf5", ".hdf")
#: More bytes than these are no item but a trap, or a whole data set.
MOST_BYTES = 2**28
#: More links than these, one after the other, lead nowhere.
MOST_LINKS = 32


class UndecodableError(Exception):
    """Why there is no array to be had; whoever catches it knows which file."""


@dataclass(frozen=True)
class Inside:
    """An array in a file.

    Attributes:
        file: The HDF5 file.
        name: The array's path in it; empty: the only one there is.
    """

    file: Path
    name: str

    def __str__(self) -> str:
        """As a cell has it."""
        return f"{self.file.name}#{self.name}" if self.name else self.file.name


def library() -> ModuleType:
    """Import h5py, or say which extra brings it."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise MissingExtraError("h5py, which reads HDF5,", "media") from None
    return h5py  # type: ignore[no-any-return]


def named(cell: str) -> tuple[str, str] | None:
    """Split a cell into a file's path and the path in it; None if it is of no HDF5 file.

    >>> named("a/b.h5#clip/audio"), named("clip#1.hdf5"), named("b#2.png")
    (('a/b.h5', 'clip/audio'), ('clip#1.hdf5', ''), None)
    """
    text = cell.strip()
    match = re.match(r"(.*?\.(?:h5|hdf5|hdf))\s*#(.*)\Z", text, flags=re.I | re.S)
    if match:
        return match[1], match[2].strip()
    return (text, "") if text.lower().endswith(ENDINGS) else None


def read(place: Inside) -> Array:
    """Return an array of numbers, copied out of its file.

    Raises:
        UndecodableError: The file is broken, holds no such array, or leads to another file, which
            could be any on the machine.
        MissingExtraError: h5py is not installed.
    """
    found: Array = _looked_at(place, lambda array: np.asarray(array[()]))
    return found


def look(place: Inside) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return an array's shape and type without reading it; raises what `read` does."""
    found: tuple[tuple[int, ...], np.dtype[Any]]
    found = _looked_at(place, lambda array: (array.shape, array.dtype))
    return found


def _looked_at(place: Inside, take: Callable[[Any], Any]) -> Any:
    """Open a file and take something of an array, of which nothing has been read before."""
    h5py = library()
    try:
        with h5py.File(place.file, "r") as opened:
            found = _found(h5py, opened, place.name)
            if found.is_virtual or found.external:
                raise UndecodableError("keeps its numbers in other files: expected them inside")
            if found.shape is None:
                raise UndecodableError("is empty")
            if found.dtype.kind not in "biuf":
                raise UndecodableError(f"holds {found.dtype}, expected numbers")
            if found.nbytes > MOST_BYTES:
                raise UndecodableError(f"takes {found.nbytes / 1e9:.1f} GB: too much for an item")
            return take(found)
    except UndecodableError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise UndecodableError(f"cannot be read as HDF5: {told}") from None


def _found(h5py: Any, opened: Any, name: str) -> Any:
    """Return a data set by its path, or the only one that there is.

    Links are followed here, step by step: h5py's own way would open other files for them.
    """
    if not name:
        held: list[str] = []
        opened.visititems(  # which follows no links
            lambda path, one: held.append(path) if isinstance(one, h5py.Dataset) else None
        )
        if len(held) != 1:
            some = ", ".join(held[:5]) or "none"
            raise UndecodableError(
                f"holds {len(held)} arrays, expected one: name it, FILE#NAME (there are: {some})"
            )
        name = held[0]
    node, due, links = opened, _steps(name), 0
    while due:
        step, *due = due
        link = node.get(step, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            known = list(node)[:5] if isinstance(node, h5py.Group) else []
            there = f" (there are: {', '.join(known)})" if known else ""
            raise UndecodableError(f"holds no {name}{there}")
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > MOST_LINKS:
                raise UndecodableError(f"{name} is a ring of links")
            node = opened if link.path.startswith("/") else node
            due = [*_steps(link.path), *due]
        elif isinstance(link, h5py.HardLink):
            node = node[step]
        else:
            raise UndecodableError(f"{name} is a link to another file")
    if isinstance(node, h5py.Group):
        inside = next(iter(node), "NAME")
        raise UndecodableError(f"{name} is a group: name an array in it, {name}/{inside}")
    if not isinstance(node, h5py.Dataset):
        raise UndecodableError(f"{name} is no array")
    return node


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]
