"""How far a record was checked by somebody else than its maker: ``RESULTS/verified.json``.

A record says of itself what it scored; that is *self-reported*. Whoever keeps a board runs
``mmbench verify``: scores that came out of the stored predictions once more are *rescored*, a run
that was trained once more and agreed is *reproduced*, and what did not agree is *failed* and stays
off the boards. What was found is bound to the record's checksum: a record that is changed later is
self-reported again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct, field

from mmbench import sealed, store

#: The schema that this version writes.
SCHEMA = 1
FILE = "verified.json"
SELF_REPORTED, RESCORED, REPRODUCED, FAILED = "self-reported", "rescored", "reproduced", "failed"


class Finding(Struct, frozen=True, kw_only=True):
    """What was found of one record.

    Attributes:
        checksum: The record's own when it was checked.
        level: `RESCORED`, `REPRODUCED` or `FAILED`.
        reason: What did not agree, or how well it agreed.
        mmbench: Version that checked.
        platform: Where, as in the provenance of records.
    """

    checksum: str
    level: str
    reason: str = ""
    mmbench: str = ""
    platform: str = ""


class Verified(Struct, frozen=True, kw_only=True):
    """The file: name of a record -> what was found."""

    schema: int = SCHEMA
    findings: dict[str, Finding] = field(default_factory=dict)
    checksum: str = ""


def read(results: Path) -> dict[str, Finding]:
    """Return what was found of the records of a results folder; nothing where nobody looked.

    Raises:
        StoreError: The file is damaged, or from a newer mmbench.
    """
    path = results / FILE
    if not path.exists():
        return {}
    return sealed.read(path, Verified, SCHEMA, "'mmbench verify' makes it anew").findings


def write(results: Path, findings: Mapping[str, Finding]) -> None:
    """Write what was found.

    Raises:
        OSError: The folder cannot be written.
    """
    held = sealed.seal(Verified(findings=dict(sorted(findings.items()))))
    sealed.put(results / FILE, sealed.encode(held))


def level(stored: store.Stored, findings: Mapping[str, Finding]) -> str:
    """Return how far a record was checked."""
    found = findings.get(stored.record.name)
    if found is None or found.checksum != stored.record.checksum:
        return SELF_REPORTED
    return found.level


def weakest(levels: Iterable[str]) -> str:
    """Return the level of several records together: that of the least checked one.

    >>> weakest([REPRODUCED, SELF_REPORTED, RESCORED])
    'self-reported'
    """
    order = (FAILED, SELF_REPORTED, RESCORED, REPRODUCED)
    return min(levels, key=lambda name: order.index(name) if name in order else 0)
