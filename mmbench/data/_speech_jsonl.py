"""The JSONL files of speech sets: a line an utterance, its split, its files and its texts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mmbench.data import _contents, _left_out, _places
from mmbench.data._contract import Request
from mmbench.errors import DataError

#: Longest text of an utterance, in characters: what is longer is no sentence.
LONGEST = 5000


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        line: Its number in the file, from 1.
        id: Unique.
        split: As the file calls it.
        files: Column -> the file that it names.
        texts: Column -> what stands there.
        speaker: Who speaks; empty where the file does not say.
        fault: Why a file or a text of it cannot be used; empty where all can.
    """

    line: int
    id: str
    split: str
    files: Mapping[str, Path]
    texts: Mapping[str, str]
    speaker: str
    fault: str = ""

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"line {self.line}, id {self.id!r}"


def find(request: Request, folder: str, manifest: str) -> Path:
    """Return the JSONL file: in the folder that ``--data`` names, or in its subfolder.

    Raises:
        DataError: There is none.
    """
    return _places.folder(request, folder, manifest, f"a folder that holds {manifest}") / manifest


def read(
    file: Path, files: Sequence[str], texts: Sequence[str], skip_bad: bool = False
) -> list[Row]:
    """Return all lines, in the file's order. Columns that are not asked for may say anything.

    Args:
        file: The JSONL file; paths in it are relative to its folder and stay inside of it.
        files: Columns that name files.
        texts: Columns that hold texts.
        skip_bad: Whether a line whose files or texts are wrong is one with a `fault`.

    Raises:
        DataError: The file is missing or broken, or a line is: one line that names it.
    """
    try:
        content = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not UTF-8 text") from None
    rows: list[Row] = []
    seen: dict[str, int] = {}
    folder = file.parent.resolve()
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}: line {number}"
        row = _row(_object(line, where), number, folder, files, texts, where)
        if row.fault and not skip_bad:
            raise DataError(row.fault)
        if row.id in seen:
            raise DataError(f"{where}: the id {row.id!r} stands on line {seen[row.id]} already")
        seen[row.id] = number
        rows.append(row)
    if not rows:
        raise DataError(f"{file}: holds no line")
    return rows


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    except ValueError as error:
        raise DataError(f"{where}: is not a JSON object: {error}") from None
    return found


def _row(
    content: Mapping[str, Any],
    number: int,
    folder: Path,
    files: Sequence[str],
    texts: Sequence[str],
    where: str,
) -> Row:
    for column in ("id", "split"):
        _check_text(content, column, where)
    fault = ""
    held: dict[str, Path] = {}
    try:
        for column in texts:
            _check_text(content, column, where)
            if len(content[column]) > LONGEST:
                raise DataError(
                    f"{where}: {column} has {len(content[column]):,} characters: expected one "
                    f"sentence, of {LONGEST:,} at most"
                )
        for column in files:
            _check_text(content, column, where)
            held[column] = _inside(folder, content[column], column, where)
    except DataError as error:
        fault = str(error)
    return Row(
        line=number,
        id=content["id"],
        split=content["split"],
        files=held,
        texts={column: content.get(column, "") for column in texts},
        speaker=str(content.get("speaker", "")),
        fault=fault,
    )


def _check_text(content: Mapping[str, Any], column: str, where: str) -> None:
    value = content.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {column} = {value!r}: expected a text that is not empty")


def _inside(folder: Path, name: str, column: str, where: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder):
        raise DataError(f"{where}: {column} = {name!r}: leads out of the folder {folder}")
    if not path.is_file():
        raise DataError(f"{where}: {column} = {name!r}: there is no such file")
    return path


def parted(rows: Sequence[Row], names: Mapping[str, str], file: Path) -> dict[str, list[Row]]:
    """Sort lines by split.

    Args:
        rows: The lines.
        names: The file's names of splits -> ours.
        file: For messages.

    Raises:
        DataError: A line is of no split that is known.
    """
    found: dict[str, list[Row]] = {name: [] for name in dict.fromkeys(names.values())}
    for row in rows:
        if row.split not in names:
            raise DataError(
                f"{file}: line {row.line}: unknown split {row.split!r}, expected one of "
                f"{', '.join(names)}"
            )
        found[names[row.split]].append(row)
    return found


def usable(
    splits: Mapping[str, Sequence[Row]],
) -> tuple[dict[str, list[Row]], dict[str, list[str]]]:
    """Return the lines of each split without a fault, and the faults of the others.

    Raises:
        DataError: All lines of a split have one.
    """
    good: dict[str, list[Row]] = {}
    faults: dict[str, list[str]] = {}
    for name, rows in splits.items():
        good[name] = [row for row in rows if not row.fault]
        if len(good[name]) < len(rows):
            faults[name] = [row.fault for row in rows if row.fault]
            if not good[name]:
                raise _left_out.nothing_left(name, faults[name][0])
    return good, faults


def content_digest(cache: Path, rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return the SHA-256 over ids and the content of their files: what features depend on.

    Raises:
        DataError: A file cannot be read.
    """
    jobs = [(row, column) for row in rows for column in columns]
    paths = [row.files[column] for row, column in jobs]
    found = _contents.digests(cache, paths, [row.label for row, _ in jobs])
    total = hashlib.sha256()
    for (row, column), digest in zip(jobs, found, strict=True):
        total.update(f"{row.id}\0{column}\0{digest}\n".encode())
    return total.hexdigest()
