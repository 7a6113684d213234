"""Karpathy's captions: ``{"images": [{"filename", "split", "sentences": [{"raw"}]}]}``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbench.data import _karpathy_json
from mmbench.tables.table import Table


def recognise(content: Any) -> bool:
    """Whether a JSON document has this layout."""
    images = content.get("images") if isinstance(content, dict) else None
    return (
        isinstance(images, list)
        and bool(images)
        and isinstance(images[0], dict)
        and "sentences" in images[0]
    )


def read(content: Mapping[str, Any], path: Path) -> Table:
    """Return a row an image: ``image`` (its file's name), ``split``, ``references``.

    Where the file has them, ``cocoid`` and ``imgid`` stand beside, for ``--column id=cocoid``.

    Raises:
        DataError: An image is wrong: one line that names it.
    """
    photos = _karpathy_json.read(path)
    columns: dict[str, list[Any]] = {
        "image": [photo.filename for photo in photos],
        "split": [photo.split for photo in photos],
        "references": [list(photo.captions) for photo in photos],
    }
    for name in ("cocoid", "imgid"):
        values = [content["images"][photo.index].get(name) for photo in photos]
        if None not in values:
            columns[name] = values
    return Table(str(path), columns, lambda row: f": images[{photos[row].index}]")
