"""What of the costs of several records cannot be compared, in words.

Seconds are those of one machine, joules those of the parts that its driver reports, and the peak of
memory may be a run's or a whole process': a table that holds them side by side has to say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmbench.store import Record

#: What depends on the machine.
TIMED = (
    "train_seconds",
    "latency_p50_seconds",
    "latency_p95_seconds",
    "items_per_second",
    "energy_joules",
)
#: As many models are named.
_NAMED = 5


def number(cost: Mapping[str, Any], key: str) -> float | None:
    """Return what a record says of its cost, if it is a finite number."""
    told = cost.get(key)
    if not isinstance(told, int | float) or isinstance(told, bool) or not math.isfinite(told):
        return None
    return told


def machine(record: Record) -> str:
    """Name what a record's seconds depend on: the GPU; or the processor and its threads."""
    came = record.provenance
    device = str(came.get("device") or "unknown")
    if device != "cpu":
        return device
    threads = came.get("threads")
    told = [str(came.get("cpu") or "unknown processor")]
    told += [f"{threads} thread{'s' * (threads != 1)}"] if isinstance(threads, int) else []
    return f"cpu ({', '.join(told)})"


def caveats(models: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """Say what cannot be compared.

    Args:
        models: Model -> the records that stand for it.

    Returns:
        Of ``seconds``, ``energy`` and ``memory`` those with something to say, and what.
    """
    found = {
        "seconds": _apart(
            models,
            lambda r: machine(r) if any(number(r.cost, key) is not None for key in TIMED) else "",
            "seconds, items/s and energy compare on one machine only",
        ),
        "energy": _apart(models, energy_of, "energy is of different parts"),
        "memory": _apart(models, _memory_of, "host memory is of different spans"),
    }
    return {key: told for key, told in found.items() if told}


def energy_of(record: Record) -> str:
    """Name the parts whose energy a record holds; empty where it holds none."""
    if number(record.cost, "energy_joules") is None:
        return ""
    there = [p for p in ("cpu", "gpu") if number(record.cost, f"energy_{p}_joules") is not None]
    return " and ".join(there).upper().replace("AND", "and") or "unknown parts"


def whole_process(record: Record) -> bool:
    """Whether a record's peak of host memory is that of all its process did, earlier runs too."""
    how = record.provenance.get("measured", {}).get("peak_host_bytes", "")
    return not how or "whole process" in how


def _memory_of(record: Record) -> str:
    if number(record.cost, "peak_host_bytes") is None:
        return ""
    if "seeds together" in record.provenance.get("measured", {}).get("peak_host_bytes", ""):
        return "of several seeds at once"
    return "of the whole process" if whole_process(record) else "of the run alone"


def _apart(models: Mapping[str, Sequence[Record]], kind: Any, what: str) -> str:
    """Name the kinds and the models of each, if there are several."""
    found: dict[str, list[str]] = {}
    for name, records in models.items():
        for one in dict.fromkeys(kind(record) for record in records):
            if one:
                found.setdefault(one, []).append(name)
    if len(found) < 2:
        return ""
    return f"{what}: " + "; ".join(f"{one}: {_some(names)}" for one, names in sorted(found.items()))


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
