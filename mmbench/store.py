"""Records on disk: one folder each, written whole or not at all, checksummed, without pickle.

``results/TASK/MODEL/BUDGET-sSEED-IDENTITY/`` holds

- ``record.json``: definition, provenance, scores, curve, cost; versioned, small, to be committed;
- ``items.parquet``: each item's row of every metric's statistics; small, to be committed;
- ``predictions.parquet``: what the model said;
- ``weights.safetensors``: the model.

A record is written into a hidden folder beside and renamed, so a reader never meets half of one
and a killed writer leaves only a hidden folder that nobody reads. Schema numbers only grow; every
schema ever written stays readable.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from mmbench import sealed
from mmbench.admission import Admission, line
from mmbench.errors import NotComparableError, PlaceError, StoreError, nearest
from mmbench.folders import RECORD, record_folders, results_around
from mmbench.items import (
    NAMES,
    Items,
    Reader,
    items_table,
    predictions_of,
    predictions_table,
    read_text_table,
)
from mmbench.record import SCHEMA, Record, StoredScore

if TYPE_CHECKING:
    import pyarrow as pa

# Beside all that is defined here.
__all__ = [
    "RECORD",
    "SCHEMA",
    "Items",
    "Reader",
    "Record",
    "StoredScore",
    "items_table",
    "predictions_table",
    "record_folders",
]
T = TypeVar("T")

ITEMS, PREDICTIONS, WEIGHTS = "items.parquet", "predictions.parquet", "weights.safetensors"
#: Signs of a line about a record at most; whatever stands in it may be a stranger's.
LONGEST_LINE = 1000
#: How hidden folders begin that only a writer at work has: what it writes, and what that replaces.
_WRITING, _REPLACED = ".writing-", ".replaced-"


class Stored(Struct, frozen=True):
    """A record and the folder that it was read from."""

    folder: Path
    record: Record


def folder_of(results: Path, record: Record) -> Path:
    """Return where a record belongs."""
    return results / record.name


def write(
    results: Path,
    record: Record,
    items: pa.Table | None = None,
    predictions: pa.Table | None = None,
    weights: Callable[[Path], None] | None = None,
) -> Stored:
    """Write a record; one with the same name is replaced.

    Args:
        results: The results folder; made if missing.
        record: Its ``files`` and ``checksum`` are filled in here.
        items: Item statistics, see `items_table`.
        predictions: See `predictions_table`.
        weights: Writes the model to the path that it is given.

    Raises:
        StoreError: The folder cannot be written, or the disk is full. Nothing is left behind,
            earlier records are as they were.
    """
    import pyarrow.parquet as parquet

    def fill(folder: Path) -> None:
        if items is not None:
            _write_items(items, folder / ITEMS)
        if predictions is not None:
            parquet.write_table(predictions, folder / PREDICTIONS, compression="zstd")
        if weights is not None:
            weights(folder / WEIGHTS)

    fresh = msgspec.structs.replace(record, files={})
    return _place(results, folder_of(results, record), fresh, fill)


def rewrite(stored: Stored, record: Record, items: pa.Table) -> Stored:
    """Put a record and its item statistics in place of stored ones; its other files stay.

    Args:
        stored: What is there.
        record: Its ``files`` and ``checksum`` are filled in here.
        items: Item statistics, see `items_table`.

    Raises:
        StoreError: As for `write`; what is stored is as it was.
    """

    def fill(folder: Path) -> None:
        for name in stored.record.files:
            if name != ITEMS and (stored.folder / name).exists():
                shutil.copyfile(stored.folder / name, folder / name)
        _write_items(items, folder / ITEMS)

    kept = msgspec.structs.replace(record, files=stored.record.files)
    return _place(stored.folder.parents[2], stored.folder, kept, fill)


def adopt(results: Path, stored: Stored) -> Stored:
    """Copy a record into another results folder, without its weights; one of its name is replaced.

    Raises:
        StoreError: As for `write`.
    """
    target = folder_of(results, stored.record)
    with explained(results):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _hidden(_WRITING, target)
        try:
            for name in (RECORD, *stored.record.files):
                if name != WEIGHTS and (stored.folder / name).exists():
                    shutil.copyfile(stored.folder / name, temporary / name)
                    _sync(temporary / name)
            temporary.chmod(0o755)
            _swap(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Stored(target, stored.record)


def remove(stored: Stored) -> None:
    """Take a record away; a reader never meets half of it.

    Raises:
        StoreError: The folder cannot be changed.
    """
    with explained(stored.folder.parents[2]):
        discard(stored.folder, stored.folder)


def discard(path: Path, folder: Path) -> None:
    """Take a folder away whole: a process killed meanwhile leaves nothing that looks like it.

    Args:
        path: What goes.
        folder: That of the record which it belongs to, see `recover`.

    Raises:
        OSError: The folder above cannot be changed.
    """
    hidden = _hidden(_WRITING, folder)
    try:
        os.rename(path, hidden / "old")
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def recover(folder: Path) -> None:
    """Put right what a killed process left half written, or half replaced, of one record.

    Only whoever has the claim on the folder may: a writer at work looks just the same.

    Args:
        folder: The record's, which need not be there.

    Raises:
        OSError: The folder above cannot be changed.
    """
    name = glob.escape(folder.name)
    for old in folder.parent.glob(f"{_REPLACED}{name}-*"):
        if not folder.exists() and (old / folder.name / RECORD).exists():
            os.replace(old / folder.name, folder)
        discard(old, folder)
    for half in folder.parent.glob(f"{_WRITING}{name}[-.]*"):
        if half.is_dir():
            shutil.rmtree(half, ignore_errors=True)
        else:  # of a file beside the record, see `mmbench.failures`
            half.unlink(missing_ok=True)


def _hidden(prefix: str, folder: Path) -> Path:
    """Make an empty folder beside a record's that no reader sees; its name says whose it is."""
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{folder.name}-", dir=folder.parent))


