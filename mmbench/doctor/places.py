"""Looks at folders: the cache, the records, the user's data."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from mmbench import failures
from mmbench.doctor.check import GIB, Check, Found
from mmbench.doctor.installation import readable_tasks
from mmbench.errors import DataError, MmbenchError, counted
from mmbench.room import readable

#: Free space below which data or records may not find room.
SPACE = 1 * GIB
#: Seconds after which nobody may be about to go on from a checkpoint any more.
OLD = 86_400.0
#: Seconds for which what is being written may lie there untouched.
AT_WORK = 600.0
#: So many checkpoints are named, the oldest ones.
SHOWN = 5


def cache() -> Found:
    """Look at the folder of prepared data."""
    from mmbench.data._load import cache_folder

    folder = cache_folder()
    yield _place("cache", folder, f"{size_of(folder) / GIB:.2f} GiB of data", "MMBENCH_CACHE")


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


def checkpoints(folder: Path) -> Found:
    """Look for what interrupted runs left to go on from: the same command does, and no other.

    Whoever changes a parameter instead of giving the same command leaves it for ever.
    """
    found = sorted((_age(path), path, size_of(path)) for path in folder.glob("*/*/.*.checkpoint"))
    if not found:
        return
    found.reverse()
    named = [
        f"{path.parent.parent.name}/{path.parent.name}/{path.name[1:].removesuffix('.checkpoint')} "
        f"({_seeds(path)}{readable(size)}, {_since(age)} old)"
        for age, path, size in found[:SHOWN]
    ]
    more = f", and {len(found) - SHOWN} younger" if len(found) > SHOWN else ""
    whole = readable(sum(size for _, _, size in found))
    told = f"{counted(len(found), 'checkpoint')} of unfinished runs, {whole}: {', '.join(named)}"
    old = [shlex.quote(str(path)) for age, path, _ in found[:SHOWN] if age > OLD]
    fix = "the same 'mmbench run' goes on with them"
    fix += f"; if nobody will: rm -r {' '.join(old)}" if old else ""
    yield Check("checkpoints", "warn" if old else "ok", told + more, fix)


def half_written(folder: Path) -> Found:
    """Look for what processes left that were killed while they wrote or replaced a record.

    Whoever makes the same record next puts it right, see `mmbench.store.recover`.
    """
    both = [path for what in ("writing", "replaced") for path in folder.glob(f"*/*/.{what}-*")]
    found = sorted(path for path in both if _age(path) > AT_WORK)
    if not found:
        return
    only = {path for path in found if _is_only(path)}
    told = f"{counted(len(found), 'half-written record')} of killed processes, "
    told += readable(sum(map(size_of, found)))
    told += f", {len(only)} of them with a record that was to be replaced" if only else ""
    fix = "the command that made the record removes what is its own"
    fix += " and puts back what was to be replaced" if only else ""
    paths = [shlex.quote(str(path)) for path in found if path not in only]
    fix += f"; if nobody will: rm -r {' '.join(paths[:SHOWN])}" if paths else ""
    yield Check("half written", "warn", told, fix)


def _is_only(path: Path) -> bool:
    """Whether there is a record in it that is not in its own place."""
    inside = [file.parent.name for file in path.glob("*/record.json")]
    return any(not (path.parent / name / "record.json").exists() for name in inside)


def _seeds(folder: Path) -> str:
    """Say which seeds train as the batch that a checkpoint is of; nothing of a single run."""
    from mmbench.checkpoint import seeds_of

    seeds = seeds_of(folder)
    return f"seeds {', '.join(map(str, seeds))}; " if seeds else ""


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # another process may have removed it just now
            there = path.lstat()
            size += there.st_size if stat.S_ISREG(there.st_mode) else 0
    return size


def _age(folder: Path) -> float:
    """Return the seconds since something was written there."""
    newest = time.time()
    with suppress(OSError):  # another process may take it away just now: it is at work
        newest = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    return max(0.0, time.time() - newest)


def _since(seconds: float) -> str:
    """Return a time in words.

    >>> _since(59.0), _since(7200.0), _since(200_000.0)
    ('0 minutes', '2 hours', '2 days')
    """
    for unit, length in (("day", 86_400), ("hour", 3600)):
        if seconds >= length:
            return counted(int(seconds // length), unit)
    return counted(int(seconds // 60), "minute")


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
