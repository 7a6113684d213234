"""Records of predictions that were made elsewhere: what ``mmbench score --save`` keeps.

Such a record is like any other (`mmbench.store`), of the family `FAMILY`, with two differences.
Nobody knows what the training cost, so it stands on a board of its own, under the budget
`BUDGET`, unless its maker says which of the task's budgets was kept to. And without a task it
stands for the file of references: all that is scored on the same content shares a board.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmbench import catalog, provenance, registry, store
from mmbench.errors import NotComparableError, StoreError, UsageError, nearest
from mmbench.records import leaks, scores_of
from mmbench.spec import BudgetSpec, DatasetSpec, MetricsSpec, OutputSpec, TaskSpec, digest
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.evaluation import Evaluation

#: The family of models that were trained, or written, elsewhere.
FAMILY = "external"
#: The budget of who kept to none.
BUDGET = "external"
#: The dataset of a task that is only a file of references; nothing builds it.
DATASET = "references"

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def save(
    found: Evaluation,
    results: Path,
    predictions: Path,
    references: Path | None = None,
    task: str | None = None,
    name: str | None = None,
    seed: int = 0,
    budget: str | None = None,
) -> store.Stored:
    """Keep an evaluation as a record.

    Args:
        found: The evaluation, of files.
        results: Folder of the records.
        predictions: The file of predictions.
        references: The file of references, where there is one.
        task: How the user called the task.
        name: The model's name; None: that of the file of predictions.
        seed: The training seed.
        budget: The task's budget that the training kept to; None: none.

    Raises:
        UsageError: The name is no folder's name, or the task has no such budget.
        NotComparableError: The model has a record of this seed and split, of other predictions.
        StoreError: The folder cannot be written.
    """
    spec = found.task or _task(found)
    own = _budget(spec, budget)
    model = _model(name, predictions)
    source = found.sources["predictions"].digest
    told = {"external": model}
    identity = {"task": _digest(spec, own), "model": told, "predictions": source, "seed": seed}
    split = found.split or "test"
    identity |= {"split": split}
    scores = scores_of({split: found.scored})
    beyond = leaks(scores[split], spec.levels, tuple(spec.modalities)) if found.task else []
    record = store.Record(
        status="leak" if beyond else "finished",
        reason="; ".join(beyond),
        task=spec.name,
        task_version=spec.version,
        task_digest=_digest(spec, own),
        budget=own,
        model=model,
        family=FAMILY,
        summary=_summary(found),
        model_digest=digest(told),
        seed=seed,
        identity=digest(identity),
        definition={"task": msgspec.to_builtins(spec), "model": told},
        provenance=_provenance(found),
        data={"fingerprint": found.fingerprint, "source": ""},
        scores=scores,
        reproduce=_command(found, predictions, references, task, name, seed, budget),
    )
    _refuse_other(results, record, split)
    ids = {split: list(found.ids)}
    items = store.items_table(ids, {split: found.scored.statistics}, {split: found.clusters})
    return store.write(results, record, items, _predictions_table(found, split))


def task_name(found: Evaluation) -> str:
    """Return the name under which its record stands: the task's, or that of the references."""
    if found.task is not None:
        return found.task.name
    stem = Path(found.sources["references"].name).stem.lower()
    name = re.sub(r"[^a-z0-9]+", "_", stem).strip("_") or DATASET
    return f"{name}_{DATASET}" if name in catalog.task_names() else name


def _task(found: Evaluation) -> TaskSpec:
    """Return a task that stands for a file of references: its digest is that of the content."""
    source = found.sources["references"]
    if not source.digest:
        raise UsageError("only files can be saved: what was scored lies in memory")
    names = tuple(found.scores)
    return TaskSpec(
        schema=1,
        name=task_name(found),
        version=1,
        summary=f"The references in {source.name}",
        dataset=DatasetSpec(name=DATASET, version=1, params={"sha256": source.digest}),
        modalities={},
        outputs={found.output: OutputSpec(kind=found.kind, main=True)},
        splits={found.split or "test": len(found)},
        metrics=MetricsSpec(main=names[0], also=names[1:]),
        budgets={BUDGET: BudgetSpec(items=1, steps=1)},
        default_budget=BUDGET,
    )


