"""Files that a data set consists of, in a folder of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mmbench.data._contract import Request
from mmbench.errors import DataError

#: So much of both ends of a file tells it from another, together with its size.
SAMPLE = 1 << 20


def find(request: Request, files: Sequence[str], folders: Sequence[str], wanted: str) -> Path:
    """Return the first file that is there, in the user's folder or in one of its subfolders.

    Args:
        request: Whose `root` is searched.
        files: Names that the file may have.
        folders: Subfolders that it may lie in, the user's folder itself being the first.
        wanted: What is expected there, in words, for the error.

    Raises:
        DataError: No folder is named, or it does not hold the file.
    """
    if request.root is None:
        raise DataError(
            f"task {request.task!r} needs data of yours: --data DIR or MMBENCH_DATA=DIR, DIR being "
            f"a folder that holds {wanted}"
        )
    for folder in ("", *folders):
        for name in files:
            path = request.root / folder / name
            if path.is_file():
                return path
    places = " or ".join(str(Path(folder, files[0])) for folder in ("", *folders))
    raise DataError(
        f"{request.root}: there is no {places}: task {request.task!r} expects --data (or "
        f"MMBENCH_DATA) to name a folder that holds {wanted}"
    )


def folder(request: Request, name: str, mark: str, wanted: str) -> Path:
    """Return the folder of a data set: the one that ``--data`` names, or the one `name` in it.

    Args:
        request: Whose `root` is looked at.
        name: What the folder is called.
        mark: A file or folder by which it is known.
        wanted: What is expected of it, in words, for the error.

    Raises:
        DataError: No folder is named, or neither holds the mark.
    """
    if request.root is None:
        raise DataError(
            f"task {request.task!r} needs data of yours: --data DIR or MMBENCH_DATA=DIR, DIR being "
            f"{wanted}, or the folder above it"
        )
    for place in (request.root, request.root / name):
        if (place / mark).exists():
            return place
    raise DataError(
        f"{request.root}: neither {mark} nor {name}/{mark} is there: task {request.task!r} expects "
        f"--data (or MMBENCH_DATA) to name {wanted}"
    )


def sampled_digest(file: Path) -> str:
    """Return the SHA-256 over a file's size and its first and last mebibyte.

    It is asked for whenever a run is planned, and files of features have gigabytes.

    Raises:
        DataError: It cannot be read.
    """
    try:
        size = file.stat().st_size
        total = hashlib.sha256(f"{size}\n".encode())
        with file.open("rb") as opened:
            total.update(opened.read(SAMPLE))
            opened.seek(max(0, size - SAMPLE))
            total.update(opened.read(SAMPLE))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    return total.hexdigest()
