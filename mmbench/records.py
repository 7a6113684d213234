"""What a run leaves: its record, built from what was done, and the command that makes it again."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mmbench import catalog, registry, store
from mmbench.data import _load
from mmbench.scoring import Score, Scored
from mmbench.spec import LevelSpec
from mmbench.train import Trained
from mmbench.types import QUERY, Dataset

if TYPE_CHECKING:
    from mmbench.models.model import Model
    from mmbench.run import Run

#: Standard errors by which a score may exceed a proven bound before it counts as a leak.
LEAK_SE = 4.0


def record(
    run: Run,
    dataset: Dataset,
    model: Model,
    trained: Trained,
    scored: Mapping[str, Scored],
    came_from: dict[str, Any],
) -> store.Record:
    """Return the record of a run: what it was, where it came from, what it scored and cost."""
    scores = scores_of(scored)
    late = model.decision_level and len(run.heard) > 1
    found = leaks(scores.get("test", {}), run.task.levels, run.heard, late)
    status = "diverged" if trained.diverged else "leak" if found else "finished"
    settings = run.settings
    return store.Record(
        status=status,
        reason=trained.diverged or "; ".join(found),
        ranked=settings.limit is None,
        task=run.task.name,
        task_version=run.task.version,
        task_digest=run.task.digest(run.budget),
        budget=run.budget,
        model=run.model.name,
        family=run.model.family,
        summary=run.model.summary,
        model_digest=run.model.digest(),
        seed=run.seed,
        identity=run.identity,
        definition={
            "task": msgspec.to_builtins(run.task),
            "model": msgspec.to_builtins(run.model),
            "signature": _signature(dataset),
            "branches": model.branches,
            "late": late,
            "limit": settings.limit,
            **({"execution": run.execution} if run.execution != "single" else {}),
        },
        provenance=came_from,
        data={
            "fingerprint": dataset.fingerprint,
            "source": _load.source_digest(run.task, settings.data),
            **({"left_out": json.dumps(dataset.left_out)} if dataset.left_out else {}),
        },
        scores=scores,
        curve=[{"step": p.step, "loss": p.loss, "score": p.score} for p in trained.curve],
        cost=_cost(model, trained),
        reproduce=reproduce(run),
    )


def reproduce(run: Run) -> str:
    """Return the command that makes this record again; the user's own paths by file name."""
    named = run.named or run.model.name
    parts = ["mmbench", "run", "-t", _shown(run.task_named or run.task.name), "-m", _shown(named)]
    parts += ["--seeds", f"{run.seed}-{run.seed}", "--budget", run.budget, "--device", run.device]
    settings = run.settings
    parts += ["--threads", str(run.threads)]
    if settings.limit is not None:
        parts += ["--limit", str(settings.limit)]
    if settings.devices > 1:
        parts += ["--devices", str(settings.devices)]
    parts += ["--compile"] if settings.compiled else []
    parts += ["--batch-seeds"] if settings.batch_seeds else []
    parts += ["--deterministic"] if settings.deterministic and run.device == "cuda" else []
    if settings.data is not None and _load.source_digest(run.task, settings.data):
        parts += ["--data", "DIR"]
    if settings.skip_bad:
        parts.append("--skip-bad")
    for path in _includes(run, named):
        parts += ["--include", f"./{path.name}"]
    for name in settings.metrics:
        file = registry.included_file("metric", name)
        parts += ["--metric", f"./{file.name}" if file else name]
    for setting in run.overrides:
        parts += ["--set", setting]
    return shlex.join(parts)


def _shown(name: str) -> str:
    """Show a path by its file's name alone: folders are nobody's business."""
    return f"./{Path(name).name}" if name.endswith((".toml", ".py")) else name


def _includes(run: Run, named: str) -> list[Path]:
    """Return what the command has to include for the names in it to be known."""
    files = [registry.included_file(*key.split(" ", 1)) for key in run.plugins]
    beside = Path(named).resolve().with_suffix(".py")  # comes with the model itself
    own = dict.fromkeys(file for file in files if file is not None and file != beside)
    return [*catalog.included(), *own]


def _signature(dataset: Dataset) -> dict[str, Any]:
    signature = dataset.signature
    return {
        "modalities": {
            name: {"kind": m.kind, "shape": list(m.shape), "vocabulary": list(m.vocabulary)}
            | ({"role": m.role} if m.role != QUERY else {})
            for name, m in signature.modalities.items()
        },
        "outputs": {
            name: {"kind": o.kind, "size": o.size, "vocabulary": list(o.vocabulary), "main": o.main}
            for name, o in signature.outputs.items()
        },
    }


def scores_of(scored: Mapping[str, Scored]) -> dict[str, dict[str, store.StoredScore]]:
    """Return scores as records hold them: split -> metric -> score."""
    return {
        split: {name: _stored(got) for name, got in result.scores.items()}
        for split, result in scored.items()
    }


def _stored(got: Score) -> store.StoredScore:
    low, high = got.bounds
    alone = bool(got.reason)  # one item has no interval
    return store.StoredScore(
        value=got.value,
        low=None if alone else got.low,
        high=None if alone else got.high,
        se=None if alone else got.se,
        n=got.n,
        signature=got.signature,
        higher_is_better=got.higher_is_better,
        bounds=(low, high),
    )


def _cost(model: Model, trained: Trained) -> dict[str, Any]:
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "parameters": count,
        "parameters_in_all": sum(p.numel() for p in model.parameters()),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "stopped_early": trained.stopped_early,
        "train_seconds": trained.seconds,
        "samples_per_second": trained.items / max(trained.seconds, 1e-9),
        **({"parts_of_a_batch": trained.pieces} if trained.pieces > 1 else {}),
        **({"resumed": len(trained.resumed)} if trained.resumed else {}),
    }


def leaks(
    scores: Mapping[str, Any],
    levels: Mapping[str, LevelSpec],
    heard: Sequence[str],
    late: bool = False,
) -> list[str]:
    """Name the scores that lie beyond a proven bound by more than `LEAK_SE` standard errors.

    A bound for a set of modalities holds for every model that hears no more than those; the bound
    of late fusion for every model that merges decisions only.
    """
    found = []
    for metric, level in levels.items():
        got = scores.get(metric)
        if got is None or got.value is None or got.se is None:
            continue  # without a standard error nothing is beyond anything
        # Of several items that all score the same there is no spread to tell an error by.
        se = got.se if got.se == got.se else 0.0 if got.n > 1 else math.inf
        bounds = {k: b for k, b in level.bound.items() if set(heard) <= set(k.split("+"))}
        if late and level.late is not None:
            bounds["late fusion"] = level.late
        for names, bound in bounds.items():
            beyond = got.value - bound if got.higher_is_better else bound - got.value
            if beyond > LEAK_SE * se + 1e-9:
                found.append(
                    f"{metric} {got.value:.4f} is beyond the proven bound {bound:.4f} for {names}"
                )
    return found
