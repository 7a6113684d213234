"""Whether a record is what it says: checksums, digests, and scores worked out once more.

Nothing here trains or imports torch (`mmbench.rerun` does). What can be shown of a record depends
on what was stored with it: its scores follow from its item statistics; these follow from its
predictions, where they are stored and the data can be had (then it is *rescored*).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mmbench
from mmbench import provenance, record_checks, store
from mmbench.admission import line
from mmbench.errors import NotComparableError, StoreError
from mmbench.folders import results_around
from mmbench.record_checks import NOTE, OK, Check
from mmbench.store import Stored
from mmbench.trust import FAILED, RESCORED, SELF_REPORTED, Finding


@dataclass(frozen=True)
class Verdict:
    """What was found of one record.

    Attributes:
        name: The record's name; where it cannot be read, that of its folder.
        checks: In order.
        stored: The record; None where it cannot be read.
        level: How far it was checked (`mmbench.trust`).
        rerun: Whether it was trained once more.
        environment: In what that training differed from the record's; only where it was.
    """

    name: str
    checks: tuple[Check, ...]
    stored: Stored | None = None
    level: str = SELF_REPORTED
    rerun: bool = False
    environment: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """The worst of the checks' outcomes."""
        there = {check.outcome for check in self.checks}
        return next((one for one in (FAILED, NOTE) if one in there), OK)

    @property
    def reason(self) -> str:
        """What decides: what failed, else what the level rests on and what lowers it."""
        failed = [f"{c.name}: {c.said}" for c in self.checks if c.outcome == FAILED]
        if failed:
            return "; ".join(failed)
        best = [c.said for c in self.checks if c.outcome == OK and c.name in _SHOWN][-1:]
        return "; ".join([*best, *(c.said for c in self.checks if c.outcome == NOTE)])

    def with_check(self, check: Check, level: str | None = None, **parts: Any) -> Verdict:
        """Return a verdict with another check; where that is passed, `level` is reached."""
        level = level if level is not None and check.outcome == OK else self.level
        checks = (*self.checks, check)
        failed = any(one.outcome == FAILED for one in checks)
        return replace(self, checks=checks, level=FAILED if failed else level, **parts)


#: Checks that say how far a record was checked, each more than those before it.
_SHOWN = ("scores", "predictions", "rerun")


def chosen(
    results: Path, what: str | None, tasks: Sequence[str], models: Sequence[str]
) -> tuple[Path, list[Path], list[str]]:
    """Find what is to be verified.

    Args:
        results: The results folder.
        what: Another results folder, a record's folder, or a name as `store.resolve` knows it; a
            name that several records begin with stands for all of them.
        tasks: Only these tasks; empty: all.
        models: Only these models; empty: all.

    Returns:
        The results folder, the records' folders in it, and what could not be looked into.

    Raises:
        NotComparableError: There is nothing to verify.
    """
    if what is not None and (Path(what) / store.RECORD).exists():
        folder = Path(what).resolve()
        return folder.parents[min(2, len(folder.parents) - 1)], [folder], []
    below: Path | None = None
    if what is not None and Path(what).is_dir():
        below, what = Path(what), None
        results = results_around(below)
    if not results.is_dir():
        raise NotComparableError(f"{results}: there is no such folder; --results names another")
    folders, problems = store.record_folders(results)
    if below is not None and below != results:
        folders = [folder for folder in folders if below.resolve() in folder.parents]
    if what is not None:
        named = what.rstrip("/")
        begun = [f for f in folders if f"{_lies(results, f)}/".startswith(f"{named}/")]
        folders = begun or [store.resolve(results, named).folder]
    folders = [
        folder
        for folder in folders
        if (not tasks or folder.parts[-3] in tasks) and (not models or folder.parts[-2] in models)
    ]
    if not folders:
        more = f"; {problems[0]}" if problems else ""
        raise NotComparableError(
            f"{results}: holds no records that are asked for{more}; 'mmbench run' makes them"
        )
    return results, folders, problems


def verify(results: Path, folders: Iterable[Path], data: Path | None = None) -> list[Verdict]:
    """Verify records without training.

    Args:
        results: The results folder.
        folders: Those of the records.
        data: Folder of the user's data.
    """
    found = [_verdict(results, folder, data) for folder in folders]
    others: dict[str, str] = {}
    for one, two in store.twins(v.stored for v in found if v.stored is not None):
        others[two.record.name] = one.record.name
        others.setdefault(one.record.name, two.record.name)
    return [
        verdict
        if verdict.name not in others
        else verdict.with_check(
            Check("identity", FAILED, f"is that of {others[verdict.name]} too, of other scores")
        )
        for verdict in found
    ]


def findings(
    results: Path, verdicts: Iterable[Verdict]
) -> tuple[dict[str, Finding | None], dict[str, str]]:
    """Return what `mmbench.trust.merge` takes: what was found, and the checksums of all records."""
    now = provenance.platform_name()
    found: dict[str, Finding | None] = {}
    checksums = {s.record.name: s.record.checksum for s in _readable(results)}
    for verdict in verdicts:
        if verdict.stored is None:
            continue
        record, level = verdict.stored.record, verdict.level
        checksums[record.name] = record.checksum
        found[record.name] = None
        if level != SELF_REPORTED:
            found[record.name] = Finding(
                checksum=record.checksum,
                level=level,
                reason=line(verdict.reason),
                rerun=verdict.rerun,
                mmbench=mmbench.__version__,
                platform=now,
            )
    return found, checksums


def _readable(results: Path) -> list[Stored]:
    found = []
    for folder in store.record_folders(results)[0]:
        try:
            found.append(store.read_in_place(folder))
        except StoreError:
            continue  # has been told
    return found


def _verdict(results: Path, folder: Path, data: Path | None) -> Verdict:
    try:
        stored = store.read_in_place(folder)
    except StoreError as error:
        said = str(error).removeprefix(f"{folder / store.RECORD}: ")
        name = line(_lies(results, folder))
        return Verdict(name, (Check("record", FAILED, line(said)),), level=FAILED)
    record = stored.record
    checks = [
        Check("record", OK, "matches its checksum and its place"),
        *record_checks.files(stored),
    ]
    checks += [*record_checks.task(record), *record_checks.identity(record)]
    level = SELF_REPORTED
    if record.status == "diverged" or not record.scores:
        checks.append(Check("scores", NOTE, f"none: {record.status}: {record.reason}"))
    else:
        checks += record_checks.scores(stored, data)
        level = RESCORED if ("predictions", OK) in [(c.name, c.outcome) for c in checks] else level
    failed = any(check.outcome == FAILED for check in checks)
    return Verdict(record.name, tuple(checks), stored, FAILED if failed else level)


def _lies(results: Path, folder: Path) -> str:
    return folder.relative_to(results).as_posix()
