"""Photographs to arrays: decoded and resized by Pillow, on several threads, in a fixed order."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Decoding beyond this many threads is bound by the disk.
MOST_THREADS = 8


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


#: Beyond so many bytes, pixels are put into a file until they are cached.
IN_MEMORY = 256 << 20


def decode(
    paths: Sequence[Path], labels: Sequence[str], size: int, scratch: Path | None = None
) -> NDArray[np.uint8]:
    """Decode images and resize each to a square, its proportions not kept, nothing cut off.

    A JPEG is decoded at the smallest scale that still leaves two pixels for each one wanted, then
    resized by a Lanczos filter. Orientation marks (EXIF) are obeyed; greys, palettes and CMYK
    become RGB; transparency is ignored. Values may differ by a step or two between versions of
    Pillow's JPEG library, never between numbers of threads.

    Args:
        paths: N files of any format that Pillow reads.
        labels: What to call each in an error.
        size: Pixels S of a side.
        scratch: Folder of a temporary file, which no name leads to, for more than `IN_MEMORY` bytes
            of pixels; None: they are always in memory.

    Returns:
        [N, 3, S, S] uint8, RGB.

    Raises:
        DataError: A file is missing, truncated or no image; the first such one is named.
    """
    pixels = _room((len(paths), 3, size, size), scratch)

    def put(index: int) -> None:
        pixels[index] = _decode_one(paths[index], labels[index], size)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        for _ in pool.map(put, range(len(paths))):
            pass  # only to raise what a thread raised, the first item first
    return pixels


def _room(shape: tuple[int, ...], scratch: Path | None) -> NDArray[np.uint8]:
    """Return an array to fill, in a file if it is large.

    Raises:
        DataError: The disk has no room for it.
    """
    size = math.prod(shape)
    if scratch is None or size <= IN_MEMORY:
        return np.empty(shape, dtype=np.uint8)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch) as file:
            # Written pages of a file without room would end the process, not raise an error.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
    except OSError as error:
        raise DataError(
            f"{scratch}: has no room for {size:,} bytes of pixels: {error.strerror or error}; "
            f"MMBENCH_CACHE names another folder"
        ) from None


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
