"""How long a run will take, judged by earlier ones on the same task and budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmbench import store
from mmbench.run import Run


class _Past(NamedTuple):
    """What an earlier run took; whether on the CPU, since no GPU is like another."""

    task: str
    budget: str
    on_cpu: bool
    model: str
    seconds: float


def forecast(runs: Sequence[Run]) -> list[float | None]:
    """Return the seconds that each run will take; None where nothing like it has been run.

    The mean of the same model's earlier runs on this task, budget and device; else of all models'.
    """
    past = {results: _past(results) for results in {run.settings.results for run in runs}}
    return [_expect(run, past[run.settings.results]) for run in runs]


def _expect(run: Run, past: Sequence[_Past]) -> float | None:
    alike = (run.task.name, run.budget, run.device == "cpu")
    found = [one for one in past if (one.task, one.budget, one.on_cpu) == alike]
    same = [one for one in found if one.model == run.model.name] or found
    return sum(one.seconds for one in same) / len(same) if same else None


def _past(results: Path) -> list[_Past]:
    return [
        _Past(
            r.task,
            r.budget,
            r.provenance.get("device") == "cpu",
            r.model,
            float(r.cost.get("train_seconds", 0.0)) + float(r.cost.get("test_seconds", 0.0)),
        )
        for r in (stored.record for stored in store.scan(results)[0])
    ]
