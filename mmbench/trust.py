"""How far a record was checked by somebody else than its maker: ``RESULTS/verified.json``.

A record says of itself what it scored; that is *self-reported*. Whoever keeps a board runs
``mmbench verify``: scores that came out of the stored predictions once more are *rescored*, a run
that was trained once more and agreed is *reproduced*, and what did not agree is *failed* and stays
off the boards. What was found is bound to the record's checksum: a record that is changed later is
self-reported again.

What training once more has shown stays until it is trained once more: a look at its files alone
neither clears a run that could not be reproduced, nor forgets that it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from mmbench import sealed, store
from mmbench.admission import clean
from mmbench.errors import NewerError, StoreError

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
        rerun: Whether it was trained once more.
        mmbench: Version that checked.
        platform: Where, as in the provenance of records.
    """

    checksum: str
    level: Annotated[str, Meta(pattern="^(rescored|reproduced|failed)$")]
    reason: str = ""
    rerun: bool = False
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
        StoreError: The file is damaged, or (`NewerError`) from a newer mmbench.
    """
    path = results / FILE
    if not path.exists():
        return {}
    found = sealed.read(path, Verified, SCHEMA, "'mmbench verify' makes it anew").findings
    return {name: replace(one, reason=clean(one.reason)) for name, one in found.items()}


def merge(results: Path, found: Mapping[str, Finding | None], checksums: Mapping[str, str]) -> bool:
    """Put what was found now to what was found before, of other records too.

    Args:
        results: The results folder.
        found: Name of a record that was looked at -> what was found; None: nothing that raises it
            above what it says of itself.
        checksums: Name of every record that is there -> its own checksum; of others nothing is
            kept.

    Returns:
        Whether the file was written: not where nothing was found and nothing had been.

    Raises:
        NewerError: A newer mmbench has written it.
        StoreError: It cannot be written.
    """
    try:
        before = read(results)
    except NewerError:
        raise
    except StoreError:
        before = {}  # made anew
    kept: dict[str, Finding] = {}
    for name, checksum in checksums.items():
        old, new = before.get(name), found.get(name)
        if old is not None and old.checksum == checksum:
            stands = old.rerun and not (new is not None and (new.rerun or new.level == FAILED))
            if name not in found or stands:
                kept[name] = old
                continue
        if new is not None:
            kept[name] = new
    if not kept and not (results / FILE).exists():
        return False
    try:
        write(results, kept)
    except OSError as error:
        raise StoreError(
            f"{results / FILE}: cannot be written ({error.strerror or error}): --no-write says "
            f"what was found and keeps nothing"
        ) from None
    return True


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
