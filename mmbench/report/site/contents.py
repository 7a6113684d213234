"""What a site is made of: records that can be shown, how far each was checked, and their pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mmbench import leaderboard, paired, trust
from mmbench.errors import MmbenchError, StoreError
from mmbench.leaderboard import Board, Row
from mmbench.report.site.names import slug
from mmbench.spec import TaskSpec, digest
from mmbench.store import Record, Stored


@dataclass(frozen=True)
class Run:
    """One record and what is known of it.

    Attributes:
        stored: The record.
        task: What it was measured on.
        trust: How far it was checked, see `mmbench.trust`.
        finding: What whoever checked it found.
        page: Its page, from the site's top.
    """

    stored: Stored
    task: TaskSpec
    trust: str
    finding: str
    page: str

    @property
    def record(self) -> Record:
        """The record itself."""
        return self.stored.record

    @property
    def main_value(self) -> str:
        """The main metric's value on ``test``; empty where there is none."""
        got = self.record.scores.get("test", {}).get(self.task.metrics.main)
        return "" if got is None or got.value is None else f"{got.value:.3f}"

    @property
    def why_not(self) -> str:
        """Why it is not ranked; empty where it is."""
        record = self.record
        if self.trust == trust.FAILED:
            return f"failed verification{f': {self.finding}' if self.finding else ''}"
        if record.status != "finished":
            return f"{record.status}{f': {record.reason}' if record.reason else ''}"
        return "" if record.ranked else "test items were limited"


@dataclass(frozen=True)
class Table:
    """A board, and the runs that its rows are made of.

    Attributes:
        board: The board.
        members: For each row its runs; none for a published one.
        apart: Runs of the same task, version, budget and digest that are not ranked.
        task: What they were measured on.
    """

    board: Board
    members: tuple[tuple[Run, ...], ...]
    apart: tuple[Run, ...]
    task: TaskSpec

    @property
    def name(self) -> str:
        """The task's name."""
        return self.board.task.rpartition("@")[0]


@dataclass(frozen=True)
class Contents:
    """All of a site.

    Attributes:
        runs: Those that can be shown, sorted by name.
        tables: A board for each task, version, budget and digest, on ``test``.
        others: Boards of the other test splits, in the same order as far as there are any.
        problems: What could not be read or ranked, a line each.
    """

    runs: tuple[Run, ...]
    tables: tuple[Table, ...]
    others: tuple[Table, ...]
    problems: tuple[str, ...]


def task_page(name: str) -> str:
    """Return a task's page, from the site's top."""
    return f"tasks/{slug(name)}.html"


def model_page(name: str) -> str:
    """Return a model's page, from the site's top."""
    return f"models/{slug(name)}.html"


def gather(records: Iterable[Stored], problems: Iterable[str], results: Path) -> Contents:
    """Look through records, and make their boards.

    Args:
        records: As `store.scan` returns them.
        problems: What it could not read.
        results: Their folder.
    """
    told = list(problems)
    findings = _findings(results, told)
    runs = []
    for stored in records:
        try:
            task = _fit(stored.record)
        except (MmbenchError, msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
            told.append(f"{stored.folder}: cannot be shown: {_said(error)}")
            continue
        level = trust.level(stored, findings)
        found = findings[stored.record.name].reason if level != trust.SELF_REPORTED else ""
        # A folder holds one record, whatever names the record gives itself.
        page = f"runs/{slug('/'.join(stored.folder.parts[-3:]))}.html"
        runs.append(Run(stored, task, level, found, page))
    tables, others = _tables(runs, told)
    return Contents(tuple(runs), tables, others, tuple(dict.fromkeys(told)))


def _findings(results: Path, problems: list[str]) -> dict[str, trust.Finding]:
    try:
        return trust.read(results)
    except StoreError as error:
        problems.append(str(error))
        return {}


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"its definition has no {error.args[0]!r}"
    return str(error)


def _fit(record: Record) -> TaskSpec:
    """Return a record's task.

    Raises:
        ValueError: The record holds something else than numbers where others will count on them.
    """
    for key, value in record.cost.items():
        if not (value is None or isinstance(value, int | float)):
            raise ValueError(f"cost.{key} is no number")
    for point in record.curve:
        if not {"step", "loss"} <= set(point):
            raise ValueError("a point of its curve has no step or no loss")
    if not isinstance(record.definition.get("model", {}), dict):
        raise ValueError("definition.model is no table")
    return paired.task_of(record)


def _tables(
    runs: Sequence[Run], problems: list[str]
) -> tuple[tuple[Table, ...], tuple[Table, ...]]:
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        r = run.record
        groups.setdefault((r.task, r.task_version, r.budget, r.task_digest), []).append(run)
    tables, others = [], []
    for _, group in sorted(groups.items(), key=lambda item: item[0]):
        tables += _of_group(group, "test", problems)
        splits = sorted({split for run in group for split in run.record.scores} - {"test"})
        for split in splits:
            others += _of_group(group, split, problems)
    return tuple(tables), tuple(others)


def _of_group(group: Sequence[Run], split: str, problems: list[str]) -> list[Table]:
    """Make the board of one task, budget and digest; none where no run was scored on the split."""
    sound = [run for run in group if run.trust != trust.FAILED]
    try:
        boards = leaderboard.boards([run.stored for run in sound], None, split, problems)
    except MmbenchError as error:
        problems.append(f"{group[0].record.task}, {split}: no board: {error}")
        return []
    apart = tuple(run for run in group if run.why_not)
    return [
        Table(board, tuple(_members(row, sound, split) for row in board.rows), apart, group[0].task)
        for board in boards
    ]


def _members(row: Row, runs: Sequence[Run], split: str) -> tuple[Run, ...]:
    """Return the runs that a row is made of: the first of each seed, as `leaderboard` takes them.

    Where several definitions share a name, a row's name ends with its own's digest.
    """
    if row.external:
        return ()
    found: dict[int, Run] = {}
    for run in runs:
        kind = paired.definition(run.record)
        names = (run.record.model, f"{run.record.model}#{digest(kind)[:4]} {kind[1]}")
        if row.model in names and not run.why_not and split in run.record.scores:
            found.setdefault(run.record.seed, run)
    return tuple(found[seed] for seed in sorted(found))


def weakest(runs: Sequence[Run]) -> str:
    """Return how far the least checked of several runs was checked; empty for none."""
    order = (trust.FAILED, trust.SELF_REPORTED, trust.RESCORED, trust.REPRODUCED)
    place = {level: at for at, level in enumerate(order)}
    return min((run.trust for run in runs), key=lambda level: place.get(level, 1), default="")
