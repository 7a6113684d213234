"""COCO's annotations: ``{"images": [...], "annotations": [{"image_id", "id", "caption"}]}``.

Its results, ``[{"image_id", "caption"}]``, are rows like any other (`document`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbench.errors import DataError
from mmbench.tables.table import Table, from_rows


def recognise(content: Any) -> bool:
    """Whether a JSON document has this layout."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("annotations"), list)
        and isinstance(content.get("images"), list)
    )


def read(content: Mapping[str, Any], path: Path) -> Table:
    """Return a row an annotation, so that an image has as many rows as captions.

    The annotation's own id is called ``annotation_id``; what the image says of itself stands
    beside (``file_name``, ...). An image without annotations has one row without a caption.

    Raises:
        DataError: An image or an annotation lacks its id, or names an image that is not there.
    """
    images: dict[Any, dict[str, Any]] = {}
    for k, image in enumerate(content["images"]):
        if not isinstance(image, dict) or "id" not in image:
            raise DataError(f"{path}: images[{k}] has no id")
        images[image["id"]] = {
            key: value
            for key, value in image.items()
            if key != "id" and isinstance(value, str | int | float)
        }
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    for k, annotation in enumerate(content["annotations"]):
        if not isinstance(annotation, dict) or "image_id" not in annotation:
            raise DataError(f"{path}: annotations[{k}] has no image_id")
        if annotation["image_id"] not in images:
            raise DataError(
                f"{path}: annotations[{k}]: there is no image {annotation['image_id']!r}"
            )
        own = {("annotation_id" if key == "id" else key): v for key, v in annotation.items()}
        rows.append({**images[annotation["image_id"]], **own})
        places.append(f": annotations[{k}]")
    annotated = {row["image_id"] for row in rows}
    for name, image in images.items():
        if name not in annotated:
            rows.append({**image, "image_id": name})
            places.append(f": image {name}")
    return from_rows(str(path), rows, places.__getitem__)
