"""Records of predictions that were made elsewhere: what ``mmbench score --save`` keeps.

Such a record is like any other (`mmbench.store`), of the family `FAMILY`, with two differences.
Nobody knows what the training cost, so it stands on a board of its own, under the budget
`BUDGET`, unless its maker says which of the task's budgets was kept to. And without a task it
stands for the file of references: all that is scored on the same content shares a board.

What was predicted and how it was read make a record; the metrics do not. Saving the same once more
with other metrics adds their scores to those that are there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmbench import catalog, provenance, registry, store
from mmbench.data import _load
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


@dataclass(frozen=True)
class Asked:
    """What was asked for that an evaluation does not keep.

    Attributes:
        columns: Role -> column, where the user said which.
        clusters: Column of the unit that items share; empty: the task's own, or none.
        kind: Kind of the output, where the user said which.
        allow_missing: Whether items without a prediction count as failures or are refused.
        data: Folder of the user's data.
        files: Files of metrics, named instead of the metric in them.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    clusters: str = ""
    kind: str = ""
    allow_missing: bool = False
    data: Path | None = None
    files: Sequence[Path] = ()


def save(
    found: Evaluation,
    results: Path,
    predictions: Path,
    references: Path | None = None,
    task: str | None = None,
    name: str | None = None,
    seed: int = 0,
    budget: str | None = None,
    asked: Asked | None = None,
) -> store.Stored:
    """Keep an evaluation as a record, or add its scores to the record that is there of the same.

    Args:
        found: The evaluation, of files.
        results: Folder of the records.
        predictions: The file of predictions.
        references: The file of references, where there is one.
        task: How the user called the task.
        name: The model's name; None: that of the file of predictions.
        seed: The training seed.
        budget: The task's budget that the training kept to; None: none.
        asked: What else was asked for; None: nothing.

    Raises:
        UsageError: The name is no folder's name, or the task has no such budget.
        NotComparableError: The model has a record of this seed and split, of other predictions or
            of these read otherwise.
        StoreError: The folder cannot be written, or the record that is there is damaged or was
            scored on other data.
    """
    asked = asked or Asked()
    spec = found.task or _task(found, asked)
    split = found.split or "test"
    own, model = _budget(spec, budget), _model(name, predictions)
    record = _fresh(found, spec, own, model, seed, asked)
    _refuse_other(results, record, split)
    folder = store.folder_of(results, record)
    old = store.read(folder) if (folder / store.RECORD).exists() else None
    families = dict(found.scored.statistics)
    if old is not None:
        families = _families(old, record, found, split) | families
        record = _beside(old.record, record, split)
    if found.task is None:
        spec = _ranked_as_first(results, record, spec, split)
    sides = _sides(references, task)
    given = {"--split": found.split, "--name": name, "--budget": budget, "--seed": seed or None}
    beyond = _leaks(found, record.scores)
    record = msgspec.structs.replace(
        record,
        status="leak" if beyond else "finished",
        reason="; ".join(beyond),
        definition=record.definition | {"task": msgspec.to_builtins(spec)},
        reproduce=_command(record, [predictions.name, *sides], given, asked),
    )
    items = store.items_table({split: list(found.ids)}, {split: families}, {split: found.clusters})
    if old is not None:
        return store.rewrite(old, record, items)
    return store.write(results, record, items, _predictions_table(found, split))


def _fresh(
    found: Evaluation, spec: TaskSpec, budget: str, model: str, seed: int, asked: Asked
) -> store.Record:
    """Return the record as far as nothing that is there has a say in it."""
    how, told = _how(found, asked), {"external": model}
    task, split = _digest(spec, budget), found.split or "test"
    identity = {"task": task, "model": told, "seed": seed, "split": split, **how}
    source = _load.source_digest(spec, asked.data) if found.task is not None else ""
    return store.Record(
        status="finished",
        task=spec.name,
        task_version=spec.version,
        task_digest=task,
        budget=budget,
        model=model,
        family=FAMILY,
        summary=_summary(found),
        model_digest=digest(told),
        seed=seed,
        identity=digest(identity),
        definition={"model": told, "evaluation": how | {"metrics": _metrics(found, asked)}},
        provenance=_provenance(found),
        data={"fingerprint": found.fingerprint, "source": source},
        scores=scores_of({split: found.scored}),
    )


def task_name(found: Evaluation) -> str:
    """Return the name under which its record stands: the task's, or that of the references."""
    if found.task is not None:
        return found.task.name
    stem = Path(found.sources["references"].name).stem.lower()
    name = re.sub(r"[^a-z0-9]+", "_", stem).strip("_") or DATASET
    return f"{name}_{DATASET}" if name in catalog.task_names() else name


def _how(found: Evaluation, asked: Asked) -> dict[str, Any]:
    """Return what was predicted and how it was read: all that scores depend on but the metric."""
    return {
        "predictions": found.sources["predictions"].digest,
        "columns": dict(sorted(asked.columns.items())),
        "clusters": asked.clusters,
        "kind": found.kind,
        "missing": "failures" if asked.allow_missing or found.missing else "refused",
    }


