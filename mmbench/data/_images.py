"""Photographs to arrays: decoded and resized by Pillow, on several threads, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data._cache import Parts
from mmbench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Decoding beyond this many threads is bound by the disk.
MOST_THREADS = 8
#: Images that are in memory at a time where all are prepared.
AT_A_TIME = 1024


def find_folder(root: Path, names: Sequence[str]) -> Path:
    """Return the first of the folders `names` that `root` holds.

    Raises:
        DataError: There is none of them.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root}: holds no folder of images: expected {' or '.join(map(repr, names))}")


def sizes(paths: Sequence[Path], labels: Sequence[str]) -> list[int]:
    """Return the bytes of each file: what tells cheaply that a photograph was replaced.

    Args:
        paths: N files.
        labels: What to call each in an error, e.g. its place in the annotations.

    Raises:
        DataError: A file is missing or cannot be seen.
    """
    found = []
    for path, label in zip(paths, labels, strict=True):
        try:
            found.append(path.stat().st_size)
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read: {error.strerror} ({label}): every image that the "
                f"annotations name has to be there"
            ) from None
    return found


def decode(paths: Sequence[Path], labels: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Decode images and resize each to a square, its proportions not kept, nothing cut off.

    A JPEG is decoded at the smallest scale that still leaves two pixels for each one wanted, then
    resized by a Lanczos filter. Orientation marks (EXIF) are obeyed; greys, palettes and CMYK
    become RGB; transparency is ignored. Values may differ by a step or two between versions of
    Pillow's JPEG library, never between numbers of threads.

    Args:
        paths: N files of any format that Pillow reads.
        labels: What to call each in an error.
        size: Pixels S of a side.

    Returns:
        [N, 3, S, S] uint8, RGB.

    Raises:
        DataError: A file is missing, truncated or no image; the first such one is named.
    """
    pixels = np.empty((len(paths), 3, size, size), dtype=np.uint8)

    def put(index: int) -> None:
        pixels[index] = _decode_one(paths[index], labels[index], size)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        for _ in pool.map(put, range(len(paths))):
            pass  # only to raise what a thread raised, the first item first
    return pixels


def decoded(paths: Sequence[Path], labels: Sequence[str], size: int) -> Parts:
    """Return what `decode` returns, as an array to be written to the cache part by part.

    All of a large dataset need not fit into memory; the arguments are those of `decode`.
    """

    def make() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(paths), AT_A_TIME):
            part = slice(start, start + AT_A_TIME)
            yield decode(paths[part], labels[part], size)

    return Parts((len(paths), 3, size, size), np.uint8, make)


def _decode_one(path: Path, label: str, size: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size, 2 * size))
            upright = ImageOps.exif_transpose(image.convert("RGB"))
            small = upright.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return np.asarray(small, dtype=np.uint8).transpose(2, 0, 1)
    except Exception as error:  # Pillow's readers raise many kinds, SyntaxError among them
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be decoded ({label}): {why}: copy the file again from its source"
        ) from None
