"""What stands in ``record.json``."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

#: The schema that this version writes. Whoever raises it adds a golden record to the tests.
SCHEMA = 1


class StoredScore(Struct, frozen=True, kw_only=True):
    """One metric on one split; the interval is over items, for these weights."""

    value: float | None
    low: float | None
    high: float | None
    se: float | None
    n: int
    signature: str
    higher_is_better: bool
    bounds: tuple[float | None, float | None]


class Record(Struct, frozen=True, kw_only=True):
    """What a run leaves behind.

    Attributes:
        schema: Version of this layout.
        status: ``finished``; ``diverged`` (a non-finite loss: no scores); ``leak`` (a score above
            a proven bound). Only finished ones are ranked.
        reason: Why it is not ``finished``.
        ranked: False where a limit on test items makes it unfit for a board.
        task, task_version, task_digest: What it was measured on.
        budget: Which of the task's budgets.
        model, family, summary, model_digest: What was measured.
        seed: The run's.
        identity: SHA-256 of all that determines the outcome.
        definition: ``task``, ``model`` and ``signature`` as resolved.
        provenance: Code, packages, machine; ``measured`` says how each part of the cost was
            measured, or why it is not known.
        data: Fingerprint of the arrays, digest of the source.
        scores: Split -> metric -> score.
        curve: Points of ``step``, ``loss`` and, where validated, ``score``.
        cost: Parameters, operations, seconds, memory, joules, as far as they are known.
        reproduce: The command that makes this record again.
        files: Name -> SHA-256 of the other files of the record.
        checksum: SHA-256 of this record with an empty checksum.
    """

    schema: int = SCHEMA
    status: str
    reason: str = ""
    ranked: bool = True
    task: str
    task_version: int
    task_digest: str
    budget: str
    model: str
    family: str = ""
    summary: str = ""
    model_digest: str
    seed: int
    identity: str
    definition: dict[str, Any]
    provenance: dict[str, Any]
    data: dict[str, str]
    scores: dict[str, dict[str, StoredScore]] = field(default_factory=dict)
    curve: list[dict[str, int | float | None]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    reproduce: str = ""
    files: dict[str, str] = field(default_factory=dict)
    checksum: str = ""

    @property
    def name(self) -> str:
        """Return how the command line calls it: ``task/model/budget-sSEED-8HEX``."""
        return f"{self.task}/{self.model}/{self.budget}-s{self.seed}-{self.identity[:8]}"

    def differs(self, other: Record) -> bool:
        """Whether another record has another outcome: the value of a metric that both have."""
        if self.status != other.status:
            return True
        for split, scores in self.scores.items():
            for metric, got in scores.items():
                theirs = other.scores.get(split, {}).get(metric)
                if theirs is None or theirs.signature != got.signature:
                    continue
                if (got.value, got.n) != (theirs.value, theirs.n):
                    return True
        return False
