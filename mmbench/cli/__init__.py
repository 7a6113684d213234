"""The command line: one file a verb. Each parses, calls, prints, and does nothing else.

A verb is found by its file's name, so that ``mmbench VERB`` imports that verb alone.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mmbench.cli import _options
from mmbench.errors import MmbenchError, nearest

#: What a shell reports for a process that Ctrl-C ended.
INTERRUPTED = 130


class Verbs(click.Group):
    """Loads a verb's module when it is called; all of them only for ``--help``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, in the order in which a newcomer needs them."""
        there = {path.stem for path in Path(__file__).parent.glob("[!_]*.py")}
        first = [
            "run",
            "leaderboard",
            "compare",
            "gate",
            "report",
            "show",
            "list",
            "describe",
            "new",
            "doctor",
        ]
        return [verb for verb in first if verb in there] + sorted(there - set(first))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"mmbench.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest verb where there is no such one."""
        verbs = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in verbs:
            near = nearest(args[0], verbs)
            offer = f"did you mean {near!r}? " if near else ""
            raise click.UsageError(f"no command {args[0]!r}: {offer}known: {', '.join(verbs)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="mmbench")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Which way of fusing modalities is better on this task, by how much, and is that real?

    \b
    mmbench run --task captioning --model hybrid      train, predict, score
    mmbench leaderboard                               rank what was run
    mmbench compare hybrid late                       which is better, and is that real
    mmbench show captioning/hybrid                    look at one record

    Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 inconclusive, 4 missing or not comparable,
    130 interrupted.
    """  # noqa: D301 (click needs the backspace itself)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run_cli(arguments: Sequence[str]) -> int:
    """Run a command line; return its exit code. Errors are one line, unless ``--debug``."""
    try:
        # Not `cli.main`: it has a mind of its own about broken pipes and Ctrl-C.
        with cli.make_context("mmbench", [*arguments]) as ctx:
            ctx.meta[_options.ARGUMENTS] = [*arguments]
            code = cli.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if _options.debugging(arguments):
            raise
        return _fail(*_explain(error))
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> tuple[str, int]:
    """Return what to say about an error, and the exit code."""
    if isinstance(error, MmbenchError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        ctx = getattr(error, "ctx", None)
        where = f" ('{ctx.command_path} --help' shows the options)" if ctx is not None else ""
        return f"{error.format_message()}{where}", 2
    from mmbench import registry

    what = str(error).splitlines()[0] if str(error) else "no message"
    if isinstance(error, MemoryError):
        return f"there is not enough memory for this: {what}", 1
    own = registry.culprit(error)
    if own:
        return f"{own}: {type(error).__name__}: {what}; --debug shows the way there", 1
    return f"internal: {type(error).__name__}: {what}; --debug shows where, please report it", 1


def _fail(message: str, code: int) -> int:
    from mmbench import devices
    from mmbench.admission import visible

    if devices.follows() and code in (2, INTERRUPTED):  # the process that leads says it
        return code
    click.echo(f"error: {visible(' '.join(message.split()), 5000)}", err=True)
    return code
