"""Looks at what surrounds the program: variables, encodings, the terminal."""

from __future__ import annotations

import locale
import os
import shutil
import sys
from collections.abc import Sequence

from mmbench.doctor.check import Check, Found
from mmbench.errors import nearest

#: Columns that the widest table takes.
COLUMNS = 80
#: How the name of every variable of mmbench begins.
PREFIX = "MMBENCH_"
#: Variables that belong to no option of a command.
VARIABLES = frozenset({"MMBENCH_CACHE", "MMBENCH_DEBUG", "MMBENCH_SPICE", "MMBENCH_TEST_DATA"})


def variables(known: Sequence[str]) -> Found:
    """Find settings that nothing reads: a slip in a name is silent otherwise.

    Args:
        known: The variables that options read; empty leaves this look out.
    """
    if not known:
        return
    every = {*known, *VARIABLES}
    given = sorted(name for name in os.environ if name.startswith(PREFIX))
    for name in given:
        if name not in every:
            # What all have in common would make all of them near.
            near = nearest(name[len(PREFIX) :], [other[len(PREFIX) :] for other in every])
            fix = f"did you mean {PREFIX}{near}?" if near else "unset it"
            yield Check(f"variable {name}", "warn", "nothing reads it", fix)
    told = ", ".join(f"{name}={os.environ[name]}" for name in given if name in every)
    yield Check("variables", "ok", told or "no MMBENCH_ variable is set")


def encodings() -> Found:
    """Look for an encoding that cannot print every caption."""
    found = {
        "output": sys.stdout.encoding or "unknown",
        "file names": sys.getfilesystemencoding(),
        "locale": locale.getpreferredencoding(False),
    }
    told = ", ".join(f"{what} {name.lower()}" for what, name in found.items())
    wrong = [what for what, name in found.items() if "utf8" not in name.lower().replace("-", "")]
    if wrong:
        fix = "set PYTHONUTF8=1 (and PYTHONIOENCODING=utf-8), or a UTF-8 locale"
        yield Check("locale", "warn", f"{told}: captions with accents may not print", fix)
    else:
        yield Check("locale", "ok", told)


def terminal() -> Found:
    """Measure the terminal."""
    if not sys.stdout.isatty():
        yield Check("terminal", "ok", "none: output goes to a file or a pipe")
        return
    columns = shutil.get_terminal_size().columns
    told = f"{columns} columns"
    if columns < COLUMNS:
        fix = "make it wider, or --format csv"
        yield Check("terminal", "warn", f"{told}: tables take {COLUMNS}", fix)
    else:
        yield Check("terminal", "ok", told)
