"""What a record of predictions that were made elsewhere holds: task, model, origin, predictions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmbench import catalog, provenance, registry, store
from mmbench.errors import UsageError, nearest
from mmbench.external._command import Asked
from mmbench.references import readable
from mmbench.spec import BudgetSpec, DatasetSpec, MetricsSpec, OutputSpec, TaskSpec
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.evaluation import Evaluation

#: The budget of who kept to none.
BUDGET = "external"
#: The dataset of a task that is only a file of references; nothing builds it.
DATASET = "references"

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def task_of(found: Evaluation, asked: Asked) -> TaskSpec:
    """Return a task that stands for references: its digest is that of the content."""
    source = found.sources["references"]
    if not source.digest:
        raise UsageError("only files can be saved: what was scored lies in memory")
    names = tuple(found.scores)
    params = {"sha256": source.digest}
    if "reference" in asked.columns:
        params["reference"] = asked.columns["reference"]  # another column, another board
    return TaskSpec(
        schema=1,
        name=task_name(found),
        version=1,
        summary=f"The references in {source.name}",
        dataset=DatasetSpec(name=DATASET, version=1, params=params),
        modalities={},
        outputs={found.output: OutputSpec(kind=found.kind, main=True)},
        splits={found.split or "test": len(found)},
        metrics=MetricsSpec(main=names[0], also=names[1:]),
        budgets={BUDGET: BudgetSpec(items=1, steps=1)},
        default_budget=BUDGET,
    )


def task_name(found: Evaluation) -> str:
    """Return the name under which its record stands: the task's, or that of the references."""
    if found.task is not None:
        return found.task.name
    stem = Path(found.sources["references"].name).stem.lower()
    name = re.sub(r"[^a-z0-9]+", "_", stem).strip("_") or DATASET
    return f"{name}_{DATASET}" if name in catalog.task_names() else name


def budget_of(spec: TaskSpec, budget: str | None) -> str:
    if budget is None or budget in spec.budgets:
        return budget or BUDGET
    near = nearest(budget, spec.budgets)
    offer = f"did you mean {near!r}? " if near else ""
    known = ", ".join(spec.budgets)
    raise UsageError(f"--budget {budget}: {offer}the task {spec.name!r} has {known}")


def digest_of(spec: TaskSpec, budget: str) -> str:
    """Return the task's digest; without a budget, over all else that affects scores."""
    if budget in spec.budgets:
        return spec.digest(budget)
    free = msgspec.structs.replace(spec, budgets={BUDGET: BudgetSpec(items=1, steps=1)})
    return free.digest(BUDGET)


def model_of(name: str | None, predictions: Path) -> str:
    """Return a name that is also a folder's."""
    if name is None:
        return re.sub(r"[^A-Za-z0-9_.+-]+", "_", predictions.stem).lstrip("_.+-") or "predictions"
    if not _MODEL.fullmatch(name):
        raise UsageError(
            f"--name {name}: expected letters, digits and _ . + -, beginning with one of the first"
        )
    return name


def summary(found: Evaluation) -> str:
    text = f"the predictions in {found.sources['predictions'].name}"
    if found.missing:
        text += f"; {len(found.missing):,} of {len(found):,} missing, counted as failures"
    return "; ".join([text, *found.warnings])


def made_by(found: Evaluation) -> dict[str, Any]:
    """Describe this process and the files; the machine that scored says nothing of the model."""
    here = provenance.collect("", 1, _plugins(found))
    for key in ("device", "threads", "cpu", "cores"):
        here.pop(key)
    files = {side: source._asdict() for side, source in found.sources.items()}
    told = {"files": files, "missing": list(found.missing), "unscored": dict(found.reasons)}
    return here | {"external": told}


def _plugins(found: Evaluation) -> dict[str, str]:
    plain = {name: name.partition("(")[0] for name in found.scores}
    digests = {f"metric {name}": registry.digest("metric", own) for name, own in plain.items()}
    return {name: value for name, value in sorted(digests.items()) if value}


def predictions_table(found: Evaluation, split: str) -> Any:
    """Return the predictions; classes by name, and of retrieval nothing but rankings.

    Without a task nobody else knows what was right, so that stands beside each prediction, as
    people read it: in the column ``OUTPUT.references``.
    """
    said, values = found.predictions, list(found.predictions.outputs[found.output])
    classes = getattr(found.references, "classes", None)
    if found.kind == "label" and classes is not None:
        values = [classes[v] if isinstance(v, int | np.integer) else v for v in values]
    columns = {} if found.kind == "match" else dict(said.columns)
    right = readable(found.references) if found.task is None else None
    if right is not None:
        columns[f"{found.output}.references"] = right
    kept = Predictions(said.ids, {found.output: values}, columns)
    return store.predictions_table({split: kept})
