"""Preparing many items: in parts, on several processes, watched, and resumed where it was left.

A part is some items, made and written as one file as soon as it is done. Killed and started again,
the parts that are there are kept; when all are, they become one entry of the cache
(`mmbench.data._cache`), memory-mapped, and the parts go. What is made depends on no process and on
no other item, so the bytes are the same however many processes there are.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mmbench.data._cache import Entry, Made, cached, entry_folder
from mmbench.errors import DataError

if TYPE_CHECKING:
    from mmbench.types import Array

#: Items of a part.
PART = 64

Job = TypeVar("Job")
#: Makes one item: job -> array by name. A function of a module, since processes look it up there.
Make = Callable[[Job], "Mapping[str, Array]"]
#: Told about (items done, items in all).
Watch = Callable[[int, int], None]

_watching: ContextVar[Watch | None] = ContextVar("watching", default=None)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let `watch` show what is prepared meanwhile, instead of a bar or lines of our own."""
    token = _watching.set(watch)
    try:
        yield
    finally:
        _watching.reset(token)


def workers() -> int:
    """Return how many processes prepare data: ``MMBENCH_WORKERS``, or the cores there are.

    Raises:
        DataError: The variable is no number of processes.
    """
    named = os.environ.get("MMBENCH_WORKERS", "")
    if named:
        if not named.isdecimal() or int(named) < 1:
            raise DataError(f"MMBENCH_WORKERS = {named!r}: expected a number of processes, from 1")
        return int(named)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepared(
    cache: Path,
    key: Mapping[str, Any],
    jobs: Sequence[Job],
    make: Make[Job],
    part: int = PART,
) -> Entry:
    """Return the entry of `key`: of N jobs, arrays [N, T, ...] padded with 0 and their lengths.

    What one job makes under a name is an array [t, ...], of one type and shape for all jobs but for
    t. The entry holds ``NAME`` [N, T, ...], T the longest, and ``NAME_lengths`` [N].

    Args:
        cache: The cache folder.
        key: See `mmbench.data._cache.cached`.
        jobs: N jobs, one an item; handed to other processes.
        make: What makes an item; a function of a module.
        part: Items of a part.

    Raises:
        DataError: What `make` raises passes through, the first job's first; parts that are done
            stay for the next time.
    """
    parts_folder = entry_folder(cache, key).with_suffix(".parts")

    def build() -> Made:
        _make_parts(parts_folder, jobs, make, part)
        return _joined(parts_folder, len(jobs), part), {}

    entry = cached(cache, key, build)
    shutil.rmtree(parts_folder, ignore_errors=True)
    return entry


def _make_parts(folder: Path, jobs: Sequence[Job], make: Make[Job], part: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(jobs), part)
    missing = [start for start in starts if not _whole(_file(folder, start))]
    done = len(jobs) - sum(min(part, len(jobs) - start) for start in missing)
    with _shown(len(jobs)) as show:
        if done:
            show(done, len(jobs))
        todo = [(start, jobs[start : start + part]) for start in missing]
        for start, made in _made(todo, make):
            _write(_file(folder, start), made)
            done += min(part, len(jobs) - start)
            show(done, len(jobs))


def _made(
    todo: Sequence[tuple[int, Sequence[Job]]], make: Make[Job]
) -> Iterator[tuple[int, dict[str, Array]]]:
    """Yield (start, part) as parts get done; one that fails is raised when all before it are."""
    count = min(workers(), len(todo))
    if count < 2:
        for start, jobs in todo:
            yield start, _part(make, jobs)
        return
    import multiprocessing

    # Not by fork, which copies a process whose other threads hold locks.
    context = multiprocessing.get_context("spawn")
    failed: dict[int, BaseException] = {}
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        running = {pool.submit(_part, make, jobs): start for start, jobs in todo}
        try:
            for future in as_completed(running):
                error = future.exception()
                if error is None:
                    yield running[future], future.result()
                else:
                    failed[running[future]] = error
                    # Parts behind it need not begin; those before it may hold an earlier item.
                    for other, start in running.items():
                        if start > running[future]:
                            other.cancel()
                    if all(f.done() for f, start in running.items() if start < min(failed)):
                        break
        finally:
            pool.shutdown(cancel_futures=True)
    if failed:
        raise failed[min(failed)]


def _part(make: Make[Job], jobs: Sequence[Job]) -> dict[str, Array]:
    """Make some items, one behind the other: NAME [sum of t, ...] and NAME_lengths."""
    items = [make(job) for job in jobs]
    found: dict[str, Array] = {}
    for name in items[0]:
        found[name] = np.concatenate([item[name] for item in items])
        found[f"{name}_lengths"] = np.array([len(item[name]) for item in items], dtype=np.int64)
    return found


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:08d}.npz"


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    temporary = path.with_suffix(".partial")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **dict(arrays))
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path.parent}: the data cache cannot be written: {error.strerror or error}; "
            f"MMBENCH_CACHE names another folder"
        ) from None


def _whole(path: Path) -> bool:
    """Whether a part is there, with the checksums that its archive holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _joined(folder: Path, count: int, part: int) -> dict[str, Array]:
    """Lay the parts into padded arrays, memory-mapped: only one part is in memory."""
    starts = range(0, count, part)
    found: dict[str, Array] = {}
    with np.load(_file(folder, 0), allow_pickle=False) as first:
        names = [name for name in first.files if f"{name}_lengths" in first.files]
        shapes = {name: (first[name].shape[1:], first[name].dtype) for name in names}
    lengths: dict[str, list[Array]] = {name: [] for name in names}
    for start in starts:
        with np.load(_file(folder, start), allow_pickle=False) as archive:
            for name in names:
                lengths[name].append(archive[f"{name}_lengths"])
    for name, (shape, kind) in shapes.items():
        every = np.concatenate(lengths[name])
        whole = np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", dtype=kind, shape=(count, int(every.max()), *shape)
        )
        for start, own in zip(starts, lengths[name], strict=True):
            with np.load(_file(folder, start), allow_pickle=False) as archive:
                values = np.split(archive[name], np.cumsum(own)[:-1])
            for row, value in enumerate(values, start):
                whole[row, : len(value)] = value
        found[name], found[f"{name}_lengths"] = whole, every
    return found


@contextmanager
def _shown(total: int) -> Iterator[Watch]:
    """Show progress: as the caller watches; else a bar on a terminal, and lines elsewhere."""
    watch = _watching.get()
    if watch is not None:
        yield watch
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        with Progress("preparing data", *columns, console=console, transient=True) as bar:
            task = bar.add_task("data", total=total)
            yield lambda done, of: bar.update(task, completed=done, total=of)
    else:
        said = -1

        def line(done: int, of: int) -> None:
            nonlocal said
            if of > PART and done * 10 // of > said:
                said = done * 10 // of
                print(f"preparing data: {done:,}/{of:,} items", file=sys.stderr)

        yield line
