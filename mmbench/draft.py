"""Writes the task of a manifest after looking at it: what each column is, by its name and content.

Nothing is asked. What was guessed is told, and what to check; the TOML has it all in plain sight.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from mmbench import catalog
from mmbench.data import _hdf5
from mmbench.data._contract import Request
from mmbench.data.manifest import cells
from mmbench.data.manifest import items as _items
from mmbench.data.manifest import table as _table
from mmbench.data.manifest.decode import BadItemError
from mmbench.data.manifest.params import Params
from mmbench.data.manifest.table import Table
from mmbench.errors import DataError, MissingExtraError, UsageError
from mmbench.spec import parse_task
from mmbench.text import tokenize

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
_RIGHT = re.compile(
    r"^(y|label|labels|class|classes|target|category|categories|emotion|sentiment|tags?|genres?|"
    r"answer|caption|captions|transcript|translation|reference|references|summary|score|rating|"
    r"intensity|valence|arousal|diagnosis|outcome|species|intent|topic|polarity)$"
)
_TEXT_RIGHT = re.compile(r"caption|transcript|translation|reference|summary|answer")
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
#: Words of a text, and frames of a sound or a video, that a drafted task takes at most.
LONGEST = 256
#: Characters of a text that a manifest allows if its TOML says nothing.
CHARACTERS = 2000
FRAMES = 1000
#: Pixels of a side beyond which images are resized.
LARGEST = 128
SIDE = 64


@dataclass(frozen=True)
class Draft:
    """A task's TOML, and what its author should know.

    Attributes:
        text: The TOML.
        notes: What was guessed, and what to check; lines.
    """

    text: str
    notes: tuple[str, ...]


@dataclass
class _Column:
    """What a column seems to be.

    Attributes:
        name: Its name.
        role: ``id``, ``split``, ``group``, ``modality``, ``output``, ``subgroup`` or ``unused``.
        kind: Of a modality or an output.
        shape: Of a modality.
        keys: What stands in its table in the TOML beside the column.
        classes: Of an output.
        blanks: How many cells are blank.
        why: What it was told by.
    """

    name: str
    role: str = "unused"
    kind: str = ""
    shape: tuple[int, ...] = ()
    keys: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    blanks: int = 0
    why: str = ""


def draft(file: Path, name: str) -> Draft:
    """Look at a manifest and write its task.

    Args:
        file: The manifest; paths in it are relative to its folder.
        name: The task's.

    Raises:
        DataError: It cannot be read.
        UsageError: No column can be what is right, or what is given.
    """
    table = _table.read(file)
    columns = [_look(table, column, file) for column in table.columns]
    _settle(table, columns)
    params, notes = _params(table, columns, file)
    try:
        text = _toml(table, columns, params, name)
    except DataError:
        if "group" not in params:
            raise
        group = params.pop("group")
        text = _toml(table, columns, params, name)
        notes = [note for note in notes if not note.startswith("all items of one")]
        notes.append(f"{group} has too few values to draw splits by: they cross splits")
    parse_task(tomllib.loads(text), f"{name}.toml")
    notes = [*_told(columns), *notes]
    return Draft(text, tuple(notes))


# --- one column ----------------------------------------------------------------------------------


def _look(table: Table, name: str, file: Path) -> _Column:
    every = [row.get(name) for row in table.rows]
    there = [cell for cell in every if not cells.blank(cell)]
    column = _Column(name, blanks=len(every) - len(there))
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


def _as_split(column: _Column, there: Sequence[Any], _: Path) -> bool:
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


def _as_media(column: _Column, there: Sequence[Any], folder: Path) -> bool:
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
        _measure_arrays(column, found)
    else:
        files = [one for one in found if not isinstance(one, _hdf5.Inside)]
        _MEASURES[kind](column, files)
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


def _as_numbers(column: _Column, there: Sequence[Any], _: Path) -> bool:
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


def _as_list(column: _Column, there: Sequence[Any], _: Path) -> bool:
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
        _limit(column, inside)
    return True


def _as_word(column: _Column, there: Sequence[Any], _: Path) -> bool:
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
        if not numbers and any(_is_number(word) for word in column.classes):
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


def _tags(column: _Column, there: Sequence[Any]) -> bool:
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


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
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


def _words(texts: Sequence[str]) -> int:
    return max(1, *map(len, tokenize(list(texts))))


def _limit(column: _Column, texts: Sequence[str]) -> None:
    """Say how long texts that are learned may be, and that longer ones are cut."""
    most = _words(texts)
    column.keys["max_length"] = min(most + 1, LONGEST)
    if most + 1 > LONGEST:
        column.keys["cut"] = True
        column.why += f" of up to {most} words, learned up to word {LONGEST - 1}"
    if max(map(len, texts)) > CHARACTERS:
        column.keys["longest"] = max(map(len, texts))


# --- media ---------------------------------------------------------------------------------------


def _measure_images(column: _Column, found: Sequence[Path | bytes]) -> None:
    from io import BytesIO

    from PIL import Image

    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for one in found:
        try:
            with Image.open(BytesIO(one) if isinstance(one, bytes) else one) as opened:
                turned = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                sizes[opened.size[::-1] if turned else opened.size] += 1
                grey = grey and opened.mode in ("1", "L")
        except Exception:  # of many kinds; 'mmbench data check' names the file
            continue
    column.kind = "image"
    width, height = sizes.most_common(1)[0][0] if sizes else (SIDE, SIDE)
    if len(sizes) != 1 or max(width, height) > LARGEST:
        column.keys["resize"] = True
        told = f"{width} x {height}" if len(sizes) == 1 else f"{len(sizes)} different sizes"
        column.why += f" of {told}, resized to {SIDE} x {SIDE}"
        width = height = SIDE
    column.shape = (1 if grey and sizes else 3, height, width)


def _measure_sounds(column: _Column, found: Sequence[Path | bytes]) -> None:
    from io import BytesIO

    try:
        import soundfile
    except ModuleNotFoundError:
        raise MissingExtraError("soundfile, which decodes sound,", "media") from None
    rates: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    longest = 0.0
    for one in found:
        try:
            told = soundfile.info(BytesIO(one) if isinstance(one, bytes) else str(one))
        except (RuntimeError, OSError, TypeError):
            continue
        rates[told.samplerate] += 1
        channels[told.channels] += 1
        longest = max(longest, told.frames / told.samplerate)
    rate = rates.most_common(1)[0][0] if rates else 16000
    column.kind, column.keys["rate"] = "spectrogram", rate
    if len(rates) > 1:
        column.keys["resample"] = True
        column.why += f" of {len(rates)} rates, resampled to {rate}"
    if max(channels, default=1) > 1:
        column.keys["mono"] = True
        column.why += ", channels averaged"
    frames = max(1, int((longest - 0.025) / 0.01) + 2)
    if frames > FRAMES:
        column.keys["cut"] = True
        column.why += f", cut after {FRAMES / 100:g} s"
    column.shape = (1, min(frames, FRAMES), 40)


def _measure_videos(column: _Column, found: Sequence[Path | bytes]) -> None:
    from io import BytesIO

    try:
        import av
    except ModuleNotFoundError:
        raise MissingExtraError("PyAV, which decodes video,", "media") from None
    sizes: Counter[tuple[int, int]] = Counter()
    longest, grey = 1, True
    for one in found[:50]:
        try:
            content = BytesIO(one) if isinstance(one, bytes) else str(one)
            with av.open(content, "r") as opened:
                stream = opened.streams.video[0]
                sizes[stream.height, stream.width] += 1
                grey = grey and str(stream.codec_context.pix_fmt).startswith("gray")
                frames = stream.frames or len(list(opened.decode(stream)))
                longest = max(longest, int(frames))
        except (av.FFmpegError, OSError, IndexError):
            continue
    column.kind = "video"
    if not grey:
        column.keys["grey"] = True
        column.why += ", read in grey"
    if longest > FRAMES:
        column.keys["cut"] = True
    height, width = sizes.most_common(1)[0][0] if sizes else (SIDE, SIDE)
    column.shape = (min(longest, FRAMES), height, width)
    if len(sizes) > 1:
        column.why += f" of {len(sizes)} sizes: only those of {width} x {height} can be read"


def _measure_arrays(column: _Column, found: Sequence[Path | bytes | _hdf5.Inside]) -> None:
    shapes: list[tuple[int, ...]] = []
    whole, why = True, ""
    for one in found:
        if isinstance(one, bytes):
            continue
        try:
            if isinstance(one, _hdf5.Inside):
                shape, kind = _hdf5.look(one)
            else:
                array = np.load(one, mmap_mode="r", allow_pickle=False)
                shape, kind = array.shape, array.dtype
        except (OSError, ValueError, EOFError, _hdf5.UndecodableError) as error:
            why = why or f": {one if isinstance(one, _hdf5.Inside) else one.name}: {error}"
            continue
        shapes.append(shape)
        whole = whole and kind == np.uint8
    axes = {len(shape) for shape in shapes}
    if axes == {1}:
        column.kind, column.shape = "vector", Counter(shapes).most_common(1)[0][0]
        odd = sum(shape != column.shape for shape in shapes)
        column.why += f" of {column.shape[0]} numbers" + (f", but for {odd}" if odd else "")
        column.keys["standardise"] = True
    elif axes == {2}:
        column.kind = "sequence"
        column.shape = (max(shape[0] for shape in shapes), shapes[0][1])
        column.keys["standardise"] = True
    elif axes == {3} and whole:
        column.kind, column.shape = "image", shapes[0]
    else:
        column.role, column.why = "unused", f"arrays of shapes that no kind has{why}"


_MEASURES = {
    "image": _measure_images,
    "spectrogram": _measure_sounds,
    "video": _measure_videos,
}


# --- all columns together ------------------------------------------------------------------------


def _settle(table: Table, columns: list[_Column]) -> None:
    """Decide what could be several things: one id, one split, what is right, what is given."""
    _one(columns, "id", ("id",))
    _one(columns, "split", ("split",))
    _one(columns, "group", ("speaker", "video", "group"))
    classes = [c for c in columns if c.role == "class"]
    numbers = [c for c in columns if c.role == "number"]
    texts = [c for c in columns if c.role == "text"]
    named = [c for c in (*classes, *numbers) if _RIGHT.search(c.name.lower())]
    right = [c for c in columns if c.role == "output"]
    if right:
        right += named
    else:
        written = [c for c in texts if _TEXT_RIGHT.search(c.name.lower())]
        right = named or classes[-1:] or written[:1] or numbers[-1:]
    for column in right:
        column.role = "output"
        if column.kind == "text" and "max_length" not in column.keys:
            spoken = [r[column.name] for r in table.rows if isinstance(r.get(column.name), str)]
            _limit(column, spoken)
    if not named and len(classes) > 1:
        others = ", ".join(c.name for c in classes if c.role != "output")
        classes[-1].why += f"; {others} could be what is right as well"
    for column in classes:
        if column.role != "output":
            column.role = "subgroup"
    for column in texts:
        if column.role != "output":
            column.role = "modality"
            spoken = [r[column.name] for r in table.rows if isinstance(r.get(column.name), str)]
            most = _words(spoken)
            column.shape = (min(most, LONGEST),)
            if most > LONGEST:
                column.keys["cut"] = True
                column.why += f" of up to {most} words, cut after {LONGEST}"
            if max(map(len, spoken)) > CHARACTERS:
                column.keys["longest"] = max(map(len, spoken))
    _vector(columns, [c for c in numbers if c.role == "number"])
    seen = "; ".join(f"{c.name}: {_role(c)}" for c in columns[:12])
    if not any(c.role == "output" for c in columns):
        raise UsageError(
            f"{table.file}: no column looks like what is right: expected classes (few different "
            f"words), numbers, lists of words, or texts called caption, transcript, ...; here are "
            f"{seen}"
        )
    if not any(c.role == "modality" for c in columns):
        raise UsageError(
            f"{table.file}: no column looks like what is given: expected paths of files that are "
            f"there, lists of numbers, several columns of numbers, or texts; here are {seen}"
        )


def _one(columns: list[_Column], role: str, preferred: Sequence[str]) -> None:
    """Keep one column of a role: the one whose name says so, or the first."""
    several = [c for c in columns if c.role == role]
    if len(several) < 2:
        return
    kept = next((c for word in preferred for c in several if c.name.lower() == word), several[0])
    for column in several:
        if column is not kept:
            column.role = "unused"
            column.why += f"; {kept.name} is taken for the {role}"


def _vector(columns: list[_Column], numbers: list[_Column]) -> None:
    """Make one vector of all columns of numbers that are nothing else."""
    whole = [c for c in numbers if not c.blanks]
    for column in numbers:
        column.role = "unused"
        if column.blanks:
            column.why += ", of which a vector may lack none"
    if not whole:
        return
    taken = {c.name for c in columns}
    name = next(n for n in ("numbers", "features", "columns_of_numbers") if n not in taken)
    vector = _Column(name, "modality", "vector", (len(whole),), {"standardise": True})
    vector.keys["column"] = [c.name for c in whole]
    vector.why = f"the columns of numbers {', '.join(c.name for c in whole)} together"
    if len(whole) == 1:
        vector.keys["column"] = whole[0].name
    columns.append(vector)
    for column in whole:
        column.role, column.why = "part", f"of the modality {name}"


def _params(table: Table, columns: list[_Column], file: Path) -> tuple[dict[str, Any], list[str]]:
    """Return ``[dataset.params]``, and what its author should know of it."""
    notes: list[str] = []
    by = {role: next((c.name for c in columns if c.role == role), "") for role in
          ("id", "split", "group")}  # fmt: skip
    params: dict[str, Any] = {"file": file.name, "id": by["id"]}
    if not by["id"]:
        notes.append("no column has a name for each item: they are called by their rows")
    group = by["group"]
    if by["split"]:
        params["split"] = by["split"]
        told = dict.fromkeys(str(row[by["split"]]) for row in table.rows)
        names = {word: SPLITS.get(word.strip().lower(), "") for word in told}
        params["names"] = {word: ours for word, ours in names.items() if word != ours}
        lacking = {"train", "val", "test"} - set(names.values())
        if lacking == {"val"}:
            params["validation"] = 0.1
            notes.append(
                "the file has no validation items: a tenth of the training items validates"
            )
        elif lacking:
            told_of = ", ".join(sorted(lacking))
            raise UsageError(
                f"{table.file}: the column {by['split']!r} has no item for {told_of}: a "
                f"task needs train and test"
            )
    else:
        params["shares"] = {"train": 0.8, "val": 0.1, "test": 0.1}
        notes.append("no column names splits: 80, 10 and 10 % are drawn by the seed")
    if group and ("shares" in params or "validation" in params):
        params["group"] = group
        notes.append(f"all items of one {group} go into one split")
    if group:
        params["cluster"] = group
    params["groups"] = [c.name for c in columns if c.role == "subgroup" and not c.blanks][:3]
    return {key: value for key, value in params.items() if value or key == "id"}, notes


def _told(columns: list[_Column]) -> list[str]:
    lines = []
    for c in columns:
        blank = f"; {c.blanks} blank" if c.blanks else ""
        lines.append(f"{c.name}: {_role(c)}: {c.why or 'of no kind that a task has'}{blank}")
    return lines


def _role(column: _Column) -> str:
    words = {"group": "cluster", "subgroup": "subgroups", "unused": "not used"}
    if column.role in ("modality", "output"):
        return f"{column.role} ({column.kind})"
    return words.get(column.role, column.role)


# --- the TOML ------------------------------------------------------------------------------------


def _toml(table: Table, columns: list[_Column], params: dict[str, Any], name: str) -> str:
    taken: set[str] = set()
    modalities = {_name(c.name, taken): c for c in columns if c.role == "modality"}
    outputs = {_name(c.name, taken): c for c in columns if c.role == "output"}
    sizes = _sizes(table, params)
    main = next(iter(outputs))
    metric, also = _metrics(outputs[main])
    val = sizes["val"]
    summary = f"{main} from {', '.join(modalities)}"
    lines = [
        f"# The task of {json.dumps(table.file.name)}, as its columns look: change what is wrong.",
        "#",
        f"#   mmbench data check ./{name}.toml",
        f"#   mmbench run -t ./{name}.toml -m late,concat,logistic,majority --budget smoke",
        "",
        "schema = 1",
        f"name = {_value(name)}",
        "version = 1  # raise it when the data change: tables show name@version",
        f"summary = {_value(summary)}",
        "",
        "[dataset]",
        'name = "manifest"',
        "version = 1",
        "seed = 0  # draws splits, where no column names them",
        "",
        "[dataset.params]",
        *(f"{key} = {_value(value)}" for key, value in params.items()),
        "",
        "# Where each modality stands, and what may be done to it: nothing else is.",
        "[dataset.params.modalities]",
        *(f"{key} = {_value(_keys(key, c))}" for key, c in modalities.items()),
        "",
        "[dataset.params.targets]",
        *(f"{key} = {_value(_keys(key, c))}" for key, c in outputs.items()),
        "",
        "[modalities]  # the shape of one item; of what has a length of its own, the longest",
    ]
    for key, c in modalities.items():
        lines.append(f"{key} = {_value({'kind': c.kind, 'shape': list(c.shape)})}")
    lines += ["", "[outputs]"]
    for key, c in outputs.items():
        told: dict[str, Any] = {"kind": c.kind}
        if c.classes:
            told["classes"] = list(c.classes)
        if len(outputs) > 1 and key == main:
            told["main"] = True
        if key != main:
            told["metrics"] = [_metrics(c)[0], *_metrics(c)[1]]
        lines.append(f"{key} = {_value(told)}")
    lines += ["", "[splits]  # checked against what is loaded"]
    lines += [f"{key} = {sizes[key]}" for key in ("train", "val", "test")]
    lines += ["", "[metrics]", f"main = {_value(metric)}", f"also = {_value(list(also))}", ""]
    lines.append("[budgets]")
    train = sizes["train"]
    for budget, items, steps, times in (
        ("smoke", min(train, 256), 16, 1),
        ("small", train, 300, 6),
        ("full", train, 2000, 20),
    ):
        limits = {"items": items, "steps": steps, "validations": times, "validation_items": val}
        lines.append(f"{budget} = {_value(limits)}")
    lines += ["", "[source]", 'licence = ""  # of the data: boards and sites show it', ""]
    return "\n".join(lines)


def _keys(name: str, column: _Column) -> dict[str, Any]:
    keys = dict(column.keys)
    if "column" not in keys and column.name != name:
        keys["column"] = column.name
    return keys


def _name(column: str, taken: set[str]) -> str:
    """Return a name that a modality or an output can have, and none has yet."""
    plain = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_") or "column"
    found = next(n for k in count(1) if (n := plain if k == 1 else f"{plain}_{k}") not in taken)
    taken.add(found)
    return found


def _sizes(table: Table, params: dict[str, Any]) -> dict[str, int]:
    """Count the items of each split, as the dataset itself will sort them."""
    given = {k: v for k, v in params.items() if k not in ("groups", "cluster")}
    splits = {"train": 2, "val": 2, "test": 2}
    request = Request("draft", 1, 0, given, splits, None)
    arranged = _items.arrange(table, request, _as_params(given))
    sizes = {name: len(rows) for name, rows in arranged.splits.items()}
    few = [name for name, count in sizes.items() if count < 2]
    if few:
        raise UsageError(
            f"{table.file}: {len(table)} rows leave {sizes[few[0]]} for the split {few[0]}: a task "
            f"needs two items and more in each"
        )
    return sizes


def _as_params(given: Mapping[str, Any]) -> Params:
    import msgspec

    try:
        return msgspec.convert(given, Params)
    except msgspec.ValidationError as error:
        raise DataError(str(error)) from None


def _metrics(column: _Column) -> tuple[str, tuple[str, ...]]:
    if column.kind == "label":
        return "accuracy", ("macro_f1", "balanced_accuracy", "nll")
    if column.kind == "multilabel":
        return "multilabel_macro_f1", ("multilabel_micro_f1",)
    if column.kind == "scalar":
        return "mae", ("rmse", "pearson")
    if "transcript" in column.name.lower():
        return "wer", ("cer",)
    if "caption" in column.name.lower():
        return "cider_d", ("bleu4", "rouge_l")
    if "translation" in column.name.lower():
        return "sacrebleu", ("chrf",)
    return "rouge_l", ("bleu4", "chrf")


def _value(value: Any) -> str:
    """Spell a value as TOML; tables on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _string(text: str) -> str:
    # What JSON escapes, TOML reads; but for what lies beyond 16 bits, which stays as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def task_name(file: Path) -> str:
    """Return a name for the task of a manifest, that nothing has yet."""
    plain = re.sub(r"[^a-z0-9]+", "_", file.stem.lower()).strip("_")[:28].strip("_") or "own"
    return f"own_{plain}" if plain in catalog.task_names() else plain
