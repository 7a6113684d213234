"""The errors that a user can cause, each with the exit code of the command line.

Every message is one line that names the file, the key or the argument, says what was expected
and what would work. The command line prints it behind ``error:`` and adds nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MmbenchError(Exception):
    """Something went wrong that the message explains. Exit code 1."""

    exit_code = 1


class UsageError(MmbenchError):
    """The request itself is wrong: an argument, a name, a definition. Exit code 2."""

    exit_code = 2


class ItemError(UsageError):
    """What was predicted for one item, or what is right for it, is not what its kind expects."""

    def __init__(self, message: str, item: str, right: bool = False) -> None:
        """Build the error.

        Args:
            message: The line, which names the item.
            item: The item's id; whoever knows where its row stands can say so.
            right: Whether what is right is wrong, and not the prediction.
        """
        super().__init__(message)
        self.item = item
        self.right = right


class SpecError(UsageError):
    """A definition (TOML) is wrong: unknown key, wrong type, impossible value."""


class UnknownNameError(UsageError):
    """A name that nothing answers to."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        """Build the message: what kind of thing, which name, what is near or known.

        Args:
            kind: What was looked for, e.g. ``"model"``.
            name: The name that was asked for.
            known: The names that would have worked.
            hint: What else would work, as a sentence.
        """
        known = sorted(known)
        near = nearest(name, known)
        offer = f"did you mean {near!r}? " if near else ""
        listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        tail = f"; {hint}" if hint else ""
        super().__init__(f"unknown {kind} {name!r}: {offer}known: {listed or 'none'}{tail}")


class IncompatibleError(UsageError):
    """A pair of things that makes no sense together, refused before any work is done."""


class MissingExtraError(UsageError):
    """A feature needs an extra that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        """Name the feature and the command that installs what it needs.

        Args:
            what: The feature or package that is missing.
            extra: The extra of mmbench that brings it.
        """
        super().__init__(f"{what} is not installed: pip install 'mmbench[{extra}]'")


class DataError(MmbenchError):
    """Data are missing or broken. Exit code 4."""

    exit_code = 4


class StoreError(MmbenchError):
    """A record cannot be written or read. Exit code 1."""


class OutOfMemoryError(MmbenchError):
    """A run needs more memory than there is."""


class DeviceError(MmbenchError):
    """Processes that share a run lost each other; what is left cannot be made by them."""


class PlaceError(StoreError):
    """Nothing can be written to the results folder: every other run would fail likewise."""


class NewerError(StoreError):
    """A file was written by a newer mmbench. It is whole, so nothing may be written over it."""


class RunError(MmbenchError):
    """A run ended by what nobody foresaw: an error in a component, or the end of its process."""

    def __init__(self, message: str, trace: str = "") -> None:
        """Build the error.

        Args:
            message: The line.
            trace: The way there, for ``--debug``; it may be from another process.
        """
        super().__init__(message)
        self.trace = trace


class NotComparableError(MmbenchError):
    """Records are missing, or differ in something that forbids comparing them. Exit code 4."""

    exit_code = 4


def refuse_unknown(kind: str, asked: Iterable[str], there: Iterable[str]) -> None:
    """Refuse a name that no record has.

    Raises:
        NotComparableError: With the near name.
    """
    known = sorted(set(there))
    for name in asked:
        if name not in known:
            near = nearest(name, known)
            offer = f"did you mean {near!r}? " if near else ""
            raise NotComparableError(
                f"no record has the {kind} {name!r}: {offer}known: {', '.join(known)}"
            )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`, or None if none is close."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def counted(count: int, what: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "row"), counted(1200, "other")
    ('1 row', '1,200 others')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"
