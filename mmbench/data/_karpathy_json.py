"""The JSON file of Karpathy's layout, read strictly: an image that is wrong is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mmbench.errors import DataError

#: Characters of a caption at most: whatever has more is no caption.
LONGEST = 5_000
#: The splits that a file of this layout knows.
SPLITS = ("train", "val", "test", "restval")


@dataclass(frozen=True)
class Photo:
    """One image as the annotations have it.

    Attributes:
        index: Its place in the file's ``images``.
        filename: Its name in the folder of images; unique.
        split: One of `SPLITS`.
        captions: At least one, as people wrote them.
        folder: The folder that it lies in, inside of that of all images; empty: in that one.
    """

    index: int
    filename: str
    split: str
    captions: tuple[str, ...]
    folder: str = ""

    @property
    def path(self) -> Path:
        """Where it lies, from the folder of images."""
        return Path(self.folder, self.filename)


class _Sentence(msgspec.Struct):
    raw: str


class _Image(msgspec.Struct):
    filename: str
    split: str
    sentences: list[_Sentence]
    filepath: str = ""


class _File(msgspec.Struct):
    # Raw, because msgspec does not say at which element of an array it failed.
    images: list[msgspec.Raw]


def read(file: Path) -> list[Photo]:
    """Return all images, in the file's order. Keys that we do not need may say anything.

    Raises:
        DataError: The file is missing or broken, or an image in it is: one line that names it.
    """
    try:
        entries = msgspec.json.decode(file.read_bytes(), type=_File).images
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # broken JSON, another shape, or bytes that are not UTF-8
        raise DataError(f"{file}: is not JSON in Karpathy's layout: {error}") from None
    found: list[Photo] = []
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        where = f"{file}: images[{index}]"
        try:
            image = msgspec.json.decode(entry, type=_Image)
        except ValueError as error:
            raise DataError(
                f"{where}: {error}; expected filename, split and sentences, each with raw"
            ) from None
        _check(image, where, seen)
        seen[image.filename] = index
        captions = tuple(sentence.raw for sentence in image.sentences)
        found.append(Photo(index, image.filename, image.split, captions, image.filepath))
    return found


def is_bare(name: str) -> bool:
    """Whether a name leads into no other folder."""
    return name not in ("", ".", "..") and "/" not in name and "\\" not in name


def _check(image: _Image, where: str, seen: Mapping[str, int]) -> None:
    name = image.filename
    if not is_bare(name):
        raise DataError(f"{where}: filename {name!r} is not the bare name of a file")
    if image.filepath and not is_bare(image.filepath):
        raise DataError(f"{where}: {name}: filepath {image.filepath!r} is not a folder's bare name")
    if image.split not in SPLITS:
        raise DataError(
            f"{where}: {name}: unknown split {image.split!r}, expected one of {', '.join(SPLITS)}"
        )
    if not image.sentences:
        raise DataError(f"{where}: {name} has no captions: an image needs at least one")
    if name in seen:
        raise DataError(f"{where}: {name} stands at images[{seen[name]}] already: remove one")
