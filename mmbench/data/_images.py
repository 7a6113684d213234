"""Photographs to arrays: decoded and resized by Pillow, on several threads, in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data import _building, _contents
from mmbench.data._cache import Entry, Made, Parts, source_digest
from mmbench.data._left_out import Bad
from mmbench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Images that are in memory at a time where some are taken.
_AT_A_TIME = 1024


def find_folder(root: Path, names: Sequence[str]) -> Path:
    """Return the first of the folders `names` that `root` holds.

    Raises:
        DataError: There is none of them.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root}: holds no folder of images: expected {' or '.join(map(repr, names))}")


@dataclass(frozen=True)
class Photographs:
    """N images of one folder or more that are to be decoded alike.

    Attributes:
        paths: The files, of any format that Pillow reads.
        labels: What to call each in an error, e.g. its place in the annotations.
        size: Pixels S of a side.
        native: Pixels of a side that every image has to have before it is resized; None: any.
    """

    paths: Sequence[Path]
    labels: Sequence[str]
    size: int
    native: int | None = None


@dataclass(frozen=True)
class _Job:
    path: Path
    label: str
    size: int
    native: int | None
    fault: str | None


def prepared(cache: Path, photographs: Photographs, skip_bad: bool) -> Entry:
    """Return the entry that holds all images decoded, `pixels` [N, 3, S, S] uint8.

    It serves every task and seed that shows these files at this size, whatever folder they lie in.

    A JPEG is decoded at the smallest scale that still leaves two pixels for each one wanted, then
    resized by a Lanczos filter to a square, its proportions not kept, nothing cut off. Orientation
    marks (EXIF) are obeyed; greys, palettes and CMYK become RGB; transparency is ignored. Values
    may differ by a step or two between versions of Pillow's JPEG library, never between numbers of
    threads. Images are decoded in parts by as many threads as `_building.workers` says, and a
    process that was killed goes on where it was.

    Args:
        cache: The cache folder.
        photographs: What is decoded.
        skip_bad: Whether files that are wrong are black, and the entry's value ``bad`` says of each
            such why; else the first raises.

    Raises:
        DataError: A file is missing, truncated, no image, of another size than all have to have, or
            a link out of the data's folder: the first such one is named.
    """
    paths, labels, size = photographs.paths, photographs.labels, photographs.size
    bad: Bad | None = {} if skip_bad else None
    contents = _contents.digests(cache, paths, labels, bad)
    key = {
        "name": "photographs",
        "size": size,
        "native": photographs.native,
        "contents": hashlib.sha256("\n".join(contents).encode()).hexdigest(),
        "pillow": version("pillow"),
        "source": source_digest(__file__),
    }
    faults = bad or {}
    jobs = [
        _Job(path, label, size, photographs.native, faults.get(place))
        for place, (path, label) in enumerate(zip(paths, labels, strict=True))
    ]

    def join(parts: _building.Parts) -> Made:
        def pixels() -> Iterator[NDArray[np.uint8]]:
            for start, made in parts():
                wrong = {int(place) for place in made.get(_building.BAD, ())}
                rows = min(_building.PART, len(jobs) - start)
                part = np.zeros((rows, 3, size, size), dtype=np.uint8)
                good = [row for row in range(rows) if row not in wrong]
                if good:
                    part[good] = made["pixels"]
                yield part

        return {"pixels": Parts((len(jobs), 3, size, size), np.uint8, pixels)}, (
            {"bad": _building.bad_of(parts)} if skip_bad else {}
        )

    if skip_bad:  # reasons name files: copies of a folder have one entry each
        named = "\n".join(f"{path}\0{label}" for path, label in zip(paths, labels, strict=True))
        key["named"] = hashlib.sha256(named.encode()).hexdigest()
    return _building.in_parts(
        cache, key, jobs, _decoded, join, _building.PART, skip_bad, threads=True
    )


def taken(pixels: NDArray[np.uint8], places: Sequence[int]) -> Parts:
    """Return some of the images, in this order, one as often as it is named; a part at a time."""
    wanted = np.asarray(places, dtype=np.int64)

    def make() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(wanted), _AT_A_TIME):
            yield pixels[wanted[start : start + _AT_A_TIME]]

    return Parts((len(wanted), *pixels.shape[1:]), np.uint8, make)


def _decoded(job: _Job) -> dict[str, NDArray[np.uint8]]:
    if job.fault is not None:
        raise DataError(job.fault)
    return {"pixels": decode_one(job.path, job.label, job.size, job.native)[None]}


def decode_one(path: Path, label: str, size: int, native: int | None = None) -> NDArray[np.uint8]:
    """Return an image [3, S, S], as `prepared` says.

    Raises:
        DataError: It cannot be decoded, or is not of the size that it has to have.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if native is not None and image.size != (native, native):
                raise DataError(
                    f"{path}: is {image.width} x {image.height} ({label}), expected {native} x "
                    f"{native}"
                )
            image.draft("RGB", (2 * size, 2 * size))
            upright = ImageOps.exif_transpose(image.convert("RGB"))
            small = upright.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return np.asarray(small, dtype=np.uint8).transpose(2, 0, 1)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds, SyntaxError among them
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be decoded ({label}): {why}: copy the file again from its source"
        ) from None
