"""Looks at folders: the cache, the records, the user's data."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from mmbench import failures
from mmbench.doctor.check import GIB, Check, Found
from mmbench.doctor.installation import readable_tasks
from mmbench.errors import DataError, MmbenchError, counted

#: Free space below which data or records may not find room.
SPACE = 1 * GIB


def cache() -> Found:
    """Look at the folder of prepared data."""
    from mmbench.data._load import cache_folder

    folder = cache_folder()
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # another process may have removed it just now
            size += path.lstat().st_size
    yield _place("cache", folder, f"{size / GIB:.2f} GiB of data", "MMBENCH_CACHE")


def results(folder: Path) -> Found:
    """Look at the folder of the records."""
    count = sum(1 for _ in folder.glob("*/*/*/record.json"))
    held = f"{count} record{'' if count == 1 else 's'}"
    yield _place("results", folder, held, "--results or MMBENCH_RESULTS")
    failed = failures.scan(folder)
    if failed:
        last = max(failed, key=lambda failure: failure.when)
        told = f"{counted(len(failed), 'run')} failed, last {last.title}, {last.said}"
        yield Check("failed runs", "warn", told, "the same 'mmbench run' tries them again")


def _place(name: str, folder: Path, holds: str, option: str) -> Check:
    """Judge a folder that mmbench writes into: can it, and is there room?"""
    try:
        free = _try_writing(folder)
    except OSError as error:
        told = f"{folder}: cannot be written: {error.strerror or error}"
        return Check(name, "fail", told, f"{option} names another folder")
    told = f"{folder}: {holds}, {free / GIB:.1f} GiB of space left"
    if free < SPACE:
        return Check(name, "warn", told, f"make room, or {option} names another folder")
    return Check(name, "ok", told)


def _try_writing(folder: Path) -> int:
    """Write into a folder, or the one in which it would be made; return the space left there."""
    there = folder.expanduser().absolute()
    while not os.path.lexists(there):
        there = there.parent
    with tempfile.TemporaryFile(dir=there) as file:
        file.write(b"x")
        file.flush()
    return shutil.disk_usage(there).free


def data(root: Path | None) -> Found:
    """Ask each task whether it finds what it needs; those on generated data need nothing."""
    from mmbench.data._load import source_digest

    if root is not None and not root.expanduser().is_dir():
        fix = "--data or MMBENCH_DATA has to name the folder of a dataset, or the one above it"
        yield Check("data", "fail", f"{root}: there is no such folder", fix)
        return
    generated = []
    for task in readable_tasks():
        try:
            if source_digest(task, root):
                yield Check(f"data {task.name}", "ok", f"found in {root}")
            else:
                generated.append(task.name)
        except DataError as error:
            told = "no folder is given" if root is None else f"not found in {root}"
            yield Check(f"data {task.name}", "warn", told, str(error))
        except MmbenchError as error:  # a parameter is wrong, a package is missing, ...
            yield Check(f"data {task.name}", "fail", "cannot be looked for", str(error))
    yield Check("data", "ok", f"generated for {', '.join(generated) or 'no task'}")
