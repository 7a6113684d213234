"""Looks at one column at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmbench.data import _hdf5
from mmbench.data.manifest import cells
from mmbench.data.manifest.decode import BadItemError
from mmbench.data.manifest.table import Table
from mmbench.draft import _media
from mmbench.draft._column import Column, limit
from mmbench.errors import UsageError

#: Endings of a path -> kind of modality; of .npy files the array tells.
ENDINGS = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3"), "spectrogram"),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg"), "video"),
    ".npy": "npy",
}
#: What files call their splits -> ours.
SPLITS = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "te", "eval", "evaluation"), "test"),
}
#: Columns of these names say in which split an item is, whatever else they hold.
_SPLIT = re.compile(r"^(split|subset|partition)$")
_GROUP = re.compile(
    r"^(.*[_ ])?(speaker|video|subject|patient|person|session|user|author|series|group|clip_of)"
    r"([_ ]?(id|name|nr|no|number))?$"
)
#: Columns of several classes in one cell.
_SEVERAL = re.compile(r"^(tags?|genres?|labels|classes|categories|keywords|topics)$")
#: What files write where a number is missing.
_MISSING = {"na", "n/a", "nan", "null", "none", "?", "-"}
#: Such a share of the cells has to be as expected; 'mmbench data check' names the others.
_MOST = 0.9
#: More classes than these are no label but a name.
MOST_CLASSES = 100
#: Of so many media the sizes are looked at.
LOOKED_AT = 500


def look(table: Table, name: str, file: Path) -> Column:
    """Say what a column seems to be, by its name and by what stands in it.

    Args:
        table: The manifest.
        name: The column's.
        file: Where the manifest is; paths in it are relative to its folder.

    Raises:
        UsageError: The column names files or splits, and none that would do.
    """
    every = [row.get(name) for row in table.rows]
    there = [cell for cell in every if not cells.blank(cell)]
    column = Column(name, blanks=len(every) - len(there))
    if not there:
        column.why = "every cell is blank"
        return column
    folder = file if file.is_dir() else file.parent
    base = folder.resolve()
    for guess in (_as_split, _as_media, _as_numbers, _as_list, _as_word):
        try:
            if guess(column, there, base):
                break
        except UsageError as error:
            raise UsageError(f"{file}: {error}") from None
    if column.role == "modality" and column.blanks:
        column.keys["optional"] = True
    return column


def _as_split(column: Column, there: Sequence[Any], _: Path) -> bool:
    if not all(isinstance(cell, str) for cell in there):
        return False
    words = {cell.strip().lower() for cell in there}
    others = sorted(word for word in words if word not in SPLITS)
    named = bool(_SPLIT.match(column.name.lower()))
    if not any(SPLITS.get(word) == "train" for word in words):
        if named and len(words) <= MOST_CLASSES:
            raise UsageError(
                f"the column {column.name!r} holds {', '.join(sorted(words)[:8])}, and none is "
                f"train: expected train, val (dev) and test"
            )
        return False
    if (others or column.blanks) and not named:
        return False
    column.role, column.why = "split", f"holds {', '.join(sorted(set(there)))}"
    if others:
        column.why += f"; {', '.join(others)}: in no split: dataset.params.names says which"
    ours = Counter(SPLITS[word] for word in words if word in SPLITS)
    for split, several in ours.items():
        if several > 1:
            column.why += f"; {several} of them become {split}"
    return True


def _as_media(column: Column, there: Sequence[Any], folder: Path) -> bool:
    kinds: set[str] = set()
    for cell in there:
        kind = _media_kind(cell)
        if not kind:
            return False
        kinds.add(kind)
    if len(kinds) != 1:
        return False
    kind = kinds.pop()
    found, why = [], ""
    for cell in there[:LOOKED_AT]:
        try:
            found.append(cells.media(cell, [folder]))
        except BadItemError as error:
            why = why or str(error)  # 'mmbench data check' names all
    if not found:
        raise UsageError(
            f"the column {column.name!r} names files, and none can be read: {why}: paths are "
            f"relative to {folder}"
        )
    column.role, column.why = "modality", f"files of the kind {kind}"
    if kind == "npy":
        column.why = "arrays in files"
    if kind == "npy":
        _media.measure_arrays(column, found)
    else:
        files = [one for one in found if not isinstance(one, _hdf5.Inside)]
        _media.MEASURES[kind](column, files)
    return True


def _media_kind(cell: Any) -> str:
    if isinstance(cell, Mapping) and ("bytes" in cell or "path" in cell):
        inside, path = cell.get("bytes"), cell.get("path")
        if isinstance(path, str) and Path(path).suffix.lower() in ENDINGS:
            return ENDINGS[Path(path).suffix.lower()]
        cell = inside
    if isinstance(cell, bytes):
        return "spectrogram" if cell[:4] in (b"RIFF", b"fLaC", b"OggS") else "image"
    if isinstance(cell, str):
        if _hdf5.named(cell) is not None:
            return "npy"
        return ENDINGS.get(Path(cell).suffix.lower(), "") if len(cell) < 1000 else ""
    return ""


def _as_numbers(column: Column, there: Sequence[Any], _: Path) -> bool:
    """Lists of numbers, one long or one in another, as lists or as text."""
    if not all(isinstance(c, list | tuple | str) for c in there):
        return False
    if any(isinstance(c, str) and not re.match(r"[\[\d.+-]", c.strip()) for c in there):
        return False
    if isinstance(there[0], str) and not re.search(r"[\[,;\s]", there[0].strip()):
        return False
    shapes: Counter[tuple[int, ...]] = Counter()
    try:
        for cell in there:
            shapes[cells.numbers([cell]).shape] += 1
    except BadItemError:
        return False
    if len({len(shape) for shape in shapes}) != 1 or len({shape[1:] for shape in shapes}) != 1:
        return False
    axes = len(next(iter(shapes)))
    usual, count = shapes.most_common(1)[0]
    if axes == 1 and count >= _MOST * len(there):
        column.role, column.kind, column.shape = "modality", "vector", usual
        column.why = f"lists of {column.shape[0]} numbers"
        if count < len(there):
            column.why += f", but for {len(there) - count}"
    elif axes == 1:
        column.why = "lists of numbers of differing lengths"
        return True
    elif axes == 2:
        longest = max(shape[0] for shape in shapes)
        column.role, column.kind = "modality", "sequence"
        column.shape = (longest, next(iter(shapes))[1])
        column.why = f"lists of up to {longest} lists of {column.shape[1]} numbers"
    else:
        return False
    column.keys["standardise"] = True
    return True


def _as_list(column: Column, there: Sequence[Any], _: Path) -> bool:
    if not all(isinstance(cell, list | tuple) for cell in there):
        return False
    inside = [one for cell in there for one in cell]
    if not all(isinstance(one, str) for one in inside):
        return True
    distinct = set(inside)
    if len(distinct) <= min(MOST_CLASSES, max(2, len(inside) // 3)):
        column.role, column.kind = "output", "multilabel"
        column.classes = tuple(sorted(distinct))
        column.why = f"lists of {len(distinct)} different words"
    elif inside:
        column.role, column.kind, column.why = "output", "text", "lists of texts"
        limit(column, inside)
    return True


def _as_word(column: Column, there: Sequence[Any], _: Path) -> bool:
    """Names, classes, numbers and texts."""
    if not all(isinstance(cell, str | int | float | bool) for cell in there):
        column.why = "of no kind that a task has"
        return True
    told = [cell for cell in there if not _is_missing(cell)]
    if told and len(told) < len(there) and len(told) >= len(there) / 2 and _all_numbers(told):
        column.blanks += len(there) - len(told)
        there = told
    distinct = Counter(map(str, there))
    unique = len(distinct) == len(there) and not column.blanks
    numbers = _all_numbers(there)
    low = column.name.lower()
    names = all(isinstance(cell, str | int) and not isinstance(cell, bool) for cell in there)
    if unique and names and (low in ("id", "name", "key", "uid", "index") or low.endswith("_id")):
        column.role, column.why = "id", "no two are alike"
    elif low in ("id", "uid") and names and len(distinct) >= _MOST * len(there):
        column.role = "id"
        column.why = f"by its name; {len(there) - len(distinct)} stand there twice"
    elif _tags(column, there):
        pass
    elif _GROUP.search(low) and len(distinct) < len(there):
        column.role, column.why = "group", f"{len(distinct)} different ones, by its name"
    elif numbers and (not _whole(there) or len(distinct) > 20):
        column.role, column.kind = "number", "scalar"
        column.why = "numbers"
    elif 2 <= len(distinct) <= min(MOST_CLASSES, max(2, len(there) // 3)) and _short(distinct):
        column.role, column.kind = "class", "label"
        spelled = [cells.spelled(cell) for cell in there]
        types = Counter(kind for _, kind in spelled).most_common()
        column.classes = tuple(_ordered({word for word, kind in spelled if kind == types[0][0]}))
        column.why = f"{len(column.classes)} different ones"
        if len(types) > 1:  # 'mmbench data check' names them by their row
            odd = next(word for word, kind in spelled if kind != types[0][0])
            count = len(there) - types[0][1]
            column.why += (
                f"; {count} of another type, {odd} the first, are none: labels have to be of one"
            )
        if not numbers and any(cells.is_number(word) for word in column.classes):
            column.why += ", numbers and words mixed: is that meant?"
        plain = {" ".join(word.lower().split()) for word in column.classes}
        if len(plain) < len(column.classes):
            column.why += ", some of which differ by capitals or blanks only: is that meant?"
    elif unique and not numbers and all(len(str(cell).split()) == 1 for cell in there):
        column.role, column.why = "id", "no two are alike"
    elif all(isinstance(cell, str) for cell in there) and len(distinct) > 1:
        column.role, column.kind = "text", "text"
        column.why = "texts"
    else:
        column.why = "always the same" if len(distinct) == 1 else "neither names, classes nor texts"
    return True


def _is_missing(cell: Any) -> bool:
    if isinstance(cell, float):
        return cell != cell
    return isinstance(cell, str) and cell.strip().lower() in _MISSING


def _tags(column: Column, there: Sequence[Any]) -> bool:
    """Whether cells hold several classes between separators."""
    if not all(isinstance(cell, str) for cell in there):
        return False
    named = bool(_SEVERAL.match(column.name.lower()))
    for separator in ("|", ";", ",") if named else ("|", ";"):
        cut = [[part.strip() for part in cell.split(separator)] for cell in there]
        parts = {part for several in cut for part in several}
        if sum(len(several) > 1 for several in cut) < 0.2 * len(there) or "" in parts:
            continue
        if 2 <= len(parts) <= min(MOST_CLASSES, max(2, len(there) // 3)) and _short(
            dict.fromkeys(parts, 1)
        ):
            column.role, column.kind = "output", "multilabel"
            column.classes = tuple(sorted(parts))
            column.keys["separator"] = separator
            column.why = f"{len(parts)} different words, several in a cell, between {separator!r}"
            return True
    return False


def _short(distinct: Mapping[str, int]) -> bool:
    """Whether words are names of classes, and not texts."""
    return sum(len(word.split()) for word in distinct) <= 3 * len(distinct)


def _all_numbers(there: Sequence[Any]) -> bool:
    try:
        for cell in there:
            cells.number(cell)
    except BadItemError:
        return False
    return True


def _whole(there: Sequence[Any]) -> bool:
    return all(float(cell).is_integer() for cell in there)


def _ordered(names: set[str]) -> list[str]:
    """Sort classes; numbers by their size."""
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)
