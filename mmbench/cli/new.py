"""``mmbench new``: the first files of a task, a fusion or a metric of one's own.

``mmbench new task FILE`` writes the task of a manifest, after looking at it.
"""

from __future__ import annotations

from pathlib import Path

import click

from mmbench.cli import _options
from mmbench.cli._options import option


@click.command("new")
@click.argument("kind", type=click.Choice(["task", "fusion", "metric"]))
@click.argument("name")
@option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Where the files go; made if missing.  [here; a manifest's task: beside it]",
)
# Not MMBENCH_FORCE: whoever sets that to repeat runs must not lose a file of their own here.
@option("--force", is_flag=True, envvar="MMBENCH_NEW_FORCE", help="Overwrite files that are there.")
@_options.as_json
@_options.common
def command(kind: str, name: str, folder: Path | None, force: bool, as_json: bool) -> None:
    """Write files that work at once: a fusion with its TOML and tests, a metric, or a task.

    A task of your own data is written from the file that lists them (.jsonl, .csv, .tsv, .parquet,
    or a folder that datasets.save_to_disk wrote): what its columns seem to be is said.

    \b
    mmbench new fusion gated
    mmbench new metric word_f1
    mmbench new task noisy --dir tasks
    mmbench new task photos/items.jsonl
    """  # noqa: D301
    from mmbench import scaffold
    from mmbench.admission import visible

    notes: tuple[str, ...] = ()
    if kind == "task" and scaffold.is_manifest(name):
        from mmbench import draft

        file = Path(name)
        task = draft.task_name(file)
        drafted = draft.draft(file, task)
        notes = drafted.notes
        written = scaffold.put(task, drafted.text, folder or file.parent, force)
    else:
        written = scaffold.write(kind, name, folder or Path(), force)
    if as_json:
        files = [str(path) for path in written.files]
        told = {"notes": list(notes)} if notes else {}
        _options.print_json({"files": files, "next": written.command, **told})
        return
    for note in notes:
        click.echo(visible(note, 300))
    for path in written.files:
        click.echo(f"wrote {path}" + (": check what it says of each column" if notes else ""))
    click.echo(f"next: {written.command}")
