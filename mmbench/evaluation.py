"""Scores of what was predicted elsewhere: files, or objects in memory, beside their references.

`score` is `mmbench.score`; `score_task` takes references and metrics from a task. Both are what
``mmbench score`` calls, so the numbers are the same from Python and from the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmbench import registry, scoring
from mmbench.collapse import collapse
from mmbench.errors import (
    DataError,
    IncompatibleError,
    ItemError,
    UsageError,
    counted,
    nearest,
)
from mmbench.metrics._names import metric_names
from mmbench.references import TextReferences
from mmbench.report import evaluation as report
from mmbench.subgroups import Subgroup, subgroups
from mmbench.tables import Table, groups, kinds, of_split, pairs
from mmbench.tables import columns as columns_
from mmbench.tables.matched import Matched, clusters_of, labels_of
from mmbench.tables.memory import table_of
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.references import References
    from mmbench.spec import TaskSpec

#: What the output is called where no task names it.
OUTPUT = "prediction"


class Source(NamedTuple):
    """Where one side came from.

    Attributes:
        name: The file's name without its folder, or what an object in memory is called.
        digest: SHA-256 of the file, empty for an object.
    """

    name: str
    digest: str


@dataclass(frozen=True, repr=False)
class Evaluation:
    """N items, scored.

    Attributes:
        kind: Kind of the output.
        output: Its name.
        scored: Scores, and the statistics of each item that they come from.
        predictions: What was scored, in the order of the items.
        references: What it was compared with.
        missing: Ids without a prediction, which count as failures.
        warnings: What should be known before anyone believes the scores, a sentence each.
        clusters: [N] the unit that each item belongs to, or None.
        by: Column -> its subgroups.
        labels: Column -> [N] the subgroup of each item.
        groupable: Columns whose groups could be scored, those of few different values.
        sources: ``predictions`` and ``references`` -> where they came from.
        asked: The metrics in the order asked for, whether there is a score of them or a reason.
        task: The task whose split was scored, or None.
        split: That split, or the one that rows were taken of; may be empty.
        fingerprint: SHA-256 of what it was compared with, as far as it is known.
    """

    kind: str
    output: str
    scored: scoring.Scored
    predictions: Predictions
    references: References
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    clusters: Sequence[Any] | None = None
    by: Mapping[str, Sequence[Subgroup]] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groupable: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    task: TaskSpec | None = None
    split: str = ""
    fingerprint: str = ""

    @property
    def scores(self) -> Mapping[str, scoring.Score]:
        """Metric -> score, in the order asked for."""
        return self.scored.scores

    @property
    def reasons(self) -> Mapping[str, str]:
        """Metric -> why there is no score of it: it has no worst answer, or needs more items."""
        return self.scored.reasons

    @property
    def ids(self) -> Sequence[str]:
        """The N ids."""
        return self.predictions.ids

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return "\n".join(report.lines(self))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as ``mmbench score --json`` prints it."""
        return report.to_dict(self)

    def to_frame(self) -> Any:
        """Return a pandas data frame: a row for each metric, and for each subgroup and metric."""
        import pandas as pd

        return pd.DataFrame(report.rows(self))


