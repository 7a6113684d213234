"""Prepared arrays on disk: made once, memory-mapped afterwards, checksummed when opened.

An entry's key is all that its content depends on: dataset, version, parameters, seed, and the
digest of the builder's own source, so that an edited builder never meets old data.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmbench import rng
from mmbench import text as texts
from mmbench.errors import DataError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """One cached dataset: arrays (memory-mapped, read-only), JSON values, SHA-256 over both."""

    arrays: Mapping[str, Any]
    values: Mapping[str, Any]
    fingerprint: str


@dataclass(frozen=True)
class Parts:
    """An array that is made and written part by part, so that it is never in memory as a whole.

    Attributes:
        shape: Of the whole array.
        dtype: Its type.
        make: Yields parts [n, ...] that follow one another along the first axis.
    """

    shape: tuple[int, ...]
    dtype: Any
    make: Callable[[], Iterable[Any]]

    def whole(self) -> Any:
        """Return the array, in memory."""
        made = [np.asarray(part, dtype=self.dtype) for part in self.make()]
        return np.concatenate(made) if made else np.empty(self.shape, dtype=self.dtype)


_tell: ContextVar[Callable[[str], None]] = ContextVar("tell", default=lambda text: None)

#: Arrays (or `Parts`) and JSON values, both by name.
Made = tuple[Mapping[str, Any], Mapping[str, Any]]


def rendered(
    rows: Sequence[slice], shape: tuple[int, ...], dtype: Any, render: Callable[[int, slice], Any]
) -> Parts:
    """Return an array that is rendered block by block, of which one is in memory at a time.

    Args:
        rows: The items of each block, one behind the other; none: an array of no item.
        shape: Of an item.
        dtype: Its type.
        render: Number of a block, its items -> the items [n, *shape].
    """
    items = rows[-1].stop if rows else 0
    return Parts(
        (items, *shape), dtype, lambda: (render(block, own) for block, own in enumerate(rows))
    )


def source_digest(*files: str | Path) -> str:
    """Return the SHA-256 over files, for the key of an entry.

    Raises:
        DataError: One cannot be read.
    """
    total = hashlib.sha256()
    for file in files:
        try:
            total.update(Path(file).read_bytes())
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    return total.hexdigest()


def cached(cache: Path, key: Mapping[str, Any], make: Callable[[], Made]) -> Entry:
    """Return the entry of `key`, making it first if need be.

    Args:
        cache: The cache folder; created if missing.
        key: JSON-serialisable (structs too); ``key["name"]`` begins the entry's folder name.
        make: Returns (arrays, values). Called at most once, under a lock between processes. What
            it raises passes through, and leaves no entry.

    Raises:
        DataError: The cache cannot be written.
    """
    text = _spelled(key)
    folder = entry_folder(cache, key)
    found = _open(folder)
    if found is not None:
        return found
    with ExitStack() as stack:
        with _writing(cache):
            cache.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(folder))
        found = _open(folder)  # another process may have made it while this one waited
        if found is not None:
            return found
        arrays, values = make()
        with _writing(cache):
            _write(folder, text, arrays, values)
        found = _open(folder)
    if found is None:
        raise DataError(f"{folder}: was just written and cannot be read back: check the disk")
    return found


@contextmanager
def telling(tell: Callable[[str], None]) -> Iterator[None]:
    """Let `tell` take a line where this process waits for another one that makes an entry."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an entry; say so if it has to be waited for."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _tell.get()(f"waiting for another process, which prepares {folder.name}")
        lock.acquire(poll_interval=0.1)
    try:
        yield
    finally:
        lock.release()


def entry_folder(cache: Path, key: Mapping[str, Any]) -> Path:
    """Return where the entry of `key` is, or will be."""
    return cache / f"{key['name']}-{hashlib.sha256(_spelled(key).encode()).hexdigest()[:16]}"


def _spelled(key: Mapping[str, Any]) -> str:
    return json.dumps({**key, "shared": _shared()}, sort_keys=True, default=_plain)


@functools.cache
def _shared() -> str:
    """Return the digest of what builders draw and encode with."""
    return source_digest(rng.__file__, texts.__file__)


def _plain(value: Any) -> Any:
    """Spell a struct or a set as JSON, the same in every process; refuse what has no spelling."""
    return msgspec.to_builtins(value, order="deterministic")


@contextmanager
def _writing(cache: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line. Not around `make`: its files are its own."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{cache}: the data cache cannot be written: {error.strerror or error}; "
            f"MMBENCH_CACHE names another folder"
        ) from None


def _write(folder: Path, key: str, arrays: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Write into a folder beside, then rename: an entry is whole or absent."""
    # One fixed name, safe under the lock: what a killed process left behind is found and cleared.
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        for name, array in arrays.items():
            if isinstance(array, Parts):
                _write_parts(temporary / f"{name}.npy", array)
            else:
                np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        (temporary / "values.json").write_text(json.dumps(values), encoding="utf-8")
        files = {path.name: _checksum(path) for path in sorted(temporary.iterdir())}
        manifest = {"key": json.loads(key), "files": files}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if folder.exists():  # one that failed its checksum
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_parts(path: Path, array: Parts) -> None:
    """Write an array as `numpy.save` does, to the byte."""
    kind = np.dtype(array.dtype)
    header = {
        "descr": np.lib.format.dtype_to_descr(kind),
        "fortran_order": False,
        "shape": array.shape,
    }
    rows = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in array.make():
            file.write(np.ascontiguousarray(part, dtype=kind).data)
            rows += len(part)
    if rows != array.shape[0]:
        raise ValueError(f"{path.stem}: {array.shape[0]} rows were promised and {rows} made")


def _open(folder: Path) -> Entry | None:
    """Open an entry; None if it is absent or does not match its checksums."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = dict(manifest["files"])
        if any(_checksum(folder / name) != digest for name, digest in files.items()):
            return None
        arrays = {
            name.removesuffix(".npy"): np.load(folder / name, mmap_mode="r", allow_pickle=False)
            for name in files
            if name.endswith(".npy")
        }
        values = json.loads((folder / "values.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    joined = "".join(f"{name}:{files[name]};" for name in sorted(files))
    return Entry(arrays, values, hashlib.sha256(joined.encode()).hexdigest())


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