def _write_items(items: pa.Table, path: Path) -> None:
    """Write item statistics; a dictionary of numbers that all differ only takes time to read."""
    import pyarrow.parquet as parquet

    parquet.write_table(items, path, compression="zstd", use_dictionary=list(NAMES))


def _place(results: Path, folder: Path, record: Record, fill: Callable[[Path], None]) -> Stored:
    """Write a folder beside, then put it in its place."""
    with explained(results):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = _hidden(_WRITING, folder)
        try:
            fill(temporary)
            files = {path.name: checksum(path) for path in sorted(temporary.iterdir())}
            record = sealed.seal(msgspec.structs.replace(record, files={**record.files, **files}))
            (temporary / RECORD).write_bytes(sealed.encode(record))
            for path in temporary.iterdir():
                _sync(path)
            temporary.chmod(0o755)
            _swap(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Stored(folder, record)


def check_writable(results: Path) -> None:
    """Fail now, not after an hour of training.

    Raises:
        StoreError: Nothing can be written there.
    """
    with explained(results):
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results) as file:
            file.write(b"x" * 65536)
            file.flush()
            os.fsync(file.fileno())


def read(folder: Path) -> Stored:
    """Read a record and check its own checksum; the other files are checked when they are read.

    Raises:
        StoreError: It is missing, damaged, or from a newer mmbench.
    """
    path = folder / RECORD
    return Stored(folder, Admission()(path, sealed.read(path, Record, SCHEMA)))


def read_in_place(folder: Path) -> Stored:
    """Read a record of a results folder; what it says of itself has to be where it lies.

    Raises:
        StoreError: As for `read`; or it lies where another record belongs.
    """
    return _in_place(read(folder))


def _in_place(found: Stored) -> Stored:
    path, lies = found.folder / RECORD, "/".join(found.folder.parts[-3:])
    if found.record.name != lies:
        raise StoreError(
            f"{path}: names {found.record.name} but lies in {lies}: it was moved, or what it names "
            f"was edited"
        )
    if "task" not in found.record.definition:
        raise StoreError(f"{path}: its definition says nothing of the task")
    return found


