"""The captions files of COCO, read strictly: an image or a caption that is wrong is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from mmbench.data._karpathy_json import Photo, is_bare
from mmbench.errors import DataError


class _Image(msgspec.Struct):
    id: int
    file_name: str


class _Caption(msgspec.Struct):
    id: int
    image_id: int
    caption: str


class _File(msgspec.Struct):
    # Raw, because msgspec does not say at which element of an array it failed.
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]


Row = TypeVar("Row", _Image, _Caption)


def read(file: Path, split: str) -> list[Photo]:
    """Return all images of a file with their captions, in the file's order, in one split.

    The images lie in the folder that the file is named after: ``captions_train2017.json`` is of
    those in ``train2017``. Keys that we do not need may say anything.

    Raises:
        DataError: The file is missing or broken, or something in it is: one line that names it.
    """
    try:
        content = msgspec.json.decode(file.read_bytes(), type=_File)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # broken JSON, another shape, or bytes that are not UTF-8
        raise DataError(f"{file}: is no captions file in COCO's layout: {error}") from None
    images = _rows(file, "images", content.images, _Image)
    spoken: dict[int, list[str]] = {image.id: [] for image in images}
    captions = _rows(file, "annotations", content.annotations, _Caption)
    for index, row in enumerate(captions):
        if row.image_id not in spoken:
            raise DataError(
                f"{file}: annotations[{index}]: image_id {row.image_id} is no image of the file"
            )
        spoken[row.image_id].append(row.caption)
    seen: dict[str, int] = {}
    folder = file.stem.removeprefix("captions_")
    found = []
    for index, image in enumerate(images):
        where = f"{file}: images[{index}]"
        _check(image, where, seen, spoken)
        seen[image.file_name] = index
        found.append(Photo(index, image.file_name, split, tuple(spoken[image.id]), folder))
    return found


def _rows(file: Path, key: str, raw: list[msgspec.Raw], kind: type[Row]) -> list[Row]:
    """Return the rows of a list, no id twice."""
    wanted = ", ".join(item.name for item in msgspec.structs.fields(kind))
    found: list[Row] = []
    seen: dict[int, int] = {}
    for index, entry in enumerate(raw):
        try:
            row = msgspec.json.decode(entry, type=kind)
        except ValueError as error:
            raise DataError(f"{file}: {key}[{index}]: {error}; expected {wanted}") from None
        if row.id in seen:
            raise DataError(
                f"{file}: {key}[{index}]: id {row.id} stands at {key}[{seen[row.id]}] already: "
                f"remove one"
            )
        seen[row.id] = index
        found.append(row)
    return found


def _check(
    image: _Image, where: str, seen: Mapping[str, int], spoken: Mapping[int, list[str]]
) -> None:
    name = image.file_name
    if not is_bare(name):
        raise DataError(f"{where}: file_name {name!r} is not the bare name of a file")
    if name in seen:
        raise DataError(f"{where}: {name} stands at images[{seen[name]}] already: remove one")
    if not spoken[image.id]:
        raise DataError(f"{where}: {name} has no captions: an image needs at least one")
