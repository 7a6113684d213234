"""Results folders of made-up records: a reference record again and again, with other scores.

Every record is as large as a real one (definition, provenance, curve), so that reading it costs
what reading a real one does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from mmbench import sealed, store
from mmbench.items import NAMES

LATE = Path(__file__).parents[2] / "results/reference/captioning/late"
#: The metrics, each of a family of its own.
METRICS = ("rouge_l", "cider_d")


class Size(NamedTuple):
    """How much is made up."""

    tasks: int
    models: int
    seeds: int
    items: int

    @property
    def records(self) -> int:
        """How many records that is."""
        return self.tasks * self.models * self.seeds


def write(results: Path, size: Size) -> None:
    """Write records of every model on every task, `size.seeds` each."""
    whole = [(results, size, task, model) for task in range(size.tasks) for model in _models(size)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_write, whole, chunksize=8))


def _models(size: Size) -> Iterator[int]:
    yield from range(size.models)


def _write(what: tuple[Path, Size, int, int]) -> None:
    results, size, task, model = what
    like = store.read(next(LATE.glob("small-s0-*"))).record
    draw = np.random.default_rng([task, model])
    easy = np.random.default_rng(task).random(size.items)  # an item is easy for all models
    for seed in range(size.seeds):
        quality = 0.3 + 0.4 * model / size.models + draw.normal(0, 0.01)
        noise = draw.normal(0, 0.2, (2, size.items))
        values = np.clip(quality + 0.3 * easy + noise, 0.0, 1.0)
        _place(results, like, (task, model, seed), values * np.array([[1.0], [10.0]]))


def _place(
    results: Path, like: store.Record, place: tuple[int, int, int], values: np.ndarray
) -> None:
    """Write one record as `store.write` would, but that it waits for no disk."""
    task, model, seed = place
    identity = hashlib.sha256(repr(place).encode()).hexdigest()
    ids = [f"test-{k:05d}" for k in range(values.shape[1])]
    ones = np.ones(values.shape[1])
    statistics = {
        metric: ([metric, "count"], np.stack([own, ones], 1))
        for metric, own in zip(METRICS, values, strict=True)
    }
    table = store.items_table({"test": ids}, {"test": statistics}, {"test": None})
    file = pa.BufferOutputStream()
    parquet.write_table(table, file, compression="zstd", use_dictionary=list(NAMES))
    items = file.getvalue().to_pybytes()
    spec = like.definition["task"] | {
        "name": f"task{task:03d}",
        "metrics": {"main": METRICS[0], "also": list(METRICS[1:])},
        "levels": {"rouge_l": {"floor": 0.2, "ceiling": 1.0}},
    }
    score = {
        metric: msgspec.structs.replace(
            like.scores["test"][metric], value=float(own.mean()), n=len(own)
        )
        for metric, own in zip(METRICS, values, strict=True)
    }
    record = msgspec.structs.replace(
        like,
        task=spec["name"],
        task_digest=hashlib.sha256(spec["name"].encode()).hexdigest(),
        model=f"model{model:03d}",
        model_digest=hashlib.sha256(str(model).encode()).hexdigest(),
        seed=seed,
        identity=identity,
        definition=like.definition | {"task": spec},
        scores={"test": score},
        files={store.ITEMS: hashlib.sha256(items).hexdigest()},
    )
    folder = store.folder_of(results, record)
    folder.mkdir(parents=True)
    (folder / store.ITEMS).write_bytes(items)
    (folder / store.RECORD).write_bytes(sealed.encode(sealed.seal(record)))