def score(
    predictions: Any,
    references: Any = None,
    *,
    metrics: str | Sequence[str],
    by: str | Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
    clusters: str | Sequence[Any] | None = None,
    allow_missing: bool = False,
    kind: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Evaluation:
    """Score predictions beside references.

    Both are paths (``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.parquet``, ``.trn``, ``.txt``,
    ``.npy``, ``.npz``; see `mmbench.tables`), or objects: lists and arrays, whose order says what
    belongs together; mappings from id to value, or from a column's name to its values; rows as a
    list of mappings; data frames, with a column of ids. Columns are found by the names that people
    use; where several rows of the references have one id, they are several references.

    >>> import mmbench
    >>> said = {"a": "a dog runs on the beach", "b": "two men play chess", "c": "a red bus"}
    >>> true = {
    ...     "a": ["a dog runs along the beach", "a brown dog on sand"],
    ...     "b": ["two old men play chess in a park"],
    ...     "c": ["a cat sleeps on a red mat"],
    ... }
    >>> found = mmbench.score(said, true, metrics="rouge_l,bleu1")
    >>> found
    3 items, 95% intervals over items for these weights:
    metric   value  95% interval    n  bounds
    rouge_l  0.612  [0.039, 1.000]  3  [0, 1]
    bleu1    0.499  [0.000, 1.000]  3  [0, 1]
    >>> round(found.scores["rouge_l"].value, 4)
    0.6118

    Args:
        predictions: What was predicted for N items.
        references: What is right; None: `predictions` is a table that holds both.
        metrics: Names, as a list or with commas; with options, ``wer(normalizer=english)``.
        by: Columns whose groups are scored too; or name -> the group of each item, in the order of
            the references.
        clusters: The column, or [N], of the unit (speaker, video) that each item belongs to.
        allow_missing: Items without a prediction count as failures; else they are refused. A metric
            that has no worst answer (``mae``, ``nll``, ``auroc``) then has a reason and no score.
        kind: Kind of the output; None: that of the metrics.
        split: Take only rows whose column ``split`` says this.
        columns: Role -> column, where its name does not tell: ``{"prediction": "said"}``. Roles
            are id, prediction, reference, scores.

    Raises:
        DataError: A file cannot be read, or does not hold what it should: one line that names
            file and line, or id.
        UsageError: A metric or column is unknown or cannot be used here.
    """
    names = metric_names(metrics)
    registry.permit(*names)  # whoever calls this from Python could as well run the code
    given = _roles(columns)
    said = of_split(table_of(predictions, "predictions"), split)
    truth = said
    if references is not None:
        truth = of_split(table_of(references, "references"), split)
    _refuse_unknown(given, (said, truth))
    if references is None:
        said, given = columns_.apart(said, given)
    items = pairs.items(truth, said, given)
    right = kinds.truth(_kind(names, kind), truth, items.rows, said, given)
    hint = "; --split NAME takes the rows of one split"
    hint *= split is None and "split" in truth.columns
    rows = pairs.rows_of(said, items, truth.source, given, allow_missing, hint)
    matched = Matched(items.ids, right, said, rows, truth, items.rows)
    return _evaluate(matched, names, OUTPUT, given, by, clusters, allow_missing, split or "")


def score_task(
    predictions: Any,
    task: TaskSpec,
    *,
    split: str = "test",
    metrics: str | Sequence[str] = (),
    by: str | Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
    clusters: str | Sequence[Any] | None = None,
    allow_missing: bool = False,
    columns: Mapping[str, str] | None = None,
    data: Path | None = None,
) -> Evaluation:
    """Score predictions of a task's main output on one of its splits.

    Args:
        predictions: A path or an object, as for `score`. Where it has a column ``split``, the rows
            of that split are taken.
        task: References, clusters and groups are its own.
        split: Which of its splits.
        metrics: None: the task's own.
        by: As for `score`; the task's groups are columns too.
        clusters: As for `score`; None: the task's own.
        allow_missing: As for `score`.
        columns: As for `score`.
        data: Folder of the user's data.

    Raises:
        DataError: As for `score`, or the task's data are missing.
        UsageError: As for `score`, or the task has no such split.
    """
    from mmbench.data import _load

    names = metric_names(metrics) if metrics else list(task.metrics.names)
    if split not in task.splits:
        near = nearest(split, task.splits)
        offer = f"did you mean {near!r}? " if near else ""
        raise UsageError(f"--split {split}: {offer}the task {task.name!r} has {_all(task.splits)}")
    dataset = _load.load(task, data)
    output, part = dataset.signature.main, dataset.splits[split]
    _kind(names, part.references[output].kind, f"the task {task.name!r} is of the kind")
    said = of_split(table_of(predictions, "predictions"), split)
    given = _roles(columns)
    _refuse_unknown(given, (said,))
    if output in said.columns:
        given.setdefault("prediction", output)
    items = pairs.Items(list(part.ids), [])
    rows = pairs.rows_of(said, items, f"{task.name} ({split})", given, allow_missing)
    own = {name: values.tolist() for name, values in part.groups.items()}
    matched = Matched(items.ids, part.references[output], said, rows, None, [], own)
    if clusters is None and part.clusters is not None:
        clusters = part.clusters.tolist()
    partly = not metrics  # all that the task has, as far as it can be told from these predictions
    found = _evaluate(matched, names, output, given, by, clusters, allow_missing, split, partly)
    return replace(found, task=task, fingerprint=dataset.fingerprint)


def _kind(names: Sequence[str], kind: str | None, whose: str = "--kind asks for") -> str:
    """Return the kind of output that all metrics score.

    Raises:
        IncompatibleError: They score several, or another than `kind`.
    """
    found = {name: str(registry.load("metric", name).kind) for name in names}
    wanted = kind or next(iter(found.values()))
    for name, own in found.items():
        if own != wanted:
            raise IncompatibleError(
                f"metric {name!r} scores outputs of the kind {own!r}, but "
                f"{whose if kind else f'{names[0]!r} scores'} {wanted!r}: one kind at a time"
            )
    return wanted


def _roles(given: Mapping[str, str] | None) -> dict[str, str]:
    known = ("id", *columns_.ROLES)
    for role in given or {}:
        if role not in known:
            near = nearest(role, known)
            offer = f"did you mean {near!r}? " if near else ""
            raise UsageError(f"--column {role}=...: {offer}the roles are {_all(known)}")
    return dict(given or {})


def _refuse_unknown(given: Mapping[str, str], tables: Sequence[Table]) -> None:
    """Refuse a column that no table has; a role's own table is asked for it later."""
    for role, name in given.items():
        if not any(name in table.columns for table in tables):
            columns_.named(tables[-1 if role == "reference" else 0], name, f"{role}={name}")


def _evaluate(
    matched: Matched,
    metrics: Sequence[str],
    output: str,
    given: Mapping[str, str],
    by: str | Sequence[str] | Mapping[str, Sequence[Any]] | None,
    clusters: str | Sequence[Any] | None,
    allow_missing: bool,
    split: str,
    partly: bool = False,
) -> Evaluation:
    answers = kinds.said(matched.predictions, matched.rows, matched.truth, given)
    missing = _missing(matched, answers, allow_missing)
    further = {f"{output}.{name}": values for name, values in answers.columns.items()}
    predictions = Predictions(matched.ids, {output: answers.values}, further)
    units = clusters_of(matched, clusters)
    truth = {output: matched.truth}
    # Metrics differ in what they make of a missing answer, and of one item: each on its own.
    partly = partly or bool(missing) or len(matched.ids) == 1
    try:
        scored = scoring.score(
            predictions, truth, output, metrics, units, allow_missing=allow_missing, partly=partly
        )
    except ItemError as error:
        raise DataError(f"{_place(matched, error)}: {error}") from None
    labels = labels_of(matched, by)
    found = {
        column: subgroups(
            scored, predictions, matched.truth, output, own, groups.in_order(own), units
        )
        for column, own in labels.items()
    }
    sources = {"predictions": _source(matched.predictions)}
    if matched.references is not None:
        sources["references"] = _source(matched.references)
    return Evaluation(
        kind=matched.truth.kind,
        output=output,
        scored=scored,
        predictions=predictions,
        references=matched.truth,
        missing=missing,
        warnings=_warnings(matched, answers),
        clusters=units,
        by=found,
        labels=labels,
        groupable=matched.groupable(),
        sources=sources,
        asked=tuple(str(registry.load("metric", name).name) for name in metrics),
        split=split,
        fingerprint="" if matched.references is None else matched.references.digest,
    )


def _warnings(matched: Matched, answers: kinds.Answers) -> tuple[str, ...]:
    """Return what should be known before anyone believes the scores."""
    found = [collapse(answers.values, answers.columns, matched.truth)]
    if isinstance(matched.truth, TextReferences):
        empty = [k for k, texts in enumerate(matched.truth.texts) if not any(map(str.strip, texts))]
        if empty:
            error = ItemError("", matched.ids[empty[0]], right=True)
            more = f" (as {_have(len(empty) - 1)})" if len(empty) > 1 else ""
            found.append(
                f"{_place(matched, error)}: {error.item!r} has an empty reference{more}: whatever "
                f"is said of it is wrong; leave it out unless it is silence"
            )
    return tuple(filter(None, found))


def _missing(matched: Matched, answers: kinds.Answers, allow: bool) -> tuple[str, ...]:
    """Return the ids of items that have no answer.

    Raises:
        DataError: There are some, and they are not allowed.
    """
    own = [column for name, column in answers.columns.items() if name not in scoring.SHARED]
    if hasattr(answers.values, "dtype") or any(hasattr(column, "dtype") for column in own):
        return ()  # an array has a number in every place
    places = [
        place
        for place, value in enumerate(answers.values)
        if value is None and all(column[place] is None for column in own)
    ]
    if places and not allow:
        row = matched.rows[places[0]]
        where = matched.predictions.source if row is None else matched.predictions.where(row)
        empty = ": write an empty text where nothing was said" * (matched.truth.kind == "text")
        more = f" (nor {_have(len(places) - 1)})" if len(places) > 1 else ""
        raise DataError(
            f"{where}: {matched.ids[places[0]]!r} has no prediction{more}{empty}; --allow-missing "
            f"(allow_missing=True) counts it as a failure"
        )
    return tuple(matched.ids[place] for place in places)


def _have(others: int) -> str:
    return f"{'has' if others == 1 else 'have'} {counted(others, 'other')}"


def _place(matched: Matched, error: ItemError) -> str:
    """Return where the row of an item that cannot be scored stands."""
    table = matched.predictions
    if error.item not in matched.ids:  # an entry of the gallery
        return table.source
    item = matched.ids.index(error.item)
    row = matched.rows[item]
    if error.right:
        if matched.references is None or not matched.own:
            return "references"
        table, row = matched.references, matched.own[item][0]
    return table.source if row is None else table.where(row)


def _source(table: Table) -> Source:
    return Source(Path(table.source).name if table.digest else table.source, table.digest)


def _all(names: Iterable[str]) -> str:
    return ", ".join(names)
