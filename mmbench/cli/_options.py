"""Options that several verbs share. Every option has its ``MMBENCH_...`` variable."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmbench.errors import NotComparableError, UsageError, refuse_unknown

if TYPE_CHECKING:
    from mmbench.store import Stored

#: More seeds than this are a slip of the hand.
MOST_SEEDS = 1000

Command = TypeVar("Command", bound=Callable[..., Any])


#: Where a command finds in its context what was typed.
ARGUMENTS = "mmbench.arguments"


def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Declare an option whose environment variable is ``MMBENCH_`` and its long name."""
    long = next(name for name in names if name.startswith("--"))
    variable = "MMBENCH_" + long.split("/")[0].removeprefix("--").replace("-", "_").upper()
    settings.setdefault("envvar", variable)
    return click.option(*names, **settings)


def debugging(arguments: Sequence[str]) -> bool:
    """Whether tracebacks are wanted."""
    return "--debug" in arguments or os.environ.get("MMBENCH_DEBUG", "") not in ("", "0")


def debug_wanted() -> bool:
    """Whether the command that runs was asked for tracebacks."""
    return bool(click.get_current_context().meta.get("mmbench.debug")) or debugging(())


def common(command: Command) -> Command:
    """Add what every verb has: ``--include`` and ``--debug``."""

    def bring(ctx: click.Context, param: click.Parameter, paths: tuple[Path, ...]) -> None:
        for path in paths:
            from mmbench import catalog

            catalog.include(path)

    def note(ctx: click.Context, param: click.Parameter, debug: bool) -> None:
        ctx.meta["mmbench.debug"] = debug

    command = click.option(
        "--debug", is_flag=True, expose_value=False, callback=note, help="Show tracebacks."
    )(command)
    return option(
        "--include",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=bring,
        type=click.Path(path_type=Path),
        help="A folder of your own TOMLs, a TOML, or a Python file of components.",
    )(command)


def results(command: Command) -> Command:
    """Add ``--results``."""
    return option(
        "--results",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("results"),
        show_default=True,
        help="Folder of the records.",
    )(command)


def data(command: Command) -> Command:
    """Add ``--data``."""
    return option(
        "--data",
        type=click.Path(path_type=Path),
        default=None,
        help="Folder of a real dataset, in its own published layout.",
    )(command)


def memory(command: Command) -> Command:
    """Add ``--memory``."""
    return option(
        "--memory",
        default="0.5",
        show_default=True,
        metavar="SHARE|SIZE",
        help="What data may take of the memory, in all processes together, as a share of what is "
        "free or a size (2GiB); the rest is read from the disk meanwhile. No result depends on it.",
    )(command)


def allow_missing(command: Command) -> Command:
    """Add ``--allow-missing``."""
    return option(
        "--allow-missing", is_flag=True, help="Of files: what has no prediction is a failure."
    )(command)


def as_json(command: Command) -> Command:
    """Add ``--json``."""
    return option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(command)


def where(results: Path) -> str:
    """Return what a suggested command needs for it to look at the same records."""
    return "" if results == Path("results") else f" --results {shlex.quote(str(results))}"


def split_names(values: tuple[str, ...]) -> list[str]:
    """Return the names in options given once with commas or several times."""
    from mmbench.metrics._names import split

    names = [name for value in values for name in split(value)]
    if values and not names:
        raise UsageError(f"{','.join(values)!r} names nothing: expected names between commas")
    return names


def chosen(
    found: Sequence[Stored],
    results: Path,
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    budget: str | None,
    problems: Sequence[str],
) -> list[Stored]:
    """Return the records that are asked for.

    Raises:
        NotComparableError: There are none, or a name is that of none.
    """
    wanted_tasks, wanted_models = split_names(tasks), split_names(models)
    if found:
        refuse_unknown("task", wanted_tasks, {s.record.task for s in found})
        refuse_unknown("model", wanted_models, {s.record.model for s in found})
        refuse_unknown("budget", [budget] if budget else [], {s.record.budget for s in found})
    those = [
        stored
        for stored in found
        if (not wanted_tasks or stored.record.task in wanted_tasks)
        and (not wanted_models or stored.record.model in wanted_models)
        and budget in (None, stored.record.budget)
    ]
    if not those:
        what = f"none of the {len(found)} records is asked for" if found else "holds no records"
        more = f"; unreadable: {problems[0]}" if problems else ""
        raise NotComparableError(f"{results}: {what}{more}; 'mmbench run' makes them")
    return those


def metric_name(name: str) -> str:
    """Return a metric's name; a file is included first and has to hold exactly one.

    A module of evaluate that is named here may be a path (`mmbench.registry.permit`).
    """
    from mmbench import registry

    if name.startswith("evaluate:"):
        registry.permit(name)
        return name
    if not name.endswith(".py"):
        return name
    found = [metric for kind, metric in registry.include(Path(name)) if kind == "metric"]
    if len(found) != 1:
        raise UsageError(f"--metric {name}: expected one metric in the file, found {len(found)}")
    return found[0]


def roles(given: Sequence[str]) -> dict[str, str]:
    """Read ``ROLE=NAME`` pairs."""
    found = {}
    for pair in given:
        role, sign, column = pair.partition("=")
        if not sign or not role or not column:
            raise UsageError(f"--column {pair}: expected ROLE=NAME, such as prediction=said")
        found[role.strip()] = column.strip()
    return found


def parse_seeds(text: str) -> list[int]:
    """Read ``3`` (a count: 0, 1, 2) or ``2-4`` (these).

    >>> parse_seeds("3"), parse_seeds("2-4")
    ([0, 1, 2], [2, 3, 4])
    """
    from mmbench import rng

    first, dash, last = text.partition("-")
    try:
        seeds = range(int(first), int(last) + 1) if dash else range(int(text))
    except ValueError:
        seeds = range(0)
    if not 0 < seeds.stop - seeds.start <= MOST_SEEDS:
        raise UsageError(
            f"--seeds {text}: expected a count (3) or a range (0-4), of at most {MOST_SEEDS} seeds"
        )
    if seeds.stop > rng.TUNING:
        raise UsageError(
            f"--seeds {text}: seeds from {rng.TUNING} on are those that models are tuned with, and "
            f"none that is reported: expected smaller ones"
        )
    return list(seeds)


def print_json(content: Any) -> None:
    """Print JSON on standard output."""
    import json

    click.echo(json.dumps(content, indent=1))


def write_text(path: Path, content: str) -> None:
    """Write a file that the user named; a failure is one line."""
    from mmbench.errors import StoreError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None
