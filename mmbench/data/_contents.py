"""SHA-256 of many files, each read again only if it may have changed.

What is prepared is kept under a key of what the files hold. To read every photograph at every start
would take longer than to open what was prepared, so the digests are noted down beside the cache,
with each file's size and times, as git's index does (Documentation/technical/racy-git): a file that
was changed a moment before is read anew, since the clock of a disk may not tell two writes apart.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mmbench.data._left_out import Bad
from mmbench.errors import DataError

#: Nanoseconds after which two changes of a file have different times on any disk.
_SETTLED = 2_000_000_000
#: Bytes of a file that is read at once.
_SMALL = 1 << 20

#: Of a file: bytes, times of change of its content and of its entry in the folder, SHA-256.
_Note = tuple[int, int, int, str]


def digests(
    cache: Path, paths: Sequence[Path], labels: Sequence[str], bad: Bad | None = None
) -> list[str]:
    """Return the SHA-256 of each file, as hex.

    Args:
        cache: The cache folder, where digests are noted down.
        paths: N files.
        labels: What to call each in an error, e.g. its place in the annotations.
        bad: Takes note of files that are wrong, whose digest is empty then; None: the first raises.

    Raises:
        DataError: A file is missing, cannot be read, or is a link out of the data's folder, the one
            that holds the file's.
    """
    notes: dict[Path, dict[str, _Note]] = {}
    changed: set[Path] = set()
    bases: dict[Path, Path] = {}
    found = []
    for place, (path, label) in enumerate(zip(paths, labels, strict=True)):
        folder = path.parent
        if folder not in notes:
            notes[folder] = _read(_place(cache, folder))
        try:
            note = _note(path, label, notes[folder].get(path.name), bases)
        except DataError as error:
            if bad is None:
                raise
            bad[place] = str(error)
            found.append("")
            continue
        if notes[folder].get(path.name) != note:
            notes[folder][path.name] = note
            changed.add(folder)
        found.append(note[-1])
    for folder in changed:
        _write(_place(cache, folder), notes[folder])
    return found


def _note(path: Path, label: str, known: _Note | None, bases: dict[Path, Path]) -> _Note:
    try:
        if path.is_symlink():
            base = bases.setdefault(path.parent, path.parent.resolve().parent)
            if not path.resolve().is_relative_to(base):
                raise DataError(f"{path}: is a symbolic link out of the folder {base} ({label})")
        seen = path.stat()
        about = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        if known is not None and known[:3] == about:
            return known
        if seen.st_size < _SMALL:  # whole at once: file_digest lays out a large buffer for each
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror} ({label}): every file that is named there "
            f"has to be there"
        ) from None
    if time.time_ns() - max(about[1:]) < _SETTLED:
        # It counts, and is read again the next time.
        about = (-1, 0, 0)
    return *about, digest


def _place(cache: Path, folder: Path) -> Path:
    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
    return cache / f"contents-{name}.json"


def _read(place: Path) -> dict[str, _Note]:
    try:
        return msgspec.json.decode(place.read_bytes(), type=dict[str, _Note])
    except (OSError, ValueError):  # none yet, or half of one: all is read anew
        return {}


def _write(place: Path, notes: dict[str, _Note]) -> None:
    """Write whole or not at all; what two processes note down at once is true of either."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(notes))
            os.replace(temporary, place)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError:
        return  # nothing but time is lost; whoever writes data into the cache says what is wrong
