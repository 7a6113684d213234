"""What a look at something finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["ok", "warn", "fail"]

GIB = 2**30


@dataclass(frozen=True)
class Check:
    """What one look found.

    Attributes:
        name: What was looked at.
        status: ``ok``; ``warn``: a part of mmbench does not work here, or works badly; ``fail``:
            something that is needed, or that was asked for, is broken.
        text: What was found, one line.
        fix: What to do, one line; empty where nothing has to be done.
    """

    name: str
    status: Status
    text: str
    fix: str = ""


#: What a look yields: one check, or one for each thing that it found.
Found: TypeAlias = Iterator[Check]
