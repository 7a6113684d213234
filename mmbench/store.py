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
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct, field

from mmbench import sealed
from mmbench.errors import NotComparableError, StoreError, nearest
from mmbench.items import NAMES, Items, Reader, items_table
from mmbench.types import Predictions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Items", "Reader", "items_table"]  # and all that is defined here
T = TypeVar("T")

#: The schema that this version writes.
SCHEMA = 1
RECORD, ITEMS = "record.json", "items.parquet"
PREDICTIONS, WEIGHTS = "predictions.parquet", "weights.safetensors"


class StoredScore(Struct, frozen=True, kw_only=True):
    """One metric on one split; the interval is over items, for these weights."""

    value: float | None
    low: float | None
    high: float | None
    se: float | None
    n: int
    signature: str
    higher_is_better: bool
    bounds: tuple[float | None, float | None]


class Record(Struct, frozen=True, kw_only=True):
    """What a run leaves behind.

    Attributes:
        schema: Version of this layout.
        status: ``finished``; ``diverged`` (a non-finite loss: no scores); ``leak`` (a score above
            a proven bound). Only finished ones are ranked.
        reason: Why it is not ``finished``.
        ranked: False where a limit on test items makes it unfit for a board.
        task, task_version, task_digest: What it was measured on.
        budget: Which of the task's budgets.
        model, family, summary, model_digest: What was measured.
        seed: The run's.
        identity: SHA-256 of all that determines the outcome.
        definition: ``task``, ``model`` and ``signature`` as resolved.
        provenance: Code, packages, machine.
        data: Fingerprint of the arrays, digest of the source.
        scores: Split -> metric -> score.
        curve: Points of ``step``, ``loss`` and, where validated, ``score``.
        cost: Parameters, seconds, memory.
        reproduce: The command that makes this record again.
        files: Name -> SHA-256 of the other files of the record.
        checksum: SHA-256 of this record with an empty checksum.
    """

    schema: int = SCHEMA
    status: str
    reason: str = ""
    ranked: bool = True
    task: str
    task_version: int
    task_digest: str
    budget: str
    model: str
    family: str = ""
    summary: str = ""
    model_digest: str
    seed: int
    identity: str
    definition: dict[str, Any]
    provenance: dict[str, Any]
    data: dict[str, str]
    scores: dict[str, dict[str, StoredScore]] = field(default_factory=dict)
    curve: list[dict[str, int | float | None]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    reproduce: str = ""
    files: dict[str, str] = field(default_factory=dict)
    checksum: str = ""

    @property
    def name(self) -> str:
        """Return how the command line calls it: ``task/model/budget-sSEED-8HEX``."""
        return f"{self.task}/{self.model}/{self.budget}-s{self.seed}-{self.identity[:8]}"


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
    with _explained(results):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
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
    with _explained(stored.folder.parents[2]):
        hidden = Path(tempfile.mkdtemp(prefix=".writing-", dir=stored.folder.parent))
        os.rename(stored.folder, hidden / "old")
        shutil.rmtree(hidden, ignore_errors=True)


def _write_items(items: pa.Table, path: Path) -> None:
    """Write item statistics; a dictionary of numbers that all differ only takes time to read."""
    import pyarrow.parquet as parquet

    parquet.write_table(items, path, compression="zstd", use_dictionary=list(NAMES))


def _place(results: Path, folder: Path, record: Record, fill: Callable[[Path], None]) -> Stored:
    """Write a folder beside, then put it in its place."""
    with _explained(results):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
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
    with _explained(results):
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
    return Stored(folder, sealed.read(folder / RECORD, Record, SCHEMA))


def scan(results: Path, curves: bool = True) -> tuple[list[Stored], list[str]]:
    """Read all records of a results folder, sorted by name, and say what could not be read.

    Args:
        results: The folder.
        curves: Without them, thousands of records take half the memory.
    """
    found, problems = [], []
    decode = _Decoder(curves)
    for folder in _folders(results):
        try:
            record = sealed.read(folder / RECORD, Record, SCHEMA, decode=decode)
            found.append(Stored(folder, record))
        except StoreError as error:
            problems.append(str(error))
    return found, problems


def _folders(results: Path) -> Iterator[Path]:
    """Return the folders of all records, sorted by name; hidden ones are none."""
    places = [str(results)]
    for _ in range(3):
        places = [f"{place}{os.sep}{name}" for place in places for name in _inside(place)]
    yield from (Path(place) for place in places if os.path.lexists(f"{place}{os.sep}{RECORD}"))


def _inside(place: str) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []


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


def resolve(results: Path, name: str) -> Stored:
    """Find one record as one finds a commit.

    Args:
        results: The results folder.
        name: ``@last``, a path to a record's folder, the beginning of a name
            (``captioning/hybrid``) or of an identity (``1a2b3c``). If several records answer,
            the one that was made last is meant, unless the name is an identity's beginning.

    Raises:
        NotComparableError: None answers, or an identity's beginning is not unique.
    """
    if (Path(name) / RECORD).is_file():
        return read(Path(name))
    found, problems = scan(results)
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
    near = nearest(name, known)
    offer = f"did you mean {near!r}? " if near else ""
    raise NotComparableError(
        f"no record {name!r} in {results}: {offer}known: {', '.join(known[:12])}"
    )


def read_items(stored: Stored, reader: Reader | None = None) -> dict[str, Items]:
    """Return the item statistics of each split; the inverse of `items_table`.

    Args:
        stored: The record.
        reader: What is wanted of them; one for many records reads once what they share.

    Raises:
        StoreError: They are missing or damaged.
    """
    path, text = stored.folder / ITEMS, _content(stored, ITEMS)
    return _explained_table(path, lambda: (reader or Reader()).read(text))


def predictions_table(predictions: Mapping[str, Predictions]) -> pa.Table:
    """Lay out predictions: a row per split and item, a column per output and further column."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {"split": [], "id": []}
    for split, said in predictions.items():
        columns["split"] += [split] * len(said.ids)
        columns["id"] += list(said.ids)
        for name, values in {**said.outputs, **said.columns}.items():
            columns.setdefault(name, []).extend(values)
    return pa.table(columns)


def read_predictions(stored: Stored, split: str) -> dict[str, list[Any]]:
    """Return the columns of one split's predictions, ``id`` among them.

    Raises:
        StoreError: The record was stored without predictions, or they are damaged.
    """
    import pyarrow.parquet as parquet

    path = checked(stored, PREDICTIONS)
    table = _explained_table(path, lambda: parquet.read_table(path))
    rows = [i for i, name in enumerate(table.column("split").to_pylist()) if name == split]
    return {name: table.column(name).take(rows).to_pylist() for name in table.column_names}


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
        raise StoreError(f"{path}: cannot be read: {error}") from None


def _swap(temporary: Path, folder: Path) -> None:
    """Put a finished folder in its place, the old one out of the way first."""
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=".replaced-", dir=folder.parent))
        try:
            os.replace(folder, old / folder.name)
            os.replace(temporary, folder)
        finally:
            if not folder.exists():  # interrupted between the two
                os.replace(old / folder.name, folder)
            shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(temporary, folder)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _explained(results: Path) -> Iterator[None]:
    """Turn what the file system says into one line."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreError(
                f"{results}: the disk is full: make room and give the same command again; "
                f"finished records are intact"
            ) from None
        raise StoreError(
            f"{results}: cannot be written ({error.strerror or error}): --results or "
            f"MMBENCH_RESULTS names another folder"
        ) from None
