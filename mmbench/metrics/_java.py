"""Programs in Java: found, run to their end, and never left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mmbench.errors import UsageError


def java() -> str | None:
    """Return the Java program: that of ``JAVA_HOME``, or else the one on the path."""
    home = os.environ.get("JAVA_HOME")
    own = shutil.which("java", path=str(Path(home, "bin"))) if home else None
    return own or shutil.which("java")


def version(program: str) -> int:
    """Return the major version of a Java program; 0 where it does not say."""
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if found else 0


def run(
    what: str,
    arguments: Sequence[str],
    folder: Path,
    seconds: float,
    lines: Sequence[str] = (),
) -> list[str]:
    """Run Java to its end and return the lines that it wrote.

    The program gets all its input at once and is killed when its time is up or when this is
    interrupted, so nothing can wait for anything for ever.

    Args:
        what: What runs, for messages.
        arguments: What follows ``java``.
        folder: Where it runs.
        seconds: After which it is given up.
        lines: Its input, without line breaks.

    Raises:
        UsageError: There is no Java, it fails, or its time is up.
    """
    program = java()
    if program is None:
        raise UsageError(f"{what} {NO_JAVA}")
    given = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    command = [program, "-Dfile.encoding=UTF-8", "-Djava.awt.headless=true", *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, input=given, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"{what} has not come to an end in {seconds:.0f} s and was stopped: "
            f"score fewer items, or look for a prediction that repeats itself"
        ) from None
    except OSError as error:
        raise UsageError(f"{what} cannot run {program}: {error.strerror}") from None
    if done.returncode:
        raise UsageError(f"{what} failed (exit code {done.returncode}): {_complaint(done.stderr)}")
    return done.stdout.decode("utf-8", "replace").splitlines()


#: How a sentence goes on that begins with the name of what needs Java.
NO_JAVA = (
    "needs Java, which is not here: install a Java runtime (as java on the path, or by JAVA_HOME); "
    "bleu4, cider_d and rouge_l need none"
)


def _complaint(output: bytes) -> str:
    """Return the line of an error output that says most."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines()]
    named = [line for line in lines if re.search("Exception|Error", line)]
    return next(iter([*named, *filter(None, lines)]), "it said nothing")[:300]
