"""Rows of an array by their numbers, written to where they are wanted: out of memory, or a file.

A file is read, not mapped: what a process reads is in nobody's memory but its own buffers and the
system's cache of files, which gives way to whoever needs room; a file that was cut off, or a disk
that fails, is then an error in one line, where a mapping ends the process.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmbench.errors import DataError
from mmbench.types import Array

Index = NDArray[np.int64]
#: Whether the system can be told what will be read.
_HINTS = hasattr(os, "posix_fadvise")


class Rows(Protocol):
    """N rows of one shape and type."""

    def read(self, index: Index, out: Array) -> None:
        """Write the rows `index` [B] to `out` [B, ...], C-contiguous, in that order."""


class Held:
    """Rows of an array in memory, or mapped where memory is enough."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def read(self, index: Index, out: Array) -> None:
        """See `Rows.read`."""
        _refuse_beyond(index, len(self.array))
        np.take(self.array, index, axis=0, out=out, mode="clip")  # "raise" would copy twice


class File:
    """Rows of an array that lies in a file as it lies in memory; see `lies_in_file`.

    Raises:
        DataError: The file cannot be read, or is not what was mapped.
    """

    def __init__(self, array: Array) -> None:
        whole = _mapped(array)
        assert whole is not None
        assert isinstance(whole.filename, str | os.PathLike)
        self.path = Path(whole.filename)
        self.count = len(array)
        self.row = array[:1].nbytes
        self.start = whole.offset + array.ctypes.data - whole.ctypes.data
        self._file = self._open()
        weakref.finalize(self, os.close, self._file)
        if _HINTS:  # a batch's rows are asked for all at once; what lies beside them is not wanted
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)
        first = np.empty_like(array, shape=array[:1].shape, subok=False)
        # Cut short, a mapping must not even be looked at.
        if os.fstat(self._file).st_size < self.start + self.count * self.row:
            raise self._broken("is shorter than when it was opened")
        self.read(np.zeros(len(first), dtype=np.int64), first)
        if first.tobytes() != array[:1].tobytes():
            raise self._broken("is another file than the one that was opened")

    def read(self, index: Index, out: Array) -> None:
        """Read the rows `index` [B] to `out` [B, ...], in the order in which they lie on the disk.

        Raises:
            DataError: The file cannot be read.
        """
        _refuse_beyond(index, self.count)
        if not index.size:
            return
        order = np.argsort(index, kind="stable")
        wanted = index[order]
        # What follows one another both there and here is read at once.
        ends = np.flatnonzero((np.diff(wanted) != 1) | (np.diff(order) != 1)) + 1
        firsts = np.concatenate([[0], ends])
        sizes = np.diff(firsts, append=len(index)) * self.row
        to, at = order[firsts] * self.row, self.start + wanted[firsts] * self.row
        room = out.reshape(-1).view(np.uint8).data
        parts = list(zip(to.tolist(), sizes.tolist(), at.tolist(), strict=True))
        try:
            # A disk serves many requests at a time, but a thread waits for one: asked for before,
            # rows come twice as fast where the system does not have them in memory already.
            for _, size, place in parts if _HINTS else ():
                os.posix_fadvise(self._file, place, size, os.POSIX_FADV_WILLNEED)
            for begin, size, place in parts:
                got = _read(self._file, room[begin : begin + size], place)
                while got < size:
                    more = _read(self._file, room[begin + got : begin + size], place + got)
                    if not more:
                        raise self._broken("is shorter than when it was opened")
                    got += more
        except OSError as error:
            raise self._broken(f"cannot be read: {error.strerror or error}") from None

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise self._broken(f"cannot be read: {error.strerror or error}") from None

    def _broken(self, why: str) -> DataError:
        return DataError(
            f"{self.path}: {why}: the prepared data changed while they were used; the same command "
            f"prepares them anew, and --memory says how much of them is kept in memory"
        )


def lies_in_file(array: Array) -> bool:
    """Whether an array's rows can be read from a file: mapped, read-only, row behind row."""
    return (
        array.ndim > 0
        and array.nbytes > 0
        and array.flags.c_contiguous
        and array.dtype.isnative
        and _mapped(array) is not None
    )


def _mapped(array: Array) -> np.memmap[tuple[int, ...], np.dtype[np.generic]] | None:
    """Return the whole mapped array that an array is a part of, if it is one that was read."""
    whole: object = array
    while isinstance(whole, np.ndarray):
        base: object = whole.base
        if isinstance(whole, np.memmap) and isinstance(base, mmap.mmap):
            return whole if whole.mode == "r" and whole.filename is not None else None
        whole = base
    return None


def _refuse_beyond(index: Index, count: int) -> None:
    if index.size and not (index.min() >= 0 and index.max() < count):
        raise IndexError(f"rows {index.min()} to {index.max()} were asked for, of {count}")


if sys.platform != "win32":

    def _read(file: int, room: memoryview, place: int) -> int:
        return os.preadv(file, [room], place)

else:  # the place is the file's own, so one reads after the other
    _turn = threading.Lock()

    def _read(file: int, room: memoryview, place: int) -> int:
        with _turn:
            os.lseek(file, place, os.SEEK_SET)
            got = os.read(file, len(room))
        room[: len(got)] = got
        return len(got)
