"""``mmbench list``: what there is to choose from. Imports no torch."""

from __future__ import annotations

import click

from mmbench.cli import _options

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


@click.command("list")
@click.argument(
    "what", type=click.Choice(["tasks", "models", *COMPONENTS]), required=False, metavar="[WHAT]"
)
@_options.as_json
@_options.common
def command(what: str | None, as_json: bool) -> None:
    """List tasks and models, or one kind of component.

    WHAT is tasks, models, datasets, encoders, fusions, combiners, heads, objectives or metrics.

    \b
    mmbench list
    mmbench list fusions
    """  # noqa: D301
    tables = {name: _rows(name) for name in ([what] if what else ["tasks", "models"])}
    if as_json:
        _options.print_json(
            {
                name: [dict(zip(("name", "kind", "summary"), row, strict=True)) for row in rows]
                for name, rows in tables.items()
            }
        )
        return
    for name, rows in tables.items():
        if what is None:
            click.echo(f"{name}:")
        width = max((len(row[0]) for row in rows), default=0)
        second = max((len(row[1]) for row in rows), default=0)
        for row in rows:
            click.echo(f"  {row[0]:<{width}}  {row[1]:<{second}}  {row[2]}".rstrip())
    click.echo("next: mmbench describe NAME")


def _rows(what: str) -> list[tuple[str, str, str]]:
    from mmbench import catalog, registry

    if what == "tasks":
        return [
            (task.name, "+".join(task.modalities), task.summary)
            for task in map(catalog.task, catalog.task_names())
        ]
    if what == "models":
        return catalog.model_summaries()
    kind = COMPONENTS[what]
    return [(name, "", registry.summary(kind, name)) for name in registry.names(kind)]
