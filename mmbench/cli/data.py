"""``mmbench data``: looks at the data of a task, and fetches what its TOML names."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.audit import Audit
    from mmbench.spec import TaskSpec

#: How many lines of one kind are printed; ``--json`` has all.
MOST_LINES = 10


@click.group("data")
def command() -> None:
    """Check the data of a task; fetch, list, find and remove what was fetched.

    \b
    mmbench data check ./mine.toml
    mmbench data fetch cifar10
    mmbench data list
    """  # noqa: D301


def _fetched(function: Any) -> Any:
    return option(
        "--fetched",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        help="Folder of fetched data.  [the user's folder for data]",
    )(function)


def _task(name: str) -> TaskSpec:
    from mmbench import catalog

    return catalog.task(name)


# --- check ---------------------------------------------------------------------------------------


@command.command("check")
@click.argument("task")
@_options.data
@_options.as_json
@_options.common
def check(task: str, data: Path | None, as_json: bool) -> int:
    """Report what is wrong with the data of a task, and how much of it is easy.

    Items that cannot be read, the same item or speaker in two splits, classes, and the floors: the
    most frequent answer and a linear model of each modality. Exits 1 where something is wrong, 4
    where the data cannot be loaded at all.
    """
    from mmbench.audit import audit
    from mmbench.sweep import check_metrics

    spec = _task(task)
    check_metrics(spec)
    found = audit(spec, data)
    if as_json:
        _options.print_json(found.as_json())
    else:
        for line in _lines(found):
            click.echo(line)
    return 0 if found.sound else 1


def _lines(found: Audit) -> list[str]:
    sizes = ", ".join(f"{name} {size:,}" for name, size in found.sizes.items())
    lines = [f"{found.task}: {sizes} items"]
    for split, missing in found.missing.items():
        lines += [f"  {split}: {count:,} items have no {m}" for m, count in missing.items()]
    for split, bad in found.left_out.items():
        lines += _several(f"{split}: {len(bad)} cannot be read", list(bad))
    lines += _several(f"in two splits: {len(found.duplicates)} items", found.duplicates)
    lines += _several(f"in two splits: {len(found.crossing)} clusters", found.crossing)
    lines += [
        f"  note: {m}: {count:,} items have the same one as an item of another split"
        for m, count in found.shared.items()
        if count > len(found.duplicates)
    ]
    outputs = next(iter(found.balance.values()), {})
    for output in outputs:
        lines.append(f"{output}:")
        for split, told in found.balance.items():
            shown = [f"{_visible(name)} {value:.3g}" for name, value in told[output].items()]
            more = [f"... ({len(shown)} in all)"] if len(shown) > MOST_LINES else []
            lines.append(f"  {split}: {', '.join([*shown[:MOST_LINES], *more])}")
    if found.floors:
        lines.append(f"floors, {found.metric} on test (linear models on simple features):")
        width = max(map(len, found.floors))
        lines += [f"  {name:<{width}}  {value:.3f}" for name, value in found.floors.items()]
    lines += [f"note: {note}" for note in found.notes]
    lines.append("nothing is wrong" if found.sound else _mend(found))
    return lines


def _mend(found: Audit) -> str:
    told = []
    if found.left_out:
        told.append("items that cannot be read: mend them, or 'mmbench run --skip-bad'")
    if found.duplicates or found.crossing:
        told.append("splits that know of one another: scores will be too good")
    return f"wrong: {'; '.join(told)}"


def _several(head: str, several: Any) -> list[str]:
    if not several:
        return []
    shown = [f"    {_visible(line)}" for line in several[:MOST_LINES]]
    more = len(several) - MOST_LINES
    return [
        f"  {head}",
        *shown,
        *([f"    ... and {more} more (--json has all)"] if more > 0 else []),
    ]


def _visible(text: str) -> str:
    from mmbench.admission import visible

    return visible(text, 500)


# --- fetch, list, path, remove -------------------------------------------------------------------


@command.command("fetch")
@click.argument("tasks", nargs=-1, required=True)
@option("--yes", is_flag=True, help="Accept the licences that are shown.")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@_fetched
@_options.common
def fetch(tasks: tuple[str, ...], yes: bool, quiet: bool, fetched: Path | None) -> None:
    """Download the files that tasks name, check their checksums and unpack them.

    The licence is shown, and accepted once. A download that was cut goes on where it ended.
    Afterwards these tasks need no --data.
    """
    from mmbench.data import _fetch

    chosen = [_task(name) for name in tasks]
    for task in chosen:
        if task.source.files and not _fetch.accepted(task, fetched):
            _ask(task, yes)
            _fetch.accept(task, fetched)
        folder = _fetch.fetch(task, fetched, None if quiet else _Shown())
        click.echo(f"{task.name}: {folder}")
    where = f"MMBENCH_FETCHED={shlex.quote(str(fetched))} " if fetched is not None else ""
    click.echo(f"next: {where}mmbench data check {tasks[0]}")


def _ask(task: TaskSpec, yes: bool) -> None:
    click.echo(f"{task.name}: {task.source.paper}")
    click.echo(
        f"licence: {task.source.licence}" + (f" ({task.source.url})" if task.source.url else "")
    )
    if yes:
        return
    try:
        agreed = click.confirm("accept it?")
    except click.Abort:  # there is nobody to ask
        agreed = False
    if not agreed:
        raise UsageError(
            f"{task.name}: the licence was not accepted: nothing is fetched; --yes accepts it"
        )


class _Shown:
    """Prints how far a download is, each tenth of it once."""

    def __init__(self) -> None:
        self.told: tuple[str, int] = ("", -1)

    def __call__(self, name: str, there: int, total: int) -> None:
        tenth = 10 * there // total if total else there // 2**26
        if (name, tenth) == self.told:
            return
        self.told = (name, tenth)
        whole = f" of {total / 2**20:.1f}" if total else ""
        click.echo(f"{name}: {there / 2**20:.1f}{whole} MiB", err=True)


@command.command("list")
@_fetched
@_options.as_json
@_options.common
def list_(fetched: Path | None, as_json: bool) -> None:
    """Say which tasks can be fetched, and what is there of each."""
    from mmbench import catalog
    from mmbench.data import _fetch

    tasks = [catalog.task(name) for name in catalog.task_names()]
    states = [_fetch.state(task, fetched) for task in tasks if task.source.files]
    if as_json:
        _options.print_json([
            {"task": s.task, "folder": str(s.folder), "fetched": s.there, "files": s.files,
             "bytes": s.bytes, "whole": s.whole}
            for s in states
        ])  # fmt: skip
        return
    for s in states:
        told = "fetched" if s.whole else f"{s.there} of {s.files} files"
        size = f", {s.bytes / 2**20:.1f} MiB in {s.folder}" if s.folder.is_dir() else ""
        click.echo(f"{s.task}: {told}{size}")
    if not states:
        click.echo("no task names files to fetch; --include brings tasks of yours")


@command.command("path")
@click.argument("task")
@_fetched
@_options.common
def path(task: str, fetched: Path | None) -> None:
    """Print the folder of a task's fetched data."""
    from mmbench.data import _fetch
    from mmbench.errors import DataError

    found = _fetch.state(_task(task), fetched)
    if not found.files or not found.whole:
        raise DataError(
            f"{found.folder}: {found.there} of {found.files} files of {found.task} are fetched"
            + (f": 'mmbench data fetch {task}' fetches the rest" if found.files else "")
        )
    click.echo(found.folder)


@command.command("remove")
@click.argument("task")
@_fetched
@_options.common
def remove(task: str, fetched: Path | None) -> None:
    """Delete a task's fetched data."""
    from mmbench.data import _fetch

    found = _task(task)
    size = _fetch.remove(found, fetched)
    click.echo(f"removed {_fetch.folder_of(found, fetched)}: {size / 2**20:.1f} MiB")
