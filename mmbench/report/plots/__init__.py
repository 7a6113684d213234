"""Single figures of many records. A file here is a figure, found by its name.

Each module has ``SUMMARY``, one line; ``gather(source)``, which takes from records what is drawn;
``figure(content)``, which draws it; and ``alt(content)``, which says in words what is to be seen,
for those who cannot see it. Adding a figure is adding a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from mmbench import sealed
from mmbench.errors import StoreError, UnknownNameError, UsageError
from mmbench.report import canvas
from mmbench.report.plots._source import Panel, Source, panels

__all__ = ["Panel", "Source", "content", "draw", "draw_all", "load", "names", "panels", "save"]

#: Endings that nobody gives to a folder.
_IMAGES = (*canvas.FORMATS, "jpg", "jpeg", "gif", "eps", "ps", "webp", "tif", "tiff", "bmp", "html")


def names() -> list[str]:
    """Return the names of all figures, sorted; none is imported.

    >>> "forest" in names()
    True
    """
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load(name: str) -> Any:
    """Return a figure's module.

    Raises:
        UnknownNameError: No figure has that name.
    """
    if name not in names():
        raise UnknownNameError("figure", name, names())
    return import_module(f"{__name__}.{name}")


def kind_of(path: Path, option: str = "--out") -> str:
    """Return the format that a file's ending names.

    Raises:
        UsageError: It names none.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in canvas.FORMATS:
        endings = ", ".join(f".{each}" for each in canvas.FORMATS)
        raise UsageError(f"{option} {path}: expected a name that ends in {endings}")
    return kind


def content(name: str, drawn: Any, kind: str) -> bytes:
    """Return the file of a figure.

    Args:
        name: The figure's.
        drawn: What its ``gather`` returned; of ``forest`` boards.
        kind: One of `canvas.FORMATS`.
    """
    module = load(name)
    return canvas.picture(
        partial(module.figure, drawn), kind, f"mmbench: {name}", module.alt(drawn)
    )


def draw(name: str, source: Source, path: Path) -> str:
    """Draw a figure of records and write it whole or not at all; return what it shows, in words.

    Args:
        name: The figure's.
        source: The records, and what is asked.
        path: Its ending is the format: ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UnknownNameError: No figure has that name.
        UsageError: The ending is another one, or the figure cannot be asked that.
        NotComparableError: The records hold nothing that it could show.
        StoreError: The file cannot be written.
    """
    kind, module = kind_of(path), load(name)
    drawn = module.gather(source)
    save(path, content(name, drawn, kind))
    told: str = module.alt(drawn)
    return told


def draw_all(wanted: Sequence[str], source: Source, out: Path, kind: str = "") -> list[Path]:
    """Draw figures; all names are known before any is drawn.

    Args:
        wanted: Their names.
        source: As `draw` has it.
        out: A file for one figure, else a folder.
        kind: The format of a folder's files, PNG if empty; of a file its ending is enough.

    Raises:
        UsageError: Several figures and one file, or a format that the ending contradicts.
    """
    for name in wanted:
        load(name)
    if out.suffix.lower().removeprefix(".") in _IMAGES and not out.is_dir():
        ending = kind_of(out)
        if len(wanted) > 1:
            raise UsageError(f"--out {out}: one file for {len(wanted)} figures: name a folder")
        if kind and kind != ending:
            raise UsageError(f"--out {out}: ends otherwise than --format {kind}: leave one out")
        paths = {wanted[0]: out}
    else:
        paths = {name: out / f"{name}.{kind or 'png'}" for name in wanted}
    for name, path in paths.items():
        draw(name, source, path)
    return list(paths.values())


def save(path: Path, file: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        sealed.put(path, file)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None
