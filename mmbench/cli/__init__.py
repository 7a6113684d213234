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
        there = {
            path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")
        }
        first = ["run", "leaderboard", "show", "list", "describe", "new", "doctor"]
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


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mmbench")
def cli() -> None:
    """Which way of fusing modalities is better on this task, by how much, and is that real?

    \b
    mmbench run --task captioning --model hybrid      train, predict, score
    mmbench leaderboard                               compare what was run
    mmbench show captioning/hybrid                    look at one record

    Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 inconclusive, 4 missing or not comparable.
    """


def run_cli(arguments: Sequence[str]) -> int:
    """Run a command line; return its exit code. Errors are one line, unless ``--debug``."""
    try:
        code = cli.main(list(arguments), prog_name="mmbench", standalone_mode=False)
        sys.stdout.flush()
    except MmbenchError as error:
        return _fail(str(error), error.exit_code, error)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        where = f" ('{ctx.command_path} --help' shows the options)" if ctx is not None else ""
        return _fail(f"{error.format_message()}{where}", 2, error)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED, None)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        what = str(error).splitlines()[0] if str(error) else "no message"
        message = f"internal: {type(error).__name__}: {what}; --debug shows where, please report it"
        return _fail(message, 1, error)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int, error: BaseException | None) -> int:
    if _options.debugging() and error is not None:
        raise error
    line = " ".join(message.split())
    click.echo(f"error: {line}", err=True)
    return code
