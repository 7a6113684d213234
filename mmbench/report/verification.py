"""What was found of records, as lines and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmbench.admission import line

if TYPE_CHECKING:
    from mmbench.verify import Verdict

#: Version of the JSON.
SCHEMA = 1
#: Signs of a reason at most; ``--verbose`` and ``--json`` have all.
LONGEST = 320
#: In the order in which a summary counts them.
_OUTCOMES = ("ok", "note", "failed")
_LEVELS = ("reproduced", "rescored", "self-reported", "failed")


def text(verdicts: Sequence[Verdict], verbose: bool = False) -> str:
    """Write a line for each record, and one for each check where they are wanted."""
    width = max((len(verdict.name) for verdict in verdicts), default=0)
    lines = []
    for verdict in verdicts:
        level = "" if verdict.level == "failed" else f"{verdict.level}: "
        told = "" if verbose else f"  {level}{line(verdict.reason, LONGEST)}"
        lines.append(f"{verdict.outcome:<6}  {verdict.name:<{width}}{told}".rstrip())
        if verbose:
            lines[-1] += f"  {verdict.level}"
            lines += [f"        {c.outcome:<6}  {c.name}: {c.said}" for c in verdict.checks]
    return "\n".join(lines)


def summary(verdicts: Sequence[Verdict]) -> str:
    """Count outcomes and levels: ``3 records: 2 ok, 1 failed; 2 rescored``."""
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    levels = Counter(verdict.level for verdict in verdicts)
    told = ", ".join(f"{outcomes[one]} {one}" for one in _OUTCOMES if outcomes[one])
    reached = ", ".join(f"{levels[one]} {one}" for one in _LEVELS[:3] if levels[one])
    counted = f"{len(verdicts):,} record{'s' * (len(verdicts) != 1)}: {told}"
    return f"{counted}; {reached}" if reached else counted


def to_dict(verdicts: Sequence[Verdict], problems: Sequence[str]) -> dict[str, Any]:
    """Return everything that was looked at, for machines."""
    return {
        "schema": SCHEMA,
        "records": [
            {
                "name": verdict.name,
                "outcome": verdict.outcome,
                "level": verdict.level,
                "reason": verdict.reason,
                "rerun": verdict.rerun,
                "environment": list(verdict.environment),
                "checks": [
                    {"name": check.name, "outcome": check.outcome, "said": check.said}
                    for check in verdict.checks
                ],
            }
            for verdict in verdicts
        ],
        "unreadable": list(problems),
    }
