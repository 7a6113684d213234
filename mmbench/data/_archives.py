"""Unpacks archives that strangers made: nothing is written outside of the folder, nothing linked.

Every member is looked at before the first is written. Refused are names that are absolute or hold
``..``, symbolic and hard links, device files, two members of one name, and more content than the
disk has room for, or than the archive says.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mmbench.errors import DataError

_BLOCK = 1 << 20
_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Unpack a .zip, .tar, .tar.gz, .tar.bz2, .tar.xz or .gz into a folder.

    It is unpacked beside and then moved, so that a folder never holds half of an archive.

    Args:
        archive: The file.
        folder: Where its members go; what lies there already and is not in the archive stays.

    Returns:
        The files that were written.

    Raises:
        DataError: It is no archive, is broken, or a member of it is refused: nothing is written.
    """
    beside = folder / f".{archive.name}.partial"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        with ExitStack() as stack:
            members = list(_members(archive, stack))
            room = _check(archive, members, folder)
            for name, size, opened in members:
                _write(archive, beside / name, room if size < 0 else size, opened)
        return [_move(beside / name, folder / name) for name, _, _ in members]
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error,
            lzma.LZMAError, NotImplementedError, RuntimeError) as error:  # fmt: skip
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{archive}: is not a whole archive: {why}") from None
    except OSError as error:
        if error.errno is None:  # of bz2, which says so of broken content
            raise DataError(f"{archive}: is not a whole archive: {error}") from None
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


Member = tuple[str, int, Any]


def _members(archive: Path, stack: ExitStack) -> Iterator[Member]:
    """Yield name, size and what opens it, of each file."""
    if zipfile.is_zipfile(archive):
        opened = stack.enter_context(zipfile.ZipFile(archive))
        for inside in opened.infolist():
            mode = inside.external_attr >> 16
            if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refuse(archive, inside.filename, "is a link or a device")
            _safe(archive, inside.filename)
            if not inside.is_dir():
                yield inside.filename, inside.file_size, (lambda i=inside: opened.open(i))
    elif archive.name.endswith(".gz") and not archive.name.endswith(".tar.gz"):
        # The size that a .gz tells is modulo 2**32, and may lie: it is not looked at.
        yield archive.name.removesuffix(".gz"), -1, partial(gzip.open, archive)
    elif tarfile.is_tarfile(archive):
        tar = stack.enter_context(tarfile.open(archive))  # noqa: SIM115 - the stack closes it
        for member in tar:
            _safe(archive, member.name)
            if not member.isreg() and not member.isdir():
                raise _refuse(archive, member.name, "is a link or a device")
            if member.isreg():
                yield member.name, member.size, (lambda m=member: tar.extractfile(m))
        # What is compressed has its checksum at the end, behind what a tar file reads.
        while tar.fileobj is not None and tar.fileobj.read(_BLOCK):
            pass
    elif archive.name.endswith(_ENDINGS):
        raise DataError(
            f"{archive}: is not a whole archive: it cannot be read as what its name says: copy or "
            f"fetch it again"
        )
    else:
        raise DataError(f"{archive}: expected a .zip, a .tar (.gz, .bz2, .xz) or a .gz")


def _safe(archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or "\\" in name or ":" in name.partition("/")[0] or "\0" in name:
        raise _refuse(archive, name, "is no path inside of a folder")
    if ".." in path.parts:
        raise _refuse(archive, name, "leads out of the folder")


def _refuse(archive: Path, name: str, why: str) -> DataError:
    return DataError(f"{archive}: its member {name!r} {why}: nothing was unpacked")


def _check(archive: Path, members: list[Member], folder: Path) -> int:
    """Return the room that there is; refuse what would not find it, or would be written twice."""
    seen: set[str] = set()
    for name, _, _ in members:
        plain = str(PurePosixPath(name))
        if plain in seen:
            raise _refuse(archive, name, "stands there twice")
        seen.add(plain)
        place = folder
        for part in PurePosixPath(name).parts:
            place = place / part
            if place.is_symlink():
                raise _refuse(archive, name, f"would be written through the link {place}")
    needed = sum(max(0, size) for _, size, _ in members)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{archive}: holds {needed / 2**30:.1f} GiB, and {folder} has room for "
            f"{free / 2**30:.1f}: nothing was unpacked"
        )
    return free


def _write(archive: Path, path: Path, size: int, opened: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    source: IO[bytes] = opened()
    with source, path.open("xb") as target:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > size:
                raise DataError(
                    f"{archive}: its member {path.name!r} is longer than it says, or than there is "
                    f"room for"
                )
            target.write(block)


def _move(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
    return target
