"""``mmbench score``: predictions that were made elsewhere, beside their references. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options
from mmbench.cli._numbers import Whole
from mmbench.cli._options import option
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.evaluation import Evaluation

FILE = click.Path(path_type=Path)


@click.command("score")
@click.argument("file", type=FILE, required=False)
@option("-t", "--task", default=None, help="References and metrics are this task's.")
@option("--predictions", type=FILE, default=None, help="The same as FILE.")
@option("--references", type=FILE, default=None, help="What is right, where there is no task.")
@option(
    "--metrics",
    "--metric",
    "metrics",
    multiple=True,
    help="Names between commas, with options: 'wer(normalizer=english),cer'; or .py files.",
)
@option("--kind", default=None, help="Kind of the output.  [default: that of the metrics]")
@option("--split", default=None, help="Rows and references of this split.  [of a task: test]")
@option(
    "--column",
    "roles",
    multiple=True,
    help="Which column is what: ROLE=NAME, the roles being id, prediction, reference, scores.",
)
@option("--by", multiple=True, help="Score the groups of this column too.")
@option("--cluster", default=None, help="Column of the unit that items share: speaker, video.")
@option(
    "--allow-missing",
    is_flag=True,
    help="Items without a prediction count as failures; what has no worst answer is not scored.",
)
@option("--save", is_flag=True, help="Keep the scores as a record, for 'leaderboard' and 'show'.")
@option("--name", default=None, help="The model's name in the record.  [default: that of FILE]")
@option("--seed", type=Whole(0), default=0, help="The training seed, for the record.")
@option(
    "--budget",
    default=None,
    help="The task's budget that the training kept to; without, the record is on a board apart.",
)
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(
    file: Path | None,
    task: str | None,
    predictions: Path | None,
    references: Path | None,
    metrics: tuple[str, ...],
    kind: str | None,
    split: str | None,
    roles: tuple[str, ...],
    by: tuple[str, ...],
    cluster: str | None,
    allow_missing: bool,
    save: bool,
    name: str | None,
    seed: int,
    budget: str | None,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> None:
    """Score a file of predictions, with intervals.

    FILE is .jsonl, .json (also COCO's results), .csv, .tsv, .parquet, .trn, .txt, .npy or .npz.

    \b
    mmbench score -t captioning said.jsonl
    mmbench score --metrics bleu4,cider_d --predictions said.json --references captions.json
    mmbench score --metrics wer hyp.trn --references ref.trn --cluster speaker --by speaker

    Columns: 'id' (image_id, utterance, ...), 'prediction' (caption, hypothesis, label, ...) and
    in the references 'reference' or 'references' (caption, label, ...; several rows of one id are
    several references). A file that holds both needs no --references. Probabilities are 'scores'
    (a mapping from class to number) or a column 'p:CLASS' each. Retrieval takes an .npz with
    'ids', 'queries' [N, D] and 'gallery' [M, D], or 'scores' [N, M]; the references' column
    'relevant' lists the right gallery entries. --column names a column that is called otherwise.
    """  # noqa: D301 (click needs the backspace itself)
    from mmbench import evaluation
    from mmbench.report import evaluation as report

    said = _predictions(file, predictions)
    common: dict[str, Any] = {
        "metrics": _metrics(metrics),
        "by": by,
        "clusters": cluster,
        "allow_missing": allow_missing,
        "columns": _options.roles(roles),
    }
    if task is None:
        _refuse(data is not None, "--data", "--task")
        _refuse(budget is not None, "--budget", "--task")
        if not metrics:
            raise UsageError(
                "--metrics is missing: name metrics, or a task with -t; 'mmbench list metrics' "
                "and 'mmbench list tasks' show what there is"
            )
        found = evaluation.score(said, references, kind=kind, split=split, **common)
    else:
        if references is not None:
            raise UsageError("--references: the task has its own: give one of both")
        _refuse(kind is not None, "--kind", "--metrics without a task")
        from mmbench import catalog

        spec = catalog.task(task)
        found = evaluation.score_task(said, spec, split=split or "test", data=data, **common)
    folder = None
    if save:
        from mmbench import external

        asked = external.Asked(
            columns=_options.roles(roles),
            clusters=cluster or "",
            kind=kind or "",
            allow_missing=allow_missing,
            data=data,
            files=_metric_files(metrics),
        )
        found_in = external.save(
            found, results, said, references, task, name, seed, budget, asked=asked
        )
        folder = found_in.folder
    if as_json:
        _options.print_json(report.to_dict(found) | {"record": folder and str(folder)})
        return
    click.echo("\n".join([*report.lines(found), "", *report.signatures(found)]))
    if folder is not None:
        apart = " (a board apart: no --budget)" * (task is not None and budget is None)
        click.echo(f"saved {folder}{apart}")
    click.echo(f"next: {_next(found, results if save else None, bool(by))}")


def _predictions(file: Path | None, option: Path | None) -> Path:
    if file is not None and option is not None:
        raise UsageError(f"--predictions {option}: {file} is named already: give one of both")
    said = file or option
    if said is None:
        raise UsageError("FILE is missing: expected a file of predictions")
    return said


def _metrics(given: Sequence[str]) -> list[str]:
    """Return names of metrics; files that define some are included."""
    from mmbench.metrics._names import metric_names

    return [_options.metric_name(name) for name in metric_names(given)] if given else []


def _metric_files(given: Sequence[str]) -> list[Path]:
    """Return the files among the names of metrics."""
    from mmbench.metrics._names import metric_names

    return [Path(name) for name in metric_names(given) if name.endswith(".py")] if given else []


def _refuse(given: bool, option: str, other: str) -> None:
    if given:
        raise UsageError(f"{option}: goes with {other} only")


def _next(found: Evaluation, results: Path | None, grouped: bool) -> str:
    """Return what to do next."""
    if results is not None:
        from mmbench import external

        where = _options.where(results)
        return f"mmbench leaderboard -t {external.task_name(found)}{where}"
    if found.groupable and not grouped:
        column = found.groupable[0]
        return f"the same with --by {column}; with --save, 'mmbench leaderboard' ranks it"
    return "the same with --save: then 'mmbench leaderboard' ranks it and 'mmbench show' shows it"
