"""JSON, decoded; what is wrong with it is said in words that help."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from mmbench.errors import DataError
from mmbench.tables.formats._content import line_of, not_utf8

#: What Python's own ``json`` writes for numbers that are none.
_NO_NUMBER = re.compile(rb"(?<![\w\"])-?(NaN|Infinity)(?![\w\"])")
_decode = msgspec.json.Decoder().decode


def decode(content: bytes, path: Path, line: int = 1) -> Any:
    """Return what a JSON text says.

    Args:
        content: The text.
        path: The file that it is from.
        line: The line of the file that it begins with.

    Raises:
        DataError: It is broken: one line with file and line.
    """
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        at, reason = _explain(content, error)
        raise DataError(f"{path}:{line + at - 1}: {reason}") from None


def _explain(content: bytes, error: Exception) -> tuple[int, str]:
    """Return the line, from 1, and what is wrong with it."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return line_of(content, wrong.start), not_utf8(wrong)
    found = _NO_NUMBER.search(content)
    if found and _is_json_but_for_numbers(content):
        name = found[1].decode()
        return line_of(content, found.start()), f"holds {name}, which is no number: leave it out"
    if "truncated" in str(error) or _is_cut_off(content.rstrip()):
        return line_of(content, len(content.rstrip())), "the JSON ends too early: was it cut off?"
    byte = re.search(r"\(byte (\d+)\)", str(error))
    at = line_of(content, int(byte[1])) if byte else 1
    reason = str(error).partition(" (byte")[0].removeprefix("JSON is malformed: ")
    return at, f"is not valid JSON: {reason}"


def _is_cut_off(content: bytes) -> bool:
    """Whether nothing is wrong but the end; a line break within a text would hide it."""
    try:
        _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return "truncated" in str(error)
    return False


def _is_json_but_for_numbers(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True
