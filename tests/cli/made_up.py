"""Records that no run has made: changed ones, and new ones of made-up scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmbench import sealed, store
from mmbench.admission import is_name
from mmbench.store import Stored


def found(model: str, seed: int = 0) -> Stored:
    (one,) = (
        stored
        for stored in store.scan(Path("results"))[0]
        if (stored.record.model, stored.record.seed) == (model, seed)
    )
    return one


def change(stored: Stored, **parts: Any) -> None:
    """Write other things into a record, as another version or another machine would have."""
    record = sealed.seal(msgspec.structs.replace(stored.record, **parts))
    folder = stored.folder
    if record.name != stored.record.name and all(map(is_name, record.name.split("/"))):
        folder = folder.parents[2] / record.name  # it lies where it says
        folder.parent.mkdir(parents=True, exist_ok=True)
        stored.folder.rename(folder)
    (folder / "record.json").write_bytes(msgspec.json.encode(record))


def let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let records in whatever they say: what shows them has to stand it by itself too."""
    monkeypatch.setattr(store.Admission, "__call__", lambda self, path, record: record)
    monkeypatch.setattr(store, "_in_place", lambda stored: stored)


def add(
    model: str,
    rows: Any,
    seed: int = 0,
    ids: list[str] | None = None,
    clusters: list[str] | None = None,
    **parts: Any,
) -> Stored:
    """Store a record of made-up ROUGE-L scores of the items."""
    like = found("late").record
    ids = ids or [f"test-{i:04d}" for i in range(len(rows))]
    statistics = {"rouge_l": (["rouge_l", "count"], np.stack([rows, np.ones(len(rows))], 1))}
    table = store.items_table({"test": ids}, {"test": statistics}, {"test": clusters})
    scored = msgspec.structs.replace(like.scores["test"]["rouge_l"], n=len(rows))
    scores = {"test": {"rouge_l": scored}}
    given = {"model": model, "seed": seed, "identity": f"{model}{seed}" + "0" * 60}
    settings = given | {"scores": scores, "model_digest": model, "files": {}} | parts
    return store.write(Path("results"), msgspec.structs.replace(like, **settings), table)
