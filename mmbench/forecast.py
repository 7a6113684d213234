"""How long a run will take, judged by earlier ones on the same task and budget."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from mmbench import store
from mmbench.run import Run


def forecast(run: Run) -> float | None:
    """Return the seconds that a run will take; None where nothing like it has been run.

    The mean of the same model's earlier runs on this task, budget and device; else of all models'.
    """
    found = [
        (model, seconds)
        for task, budget, device, model, seconds in _history(run.settings.results)
        if (task, budget, device == "cpu") == (run.task.name, run.budget, run.device == "cpu")
    ]
    same = [seconds for model, seconds in found if model == run.model.name]
    seconds = same or [seconds for _, seconds in found]
    return sum(seconds) / len(seconds) if seconds else None


@lru_cache(maxsize=4)
def _history(results: Path) -> tuple[tuple[str, str, str, str, float], ...]:
    records = [stored.record for stored in store.scan(results)[0]]
    return tuple(
        (
            r.task,
            r.budget,
            str(r.provenance.get("device", "")),
            r.model,
            float(r.cost.get("train_seconds", 0.0)) + float(r.cost.get("test_seconds", 0.0)),
        )
        for r in records
    )