def _budget(spec: TaskSpec, budget: str | None) -> str:
    if budget is None or budget in spec.budgets:
        return budget or BUDGET
    near = nearest(budget, spec.budgets)
    offer = f"did you mean {near!r}? " if near else ""
    known = ", ".join(spec.budgets)
    raise UsageError(f"--budget {budget}: {offer}the task {spec.name!r} has {known}")


def _digest(spec: TaskSpec, budget: str) -> str:
    """Return the task's digest; without a budget, over all else that affects scores."""
    if budget in spec.budgets:
        return spec.digest(budget)
    free = msgspec.structs.replace(spec, budgets={BUDGET: BudgetSpec(items=1, steps=1)})
    return free.digest(BUDGET)


def _model(name: str | None, predictions: Path) -> str:
    """Return a name that is also a folder's."""
    if name is None:
        return re.sub(r"[^A-Za-z0-9_.+-]+", "_", predictions.stem).lstrip("_.+-") or "predictions"
    if not _MODEL.fullmatch(name):
        raise UsageError(
            f"--name {name}: expected letters, digits and _ . + -, beginning with one of the first"
        )
    return name


def _summary(found: Evaluation) -> str:
    text = f"the predictions in {found.sources['predictions'].name}"
    if found.missing:
        text += f"; {len(found.missing):,} of {len(found):,} missing, counted as failures"
    return text


def _provenance(found: Evaluation) -> dict[str, Any]:
    """Describe this process and the files; the machine that scored says nothing of the model."""
    here = provenance.collect("", 1, _plugins(found))
    for key in ("device", "threads", "cpu", "cores"):
        here.pop(key)
    files = {side: source._asdict() for side, source in found.sources.items()}
    return here | {"external": {"files": files, "missing": list(found.missing)}}


def _plugins(found: Evaluation) -> dict[str, str]:
    plain = {name: name.partition("(")[0] for name in found.scores}
    digests = {f"metric {name}": registry.digest("metric", own) for name, own in plain.items()}
    return {name: value for name, value in sorted(digests.items()) if value}


def _command(
    found: Evaluation,
    predictions: Path,
    references: Path | None,
    task: str | None,
    name: str | None,
    seed: int,
    budget: str | None,
) -> str:
    """Return the command that makes this record again; files by name alone."""
    parts = ["mmbench", "score", predictions.name]
    if task is not None:
        parts += ["-t", f"./{Path(task).name}" if task.endswith(".toml") else task]
    if references is not None:
        parts += ["--references", references.name]
    parts += ["--metrics", ",".join(found.scores)]
    for option, value in (("--split", found.split), ("--name", name), ("--budget", budget)):
        parts += [option, value] if value else []
    parts += ["--seed", str(seed)] if seed else []
    parts += ["--allow-missing"] if found.missing else []
    return shlex.join([*parts, "--save"])


def _refuse_other(results: Path, record: store.Record, split: str) -> None:
    """Refuse a second record of one model and seed: which of them counts would be chance."""
    folder = store.folder_of(results, record).parent
    for path in sorted(folder.glob(f"{record.budget}-s{record.seed}-*/{store.RECORD}")):
        try:
            other = store.read(path.parent).record
        except StoreError:
            continue  # 'mmbench leaderboard' names what is damaged
        same = other.task_digest == record.task_digest and split in other.scores
        if same and other.identity != record.identity:
            raise NotComparableError(
                f"{path.parent}: seed {record.seed} of {record.model!r} is there, of other "
                f"predictions: --name gives these another name, --seed another seed; or remove it"
            )


def _predictions_table(found: Evaluation, split: str) -> Any:
    """Return the predictions; classes by name, and of retrieval nothing but rankings."""
    said, values = found.predictions, list(found.predictions.outputs[found.output])
    classes = getattr(found.references, "classes", None)
    if found.kind == "label" and classes is not None:
        values = [classes[v] if isinstance(v, int | np.integer) else v for v in values]
    columns = {} if found.kind == "match" else said.columns
    kept = Predictions(said.ids, {found.output: values}, columns)
    return store.predictions_table({split: kept})
