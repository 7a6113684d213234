"""What figures are drawn from: records, and what is asked about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmbench import leaderboard
from mmbench.errors import NotComparableError
from mmbench.leaderboard import Board
from mmbench.paired import definition
from mmbench.spec import digest
from mmbench.store import Record, Stored


@dataclass(frozen=True)
class Source:
    """Records, and what is asked about them.

    Attributes:
        records: As `mmbench.store.scan` returns them.
        metrics: Draw these instead of each task's main one.
        split: Which test split.
        cost: What quality is held against (`pareto.COSTS`).
        data: Folder of the user's data.
        problems: Takes what had to be left out, a line each.
    """

    records: Sequence[Stored]
    metrics: tuple[str, ...] = ()
    split: str = "test"
    cost: str = "parameters"
    data: Path | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def asked(self) -> tuple[str | None, ...]:
        """The metrics; None stands for each task's main one."""
        return self.metrics or (None,)


class Panel(NamedTuple):
    """A board and the records that it was made of."""

    board: Board
    members: Sequence[Stored]

    def records_of(self, model: str) -> list[Stored]:
        """Return the ranked records of one of its models."""
        return [
            s
            for s in self.members
            if s.record.status == "finished"
            and s.record.ranked
            and (model == s.record.model or model.startswith(_apart(s.record)))
        ]


def _apart(record: Record) -> str:
    """Return how a board's name begins where another definition bears the model's name too."""
    return f"{record.model}#{digest(definition(record))[:4]} "


def measured_alike(records: Sequence[Stored]) -> list[list[Stored]]:
    """Put together what can stand on one board: one task as it was defined, and one budget."""
    found: dict[tuple[str, int, str, str], list[Stored]] = {}
    for stored in records:
        r = stored.record
        found.setdefault((r.task, r.task_version, r.budget, r.task_digest), []).append(stored)
    return [members for _, members in sorted(found.items())]


def panels(source: Source, what: str) -> list[Panel]:
    """Return a board with its records for each metric, task and budget.

    Args:
        source: The records.
        what: The figure's name, for the error.

    Raises:
        NotComparableError: There is no board at all.
    """
    found = [
        Panel(board, members)
        for metric in source.asked
        for members in measured_alike(source.records)
        for board in leaderboard.boards(members, metric, source.split, source.problems)
        if any(row.value is not None for row in board.rows)
    ]
    if not found:
        scored = ", ".join(source.metrics) or "its task's main metric"
        raise NotComparableError(
            f"{what}: no finished record was scored with {scored} on {source.split!r}"
        )
    return found
