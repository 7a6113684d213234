"""How much memory there is, and how much of it the data of a run may take.

What may be taken is an `Allowance`: a share of what is available, or a size. It bounds what all
splits that are in use at a time hold together, on the host and on each GPU by itself, in all
processes that work beside each other: each has its part (`sharers`). What goes beyond is read from
the disk while the model trains (`mmbench.models.feed`). It never changes a bit of a result, and so
is no part of a run's identity.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from mmbench.errors import UsageError

#: The share of the available memory that data take if nobody says otherwise: models, gradients and
#: other programs need some too.
SHARE = 0.5
#: Where Linux says what a container may use.
CGROUP = Path("/sys/fs/cgroup")

_UNITS = {"b": 1}
_UNITS |= {f"{letter}ib": 1024**k for k, letter in enumerate("kmgt", 1)}
_UNITS |= {f"{letter}b": 1000**k for k, letter in enumerate("kmgt", 1)}


@dataclass(frozen=True)
class Allowance:
    """What data may take: a share of what is available, unless a size is given.

    Attributes:
        share: In (0, 1].
        size: In bytes; None: the share counts.
    """

    share: float = SHARE
    size: int | None = None

    @classmethod
    def parse(cls, text: str, where: str = "--memory") -> Allowance:
        """Read a share (``0.5``, ``50%``) or a size (``2GiB``, ``500 MB``).

        Raises:
            UsageError: It is neither; `where` says what was asked for.

        >>> Allowance.parse("25%").share, Allowance.parse("1.5KiB").size
        (0.25, 1536)
        """
        found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*|%)", text.strip().lower())
        number, unit = (float(found[1]), found[2]) if found else (0.0, "")
        if unit in _UNITS and number * _UNITS[unit] >= 1:
            return cls(size=int(number * _UNITS[unit]))
        share = number / 100 if unit == "%" else number
        if unit in ("", "%") and 0 < share <= 1:
            return cls(share=share)
        raise UsageError(
            f"{where} {text}: expected a share of the available memory, above 0 and up to 1 "
            f"(0.5, 50%), or a size with its unit (2GiB, 500MB)"
        )

    def of(self, available: int | None) -> int:
        """Return the bytes that may be taken where so many are available (None: unknown)."""
        if self.size is not None:
            return self.size
        return sys.maxsize if available is None else int(self.share * available)


#: Where nobody says otherwise.
USUAL = Allowance()

_workers = 1


def share(workers: int) -> None:
    """Take note that so many processes on this machine, this one included, make runs at a time."""
    global _workers
    _workers = workers


def sharers(host: bool) -> int:
    """Return how many processes take of the same memory.

    Workers share the host and the GPU. Processes that share one run share the host alone: each has
    a GPU of its own.

    Args:
        host: Whether the host's memory is meant.
    """
    one_run = os.environ.get("LOCAL_WORLD_SIZE", "1") if host else "1"
    return _workers * (max(1, int(one_run)) if one_run.isdecimal() else 1)


def readable(count: int) -> str:
    """Return a number of bytes in words.

    >>> readable(700), readable(3 * 2**29)
    ('700 B', '1.5 GiB')
    """
    if count < 1024:
        return f"{count} B"
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min((count.bit_length() - 1) // 10, len(units))
    return f"{count / 1024**power:.1f} {units[power - 1]}"


def available_memory() -> int | None:
    """Return the bytes that this process may still take; None where nothing says so."""
    found = []
    try:
        import psutil

        found.append(int(psutil.virtual_memory().available))
    except ImportError:
        if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = cgroup("memory.max"), cgroup("memory.current")
    if limit.isdecimal() and used.isdecimal():
        found.append(max(int(limit) - int(used) + _reclaimable(), 0))
    return min(found, default=None)


def _reclaimable() -> int:
    """Return the bytes of files that a container holds in memory only as long as there is room."""
    rows = dict(line.split(maxsplit=1) for line in cgroup("memory.stat").splitlines())
    return int(rows.get("inactive_file", 0))


def cgroup(name: str) -> str:
    """Return what Linux says of this process's container; empty where it does not."""
    try:
        return (CGROUP / name).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
