"""What single cells hold, whoever wrote them."""

from __future__ import annotations

import json
from typing import Any


def plain(value: Any) -> Any:
    """Return a cell without numpy: lists and numbers of Python."""
    return value.tolist() if hasattr(value, "tolist") else value


def parsed(value: Any) -> Any:
    """Return a cell without numpy; a list or a mapping that a CSV file holds as JSON is one.

    >>> parsed('["a", "b"]'), parsed("[sic]"), parsed("3")
    (['a', 'b'], '[sic]', '3')
    """
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return plain(value)


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing; pandas writes that as NaN, a CSV file as no text."""
    return value is None or (isinstance(value, str) and not value) or value_is_nan(value)


def value_is_nan(value: Any) -> bool:
    """Whether a cell is a number that is none."""
    return isinstance(value, float) and value != value


def short(value: Any) -> str:
    """Return a cell for a message, cut to 60 characters."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}..."
