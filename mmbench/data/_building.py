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
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from mmbench.data._cache import Entry, Made, cached, entry_folder
from mmbench.errors import DataError

if TYPE_CHECKING:
    from mmbench.types import Array

#: Items of a part.
PART = 64
#: Arrays of a part that say which of its items could not be made, and why.
BAD, _WHY = "left_out", "left_out_why"

Job = TypeVar("Job")
#: Makes one item: job -> array by name. A function of a module, since processes look it up there.
Make = Callable[[Job], "Mapping[str, Array]"]
#: Yields the parts of an entry: the first item's place, and what the part's items made.
Parts = Callable[[], "Iterator[tuple[int, Mapping[str, Array]]]"]
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
    skip: bool = False,
) -> Entry:
    """Return the entry of `key`: of N jobs, arrays [N, T, ...] padded with 0 and their lengths.

    What one job makes under a name is an array [t, ...], of one type and shape for all jobs but for
    t. The entry holds ``NAME`` [N, T, ...], T the longest, and ``NAME_lengths`` [N].

    With `skip` an item that cannot be made has the length 0, and the entry's value ``bad`` says of
    each such why (`mmbench.data._left_out.of` reads it). The caller's key has to tell the two ways
    apart: its parameters do, ``skip_bad`` being one.

    Args:
        cache: The cache folder.
        key: See `mmbench.data._cache.cached`.
        jobs: N jobs, one an item; handed to other processes.
        make: What makes an item; a function of a module.
        part: Items of a part.
        skip: Whether items whose `make` raises a `DataError` are taken note of instead.

    Raises:
        DataError: What `make` raises passes through, the first job's first; parts that are done
            stay for the next time. Or, with `skip`, no item could be made.
    """

    def join(parts: Parts) -> Made:
        # Beside the parts, so that it goes with them.
        arrays = _joined(entry_folder(cache, key).with_suffix(".parts"), parts, len(jobs))
        return arrays, {"bad": bad_of(parts)} if skip else {}

    return in_parts(cache, key, jobs, make, join, part, skip)


def in_parts(
    cache: Path,
    key: Mapping[str, Any],
    jobs: Sequence[Job],
    make: Make[Job],
    join: Callable[[Parts], Made],
    part: int = PART,
    skip: bool = False,
    threads: bool = False,
) -> Entry:
    """Return the entry of `key`, made in parts and put together by `join`.

    Args:
        cache: See `prepared`, as for `key`, `jobs`, `make`, `part` and `skip`.
        key: Likewise.
        jobs: Likewise.
        make: Likewise; of any kind, if `threads`.
        join: Given what yields the parts, in order and as often as it is called, returns arrays
            and values of the entry.
        part: Likewise.
        skip: Likewise.
        threads: Whether threads make the items and not processes: for libraries that let others
            run while they decode.

    Raises:
        DataError: What `make` raises passes through, the first job's first; parts that are done
            stay for the next time.
    """
    folder = entry_folder(cache, key).with_suffix(".parts")

    def parts() -> Iterator[tuple[int, Mapping[str, Array]]]:
        for start in range(0, len(jobs), part):
            with np.load(_file(folder, start), allow_pickle=False) as archive:
                yield start, archive

    def build() -> Made:
        _make_parts(folder, jobs, _Making(make, skip, threads), part)
        return join(parts)

    entry = cached(cache, key, build)
    shutil.rmtree(folder, ignore_errors=True)
    return entry


@dataclass(frozen=True)
class _Making(Generic[Job]):
    """How items are made."""

    make: Make[Job]
    skip: bool
    threads: bool


def _make_parts(folder: Path, jobs: Sequence[Job], how: _Making[Job], part: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(jobs), part)
    missing = [start for start in starts if not _whole(_file(folder, start))]
    done = len(jobs) - sum(min(part, len(jobs) - start) for start in missing)
    with _shown(len(jobs)) as show:
        if done:
            show(done, len(jobs))
        todo = [(start, jobs[start : start + part]) for start in missing]
        for start, made in _made(todo, how):
            _write(_file(folder, start), made)
            done += min(part, len(jobs) - start)
            show(done, len(jobs))


def _pool(count: int, threads: bool) -> Executor:
    if threads:
        return ThreadPoolExecutor(count)
    import multiprocessing

    # Not by fork, which copies a process whose other threads hold locks.
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


def _made(
    todo: Sequence[tuple[int, Sequence[Job]]], how: _Making[Job]
) -> Iterator[tuple[int, dict[str, Array]]]:
    """Yield (start, part) as parts get done; one that fails is raised when all before it are."""
    count = min(workers(), len(todo))
    if count < 2:
        for start, jobs in todo:
            yield start, _part(how.make, jobs, how.skip)
        return
    failed: dict[int, BaseException] = {}
    with _pool(count, how.threads) as pool:
        running = {pool.submit(_part, how.make, jobs, how.skip): start for start, jobs in todo}
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


def _part(make: Make[Job], jobs: Sequence[Job], skip: bool) -> dict[str, Array]:
    """Make some items, one behind the other: NAME [sum of t, ...] and NAME_lengths.

    Of those that could not be made there are `BAD`, their places in the part, and `_WHY`.
    """
    items: list[Mapping[str, Array] | None] = []
    bad: dict[int, str] = {}
    for place, job in enumerate(jobs):
        try:
            items.append(make(job))
        except DataError as error:
            if not skip:
                raise
            items.append(None)
            bad[place] = str(error)
    made = [item for item in items if item is not None]
    found: dict[str, Array] = {}
    for name in made[0] if made else ():
        found[name] = np.concatenate([item[name] for item in made])
        lengths = [0 if item is None else len(item[name]) for item in items]
        found[f"{name}_lengths"] = np.array(lengths, dtype=np.int64)
    if bad:
        found[BAD] = np.array(list(bad), dtype=np.int64)
        found[_WHY] = np.array(list(bad.values()))
    return found


def bad_of(parts: Parts) -> dict[int, str]:
    """Return why items could not be made: place among all -> reason."""
    found: dict[int, str] = {}
    for start, made in parts():
        if BAD in made:
            found.update(zip((made[BAD] + start).tolist(), made[_WHY].tolist(), strict=True))
    return found


def split_up(made: Mapping[str, Array], name: str) -> list[Array]:
    """Return what each item of a part made under a name: arrays [t, ...]."""
    return np.split(made[name], np.cumsum(made[f"{name}_lengths"])[:-1])


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


def _joined(folder: Path, parts: Parts, count: int) -> dict[str, Array]:
    """Lay the parts into padded arrays, memory-mapped: only one part is in memory."""
    kinds: dict[str, tuple[tuple[int, ...], Any]] = {}
    lengths: dict[str, Array] = {}
    for start, made in parts():
        for name in made:
            if f"{name}_lengths" not in made:
                continue
            if name not in kinds:
                kinds[name] = (made[name].shape[1:], made[name].dtype)
                lengths[name] = np.zeros(count, dtype=np.int64)
            own = made[f"{name}_lengths"]
            lengths[name][start : start + len(own)] = own
    if not kinds:
        raise DataError(f"every item is bad; the first: {bad_of(parts)[0]}")
    found: dict[str, Array] = {}
    for name, (shape, kind) in kinds.items():
        most = int(lengths[name].max())
        whole = np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", dtype=kind, shape=(count, most, *shape)
        )
        for start, made in parts():
            if name in made:
                for row, value in enumerate(split_up(made, name), start):
                    whole[row, : len(value)] = value
        found[name], found[f"{name}_lengths"] = whole, lengths[name]
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