def scan(results: Path, curves: bool = True) -> tuple[list[Stored], list[str]]:
    """Read all records of a results folder, sorted by name, and say what could not be read.

    Of two records of one identity that scored differently the first counts: an identity is all
    that determines the outcome, so one of them is not what it says.

    Args:
        results: The folder.
        curves: Without them, thousands of records take half the memory.
    """
    found: list[Stored] = []
    folders, problems = record_folders(results)
    decode, admitted = _Decoder(curves), Admission()
    for folder in folders:
        path = folder / RECORD
        try:
            record = admitted(path, sealed.read(path, Record, SCHEMA, decode=decode))
            found.append(_in_place(Stored(folder, record)))
        except StoreError as error:
            problems.append(line(str(error), LONGEST_LINE))
    others = twins(found)
    problems += [
        f"{two.folder}: has the identity of {one.folder} and other content: the first counts"
        for one, two in others
    ]
    later = {two.folder for _, two in others}
    return [stored for stored in found if stored.folder not in later], problems


def scan_below(folder: Path) -> tuple[list[Stored], list[str]]:
    """Read the records of a results folder, or those of a task's or a model's folder in one."""
    root = results_around(folder)
    found, problems = scan(root)
    if root == folder:
        return found, problems
    below = folder.resolve()
    return (
        [stored for stored in found if below in stored.folder.parents],
        [problem for problem in problems if f"{below}{os.sep}" in problem],
    )


def twins(found: Iterable[Stored]) -> list[tuple[Stored, Stored]]:
    """Return pairs of records that have one identity and another value of the same metric."""
    first: dict[str, Stored] = {}
    pairs = []
    for stored in found:
        same = first.setdefault(stored.record.identity, stored)
        if same is not stored and same.record.differs(stored.record):
            pairs.append((same, stored))
    return pairs


class _Sparse(Record, frozen=True, kw_only=True):
    """A record of which two parts, most of its size, are still text."""

    definition: msgspec.Raw  # type: ignore[assignment]
    curve: msgspec.Raw = msgspec.Raw(b"[]")  # type: ignore[assignment]


class _Decoder:
    """Reads the text of records; a definition that many have in common is there once."""

    def __init__(self, curves: bool) -> None:
        self._sparse = msgspec.json.Decoder(_Sparse)
        self._curves = curves
        self._definitions: dict[bytes, dict[str, Any]] = {}

    def __call__(self, text: bytes) -> Record:
        parts = msgspec.structs.asdict(self._sparse.decode(text))
        said, curve = bytes(parts["definition"]), parts.pop("curve")
        if said not in self._definitions:
            self._definitions[said] = msgspec.json.decode(said, type=dict[str, Any])
        parts["definition"] = self._definitions[said]
        if self._curves:
            parts["curve"] = msgspec.json.decode(curve, type=list[dict[str, int | float | None]])
        return Record(**parts)


def resolve(results: Path, name: str, warnings: list[str] | None = None) -> Stored:
    """Find one record as one finds a commit.

    Args:
        results: The results folder.
        name: ``@last``, a path to a record's folder, the beginning of a name
            (``captioning/hybrid``) or of an identity (``1a2b3c``). If several records answer,
            the one that was made last is meant, unless the name is an identity's beginning.
        warnings: Takes what could not be read, a line each.

    Raises:
        NotComparableError: None answers, or an identity's beginning is not unique.
    """
    if (Path(name) / RECORD).is_file():
        return read(Path(name))
    found, problems = scan(results)
    if warnings is not None:
        warnings += problems
    if not found:
        more = f"; unreadable: {problems[0]}" if problems else ""
        raise NotComparableError(
            f"{results}: holds no records{more}; 'mmbench run' makes them, --results names a folder"
        )
    by_age = sorted(
        found, key=lambda s: (str(s.record.provenance.get("started", "")), s.record.name)
    )
    if name == "@last":
        return by_age[-1]
    named = [s for s in by_age if s.record.name == name or s.record.name.startswith(f"{name}/")]
    named = named or [s for s in by_age if s.record.name.startswith(name)]
    if named:
        return named[-1]
    hashed = [s for s in by_age if s.record.identity.startswith(name)]
    if len(hashed) == 1:
        return hashed[0]
    if hashed:
        raise NotComparableError(
            f"{name!r} begins {len(hashed)} identities: "
            f"{', '.join(s.record.identity[:12] for s in hashed[:4])}: give more digits"
        )
    known = sorted({f"{s.record.task}/{s.record.model}" for s in found})
    near = nearest(name, [*known, *{s.record.model for s in found}])
    offer = f"did you mean {near!r}? " if near else ""
    spoiled = next((problem for problem in problems if f"/{name}" in problem), "")
    more = f"; unreadable: {spoiled}" if spoiled else ""
    raise NotComparableError(
        f"no record {line(name, 200)!r} in {results}: {offer}known: {', '.join(known[:12])}{more}"
    )