def _leaks(found: Evaluation, scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name what lies beyond a bound; bounds are proven for ``test`` alone."""
    if found.task is None:
        return []
    return leaks(scores.get("test", {}), found.task.levels, tuple(found.task.modalities))


def _families(
    old: store.Stored, record: store.Record, found: Evaluation, split: str
) -> dict[str, Any]:
    """Return the item statistics that are there.

    Raises:
        StoreError: They are damaged, or of other items or data.
    """
    before = store.read_items(old)[split]
    same = old.record.data["fingerprint"] == record.data["fingerprint"]
    if not same or before.ids != list(found.ids):
        raise StoreError(
            f"{old.folder}: was scored on other data than there are now: --name gives these "
            f"predictions another name; or remove it"
        )
    return before.families


def _beside(old: store.Record, new: store.Record, split: str) -> store.Record:
    """Return the new record with what is there beside it: as `mmbench.rescore` does."""
    how = new.definition["evaluation"]
    metrics = old.definition["evaluation"]["metrics"] | how["metrics"]
    now = {key: new.provenance[key] for key in ("mmbench", "commit", "started", "plugins")}
    plugins = old.provenance.get("rescored", {}).get("plugins", {}) | now["plugins"]
    return msgspec.structs.replace(
        new,
        definition=new.definition | {"evaluation": how | {"metrics": metrics}},
        # When it was made and with what stays: boards go by it.
        provenance=old.provenance | {"rescored": now | {"plugins": plugins}},
        scores={split: old.scores[split] | new.scores[split]},
    )


def _ranked_as_first(results: Path, record: store.Record, spec: TaskSpec, split: str) -> TaskSpec:
    """Return the task with the main metric of the first record on its board.

    Nobody wrote down what ranks where the task is a file of references: were it the metric that
    was named last, or that of the first name in the alphabet, one more record would turn a board
    into another one.
    """
    found = []
    for path in sorted((results / record.task).glob(f"*/*/{store.RECORD}")):
        if path.parent.parent.name.startswith(".") or path.parent.name.startswith("."):
            continue
        try:
            other = store.read(path.parent).record
        except StoreError:
            continue  # 'mmbench leaderboard' names what is damaged
        if other.task_digest == record.task_digest:
            found.append(other)
    names = list(record.scores[split])
    if found:
        first = min(found, key=lambda other: (str(other.provenance.get("started")), other.name))
        metrics = msgspec.convert(first.definition["task"], TaskSpec).metrics
        names = list(dict.fromkeys([*metrics.names, *names]))
    return msgspec.structs.replace(spec, metrics=MetricsSpec(main=names[0], also=tuple(names[1:])))


def _task(found: Evaluation, asked: Asked) -> TaskSpec:
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
    return "; ".join([text, *found.warnings])


def _provenance(found: Evaluation) -> dict[str, Any]:
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


def _metrics(found: Evaluation, asked: Asked) -> dict[str, dict[str, str]]:
    """Return metric -> how to name it again, and the file to include where that does not."""
    files = {path.resolve(): path.name for path in asked.files}
    told = {}
    for name in found.scores:
        plain = name.partition("(")[0]
        file = registry.included_file("metric", plain)
        if file is None:
            told[name] = {"name": name}
        elif name == plain and file.resolve() in files:
            told[name] = {"name": f"./{file.name}"}
        else:
            told[name] = {"name": name, "include": f"./{file.name}"}
    return told


def _sides(references: Path | None, task: str | None) -> list[str]:
    """Return the options that name what is right; files by name alone."""
    parts = []
    if task is not None:
        parts += ["-t", f"./{Path(task).name}" if task.endswith(".toml") else task]
    for path in catalog.included() if task is not None else []:
        parts += ["--include", f"./{path.name}"]
    if references is not None:
        parts += ["--references", references.name]
    return parts


def _command(
    record: store.Record, first: Sequence[str], options: Mapping[str, object], asked: Asked
) -> str:
    """Return the command that makes this record again."""
    metrics = record.definition["evaluation"]["metrics"].values()
    parts = ["mmbench", "score", *first]
    for file in dict.fromkeys(told["include"] for told in metrics if "include" in told):
        parts += ["--include", file]
    parts += ["--metrics", ",".join(told["name"] for told in metrics)]
    for role, column in asked.columns.items():
        parts += ["--column", f"{role}={column}"]
    for option, value in {"--kind": asked.kind, "--cluster": asked.clusters, **options}.items():
        parts += [option, str(value)] if value else []
    parts += ["--data", "DIR"] if asked.data is not None and record.data["source"] else []
    parts += ["--allow-missing"] if asked.allow_missing else []
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
                f"{path.parent}: seed {record.seed} of {record.model!r} is there, "
                f"{_otherwise(other, record)}: --name gives these another name, --seed another "
                f"seed; or remove it"
            )


def _otherwise(other: store.Record, record: store.Record) -> str:
    """Say in what two evaluations differ."""
    before, now = (r.definition.get("evaluation", {}) for r in (other, record))
    if before.get("predictions") != now["predictions"]:
        return "of other predictions"
    words = {
        "columns": "--column",
        "clusters": "--cluster",
        "kind": "--kind",
        "missing": "--allow-missing",
    }
    return f"scored with other {' and '.join(w for k, w in words.items() if before[k] != now[k])}"


def _predictions_table(found: Evaluation, split: str) -> Any:
    """Return the predictions; classes by name, and of retrieval nothing but rankings."""
    said, values = found.predictions, list(found.predictions.outputs[found.output])
    classes = getattr(found.references, "classes", None)
    if found.kind == "label" and classes is not None:
        values = [classes[v] if isinstance(v, int | np.integer) else v for v in values]
    columns = {} if found.kind == "match" else said.columns
    kept = Predictions(said.ids, {found.output: values}, columns)
    return store.predictions_table({split: kept})
