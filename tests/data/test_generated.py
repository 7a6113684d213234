"""What holds of every dataset that is generated, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import _cache, _load
from mmbench.data._cache import Parts
from mmbench.data._contract import Request

#: Bytes of an item that all items may have in memory at once, until they are in the cache.
SMALL = 4096
GENERATED = [
    name
    for name in catalog.task_names(shipped=True)
    if not _load.needs_data(catalog.task(name)) and not _load.source_digest(catalog.task(name))
]


def request(name: str, items: int, cache: Path) -> Request:
    task = catalog.task(name)
    splits = {split: items if split == "train" else 2 for split in task.splits}
    return Request(
        task.name, task.dataset.version, task.dataset.seed, task.dataset.params, splits, None,
        cache, task.modalities, task.outputs,
    )  # fmt: skip


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_large_goes_to_the_cache_part_by_part(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a split need not fit into memory."""
    items, parts = 600, 0
    write = _cache._write

    def watched(folder: Path, key: str, arrays: Mapping[str, Any], values: Any) -> None:
        nonlocal parts
        for field, array in arrays.items():
            if isinstance(array, Parts):
                parts += 1
                for part in array.make():
                    assert len(part) < array.shape[0] or array.shape[0] < items, field
                    assert np.asarray(part).shape[1:] == array.shape[1:]
                    break
            elif field.startswith("train."):
                assert np.asarray(array).nbytes / items <= SMALL, f"{field} is held as a whole"
        write(folder, key, arrays, values)

    monkeypatch.setattr(_cache, "_write", watched)
    dataset = registry.load("dataset", catalog.task(name).dataset.name)(
        request(name, items, tmp_path)
    )
    pixels = [m for m in dataset.signature.modalities.values() if m.kind in ("image", "video")]
    if pixels:
        assert parts, "pictures are rendered block by block"
