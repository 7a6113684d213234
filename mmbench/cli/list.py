"""``mmbench list``: what there is to choose from. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import UsageError

#: What can be listed: word on the command line -> kind of component, where it is one.
COMPONENTS = {
    "datasets": "dataset",
    "encoders": "encoder",
    "fusions": "fusion",
    "combiners": "combiner",
    "heads": "head",
    "objectives": "objective",
    "metrics": "metric",
}

#: What stands in the columns of tasks; of metrics the main one, of items those of three splits,
#: each with how many more there are.
HEADS = ["task", "modalities", "outputs", "metrics", "train/val/test", "what it is"]


@click.command("list")
@click.argument(
    "what", type=click.Choice(["tasks", "models", *COMPONENTS]), required=False, metavar="[WHAT]"
)
@option(
    "--gallery",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Of models: draw each one's wiring into this folder, and a page that shows them.",
)
@option("-t", "--task", default=None, help="Models that make sense on it.  [gallery: sentiment]")
@_options.as_json
@_options.common
def command(what: str | None, gallery: Path | None, task: str | None, as_json: bool) -> None:
    """List tasks and models, or one kind of component.

    WHAT is tasks, models, datasets, encoders, fusions, combiners, heads, objectives or metrics.

    \b
    mmbench list
    mmbench list fusions
    mmbench list models --task sentiment --gallery pictures
    """  # noqa: D301
    if gallery is not None:
        if what != "models":
            raise UsageError("--gallery: is of models: mmbench list models --gallery DIR")
        task = task or "sentiment"
        page, count = _gallery(gallery, task)
        if as_json:
            _options.print_json({"page": str(page), "models": count})
        else:
            click.echo(f"wrote {page}: {count} models on {task}")
        return
    if task is not None and what != "models":
        raise UsageError("--task: is for models: mmbench list models --task TASK")
    tables = {name: _rows(name, task) for name in ([what] if what else ["tasks", "models"])}
    if as_json:
        _options.print_json(tables)
        return
    for name, rows in tables.items():
        if what is None:
            click.echo(f"{name}:")
        columns = [[row["name"], row["kind"], *_outputs(row), *_sizes(row)] for row in rows]
        if name == "tasks":
            columns.insert(0, HEADS[:-1])
            rows = [{"summary": HEADS[-1]}, *rows]
        widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
        for row, cells in zip(rows, columns, strict=True):
            told = "  ".join(f"{cell:<{n}}" for cell, n in zip(cells, widths, strict=True))
            paper = f" ({row['paper']})" if row.get("paper") else ""
            click.echo(f"  {told}  {row['summary']}{paper}".rstrip())
    click.echo("next: mmbench describe NAME")


def _gallery(folder: Path, task: str) -> tuple[Path, int]:
    """Draw the wiring of all shipped models that make sense on a task."""
    from mmbench.report.wiring import gallery
    from mmbench.run import Settings
    from mmbench.sweep import plan
    from mmbench.wiring import trace

    left_out: list[str] = []
    runs = plan([task], ["all"], [0], None, Settings(results=folder), left_out=left_out)
    for line in left_out:
        click.echo(f"note: {line}", err=True)
    return gallery(folder, [trace(run.model, run.task) for run in runs], task), len(runs)


def _outputs(row: dict[str, Any]) -> list[str]:
    return ["+".join(row["outputs"])] if "outputs" in row else []


def _sizes(row: dict[str, Any]) -> list[str]:
    """Return a task's main metric and its items, and how many more metrics and splits there are."""
    if "metrics" not in row:
        return []
    main, *also = row["metrics"]
    sizes = [str(row["items"][split]) for split in ("train", "val", "test")]
    items = "/".join(sizes) + _more(len(row["items"]) - len(sizes))
    return [f"{main}{_more(len(also))}", items]


def _more(count: int) -> str:
    return f"+{count}" if count else ""


def _rows(what: str, on: str | None) -> list[dict[str, Any]]:
    from mmbench import catalog, registry

    if what == "tasks":
        return [
            {
                "name": task.name,
                "kind": "+".join(task.modalities),
                "outputs": list(dict.fromkeys(o.kind for o in task.outputs.values())),
                "metrics": list(task.metric_names),
                "items": dict(task.splits),
                "summary": task.summary,
            }
            for task in map(catalog.task, catalog.task_names())
        ]
    if what == "models":
        return catalog.model_summaries(None if on is None else catalog.task(on))
    kind = COMPONENTS[what]
    return [
        {"name": name, "kind": "", "summary": registry.summary(kind, name)}
        for name in registry.names(kind)
    ]
