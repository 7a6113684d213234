"""``mmbench doctor``: what works here, what does not, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mmbench.cli import _options


@click.command("doctor")
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(data: Path | None, results: Path, as_json: bool) -> int:
    """Check the installation, the machine, the folders and the data.

    \b
    mmbench doctor
    mmbench doctor --data ~/datasets --json

    Exit code 1 if something fails; a warning is no failure.
    """  # noqa: D301
    from mmbench import doctor

    checks = doctor.examine(results, data, _variables())
    status = doctor.worst(checks)
    code = 1 if status == "fail" else 0
    if as_json:
        _options.print_json({"status": status, "checks": [asdict(check) for check in checks]})
        return code
    width = max(len(check.name) for check in checks)
    for check in checks:
        line = f"{check.status:<4}  {check.name:<{width}}  {check.text}"
        click.echo(line + (f" -> {check.fix}" if check.fix else ""))
    counts = [sum(check.status == status for check in checks) for status in ("ok", "warn", "fail")]
    click.echo("{} ok, {} to warn of, {} failed".format(*counts))
    again = "do what stands behind '->' where it says fail, then 'mmbench doctor' again"
    click.echo(f"next: {again if code else 'mmbench run -t captioning -m hybrid --budget smoke'}")
    return code


def _variables() -> list[str]:
    """Return the environment variables that the options of all verbs read."""
    from mmbench.cli import cli

    ctx = click.Context(cli)
    commands = [cli.get_command(ctx, verb) for verb in cli.list_commands(ctx)]
    options = [param for command in commands if command is not None for param in command.params]
    return sorted({option.envvar for option in options if isinstance(option.envvar, str)})
