"""Keeping an evaluation as a record, or adding its scores to the one that is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mmbench import claims, store
from mmbench.admission import is_id, visible
from mmbench.data import _load
from mmbench.errors import NotComparableError, StoreError, UsageError
from mmbench.external import _command, _content
from mmbench.external._command import Asked
from mmbench.records import leaks, scores_of
from mmbench.spec import MetricsSpec, TaskSpec, digest

if TYPE_CHECKING:
    from mmbench.evaluation import Evaluation

#: The family of models that were trained, or written, elsewhere.
FAMILY = "external"


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
    spec = found.task or _content.task_of(found, asked)
    split = found.split or "test"
    own, model = _content.budget_of(spec, budget), _content.model_of(name, predictions)
    record = _fresh(found, spec, own, model, seed, asked)
    _refuse_other(results, record, split)
    bad = next((name for name in found.ids if not is_id(name)), None)
    if bad is not None:
        raise UsageError(f"{visible(bad, 60)!r} cannot be the id of an item of a record")
    folder = store.folder_of(results, record)
    with claims.alone(results, folder):  # its other metrics may come at the same time
        old = store.read(folder) if (folder / store.RECORD).exists() else None
        families = dict(found.scored.statistics)
        if old is not None:
            families = _families(old, record, found, split) | families
            record = _beside(old.record, record, split)
        if found.task is None:
            spec = _ranked_as_first(results, record, spec, split)
        sides = _command.sides(references, task)
        given = {"--split": found.split, "--name": name, "--budget": budget, "--seed": seed or None}
        beyond = _leaks(found, record.scores)
        record = msgspec.structs.replace(
            record,
            status="leak" if beyond else "finished",
            reason="; ".join(beyond),
            definition=record.definition | {"task": msgspec.to_builtins(spec)},
            reproduce=_command.command(record, [predictions.name, *sides], given, asked),
        )
        items = store.items_table(
            {split: list(found.ids)}, {split: families}, {split: found.clusters}
        )
        if old is not None:
            return store.rewrite(old, record, items)
        return store.write(results, record, items, _content.predictions_table(found, split))


def _fresh(
    found: Evaluation, spec: TaskSpec, budget: str, model: str, seed: int, asked: Asked
) -> store.Record:
    """Return the record as far as nothing that is there has a say in it."""
    how, told = _how(found, asked), {"external": model}
    task, split = _content.digest_of(spec, budget), found.split or "test"
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
        summary=_content.summary(found),
        model_digest=digest(told),
        seed=seed,
        identity=digest(identity),
        definition={"model": told, "evaluation": how | {"metrics": _command.metrics(found, asked)}},
        provenance=_content.made_by(found),
        data={"fingerprint": found.fingerprint, "source": source},
        scores=scores_of({split: found.scored}),
    )


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
