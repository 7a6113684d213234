"""``mmbench new``: the first files of a task, a fusion or a metric of one's own."""

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
    default=Path(),
    show_default=True,
    help="Where the files go; made if missing.",
)
# Not MMBENCH_FORCE: whoever sets that to repeat runs must not lose a file of their own here.
@option("--force", is_flag=True, envvar="MMBENCH_NEW_FORCE", help="Overwrite files that are there.")
@_options.as_json
@_options.common
def command(kind: str, name: str, folder: Path, force: bool, as_json: bool) -> None:
    """Write files that work at once: a fusion with its TOML and tests, a metric, or a task.

    \b
    mmbench new fusion gated
    mmbench new metric word_f1
    mmbench new task noisy --dir tasks
    """  # noqa: D301
    from mmbench import scaffold

    written = scaffold.write(kind, name, folder, force)
    if as_json:
        files = [str(path) for path in written.files]
        _options.print_json({"files": files, "next": written.command})
        return
    for path in written.files:
        click.echo(f"wrote {path}")
    click.echo(f"next: {written.command}")
