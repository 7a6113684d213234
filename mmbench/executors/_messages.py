"""What a worker and its pool send each other: tuples of what any Python can send.

Errors travel as their class's name and their text, since some are built from other arguments than
their text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mmbench import errors
from mmbench.errors import MmbenchError, RunError
from mmbench.executors.contract import Outcome
from mmbench.run import Run


class Setting(NamedTuple):
    """What a worker has to have in common with the process that started it."""

    folder: str
    environment: dict[str, str]
    files: list[str]
    shelves: list[str]
    permitted: list[str]
    workers: int


def pack_error(error: MmbenchError | None) -> tuple[str, str, int, str] | None:
    """Return an error as it travels."""
    if error is None:
        return None
    trace = error.trace if isinstance(error, RunError) else ""
    return type(error).__name__, str(error), error.exit_code, trace


def unpack_error(packed: tuple[str, str, int, str] | None) -> MmbenchError | None:
    """Return the error that was sent; one of a class of others is a plain `MmbenchError`."""
    if packed is None:
        return None
    name, text, code, trace = packed
    kind = getattr(errors, name, MmbenchError)
    error: MmbenchError = kind.__new__(kind)
    error.args = (text,)
    error.exit_code = code
    if isinstance(error, RunError):
        error.trace = trace
    return error


def pack(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as it travels, without its run, which the other side has."""
    kept = {name: getattr(outcome, name) for name in _KEPT}
    return {**kept, "error": pack_error(outcome.error)}


def unpack(run: Run, packed: dict[str, Any]) -> Outcome:
    """Return the outcome that was sent."""
    return Outcome(run, **{**packed, "error": unpack_error(packed["error"])})


_KEPT = ("stored", "fresh", "rescored", "elsewhere", "busy", "before")
