"""The folder of a site: made beside, then put in its place; no other folder is ever replaced."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmbench.errors import StoreError, UsageError

#: Says that mmbench made the folder, and may make it anew.
MARKER = ".mmbench-site"
_ABOUT = (
    "Made by 'mmbench report --out'. The next one replaces this folder with all that is in it.\n"
)


def check(out: Path) -> None:
    """Refuse a place that holds something else than a site.

    Raises:
        UsageError: It is a file, or a folder that mmbench did not make.
    """
    if (out / MARKER).is_file():
        return
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"--out {out}: is no folder: name one that is new or holds a site")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(
            f"--out {out}: holds other things, which a site would replace: name a folder that is "
            f"new, empty, or made by 'mmbench report'"
        )


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """Give an empty folder; what is in it in the end stands at `out`, whole or not at all.

    Raises:
        UsageError: As `check`.
        StoreError: The folder cannot be written; what was there before still is.
    """
    check(out)
    out = out.resolve()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".writing-", dir=out.parent))
    except OSError as error:
        raise _cannot(out, error) from None
    try:
        yield made
        (made / MARKER).write_text(_ABOUT, encoding="utf-8")
        made.chmod(0o755)
        _swap(made, out)
    except OSError as error:
        raise _cannot(out, error) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _swap(made: Path, out: Path) -> None:
    check(out)  # somebody else may have put something there while pages were written
    if not out.exists():
        os.replace(made, out)
        return
    old = Path(tempfile.mkdtemp(prefix=".replaced-", dir=out.parent))
    try:
        os.replace(out, old / "site")
        os.replace(made, out)
    finally:
        if not out.exists():  # interrupted between the two
            os.replace(old / "site", out)
        shutil.rmtree(old, ignore_errors=True)


def _cannot(out: Path, error: OSError) -> StoreError:
    return StoreError(f"--out {out}: cannot be written: {error.strerror or error}")