def read_items(stored: Stored, reader: Reader | None = None) -> dict[str, Items]:
    """Return the item statistics of each split; the inverse of `items_table`.

    Args:
        stored: The record.
        reader: What is wanted of them; one for many records reads once what they share.

    Raises:
        StoreError: They are missing, damaged, laid out otherwise, or not those that were scored.
    """
    path, text = stored.folder / ITEMS, _content(stored, ITEMS)
    found = _explained_table(path, lambda: (reader or Reader()).read(text))
    for split, scores in stored.record.scores.items():
        if reader is not None and reader.split not in (None, split):
            continue
        there = len(found[split].ids) if split in found else 0
        other = next(((m, got.n) for m, got in scores.items() if got.n != there), None)
        if other is not None:
            raise StoreError(
                f"{path}: holds {there or 'no'} items of the split {split!r}, but {other[1]:,} "
                f"were scored with {other[0]}"
            )
    return found


def read_predictions(stored: Stored, split: str) -> dict[str, Any]:
    """Return the columns of one split's predictions, ``id`` among them; those of vectors as arrays.

    Raises:
        StoreError: The record was stored without predictions, or they are damaged.
    """
    path = checked(stored, PREDICTIONS)
    table = _explained_table(path, lambda: read_text_table(path, ("split", "id")))
    return predictions_of(table, split)


def checked(stored: Stored, name: str) -> Path:
    """Return the path of one of a record's files after holding it against its checksum.

    Raises:
        StoreError: It is missing, damaged, or another record's.
    """
    path = stored.folder / name
    with _as_stored(path):
        found = checksum(path)
    _hold(stored, name, found)
    return path


def _content(stored: Stored, name: str) -> bytes:
    """Return what `checked` has checked."""
    path = stored.folder / name
    with _as_stored(path):
        content = path.read_bytes()
    _hold(stored, name, hashlib.sha256(content).hexdigest())
    return content


def _hold(stored: Stored, name: str, found: str) -> None:
    if found != stored.record.files.get(name):
        path = stored.folder / name
        raise StoreError(f"{path}: does not match the record's checksum: it was edited or damaged")


@contextmanager
def _as_stored(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StoreError(
            f"{path}: is missing: the record was stored or copied without it"
        ) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _explained_table(path: Path, read: Callable[[], T]) -> T:
    import pyarrow as pa

    try:
        return read()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read: {line(str(error))}") from None


def _swap(temporary: Path, folder: Path) -> None:
    """Put a finished folder in its place, the old one out of the way first."""
    if folder.exists():
        old = _hidden(_REPLACED, folder)
        try:
            os.replace(folder, old / folder.name)
            os.replace(temporary, folder)
        finally:
            if not folder.exists():  # interrupted between the two
                os.replace(old / folder.name, folder)
            with suppress(OSError):
                discard(old, folder)
    else:
        os.replace(temporary, folder)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def explained(results: Path) -> Iterator[None]:
    """Turn what the file system says of the results folder into one line.

    Raises:
        PlaceError: Nothing can be written there; `MmbenchError` passes through.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PlaceError(
                f"{results}: the disk is full: make room and give the same command again; "
                f"finished records are intact"
            ) from None
        if error.errno == errno.EEXIST and error.filename:
            raise PlaceError(
                f"{error.filename}: expected a folder and found a file: remove it, or --results or "
                f"MMBENCH_RESULTS names another folder"
            ) from None
        raise PlaceError(
            f"{results}: cannot be written ({error.strerror or error}): --results or "
            f"MMBENCH_RESULTS names another folder"
        ) from None
