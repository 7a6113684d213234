"""Making a candidate the reference, and keeping book of it.

A reference is a results folder or a file of predictions. What it held before its first promotion is
kept beside as the *first anchor* (``REFERENCE/anchor/``, ``NAME.anchor.jsonl``): every later
candidate is held against that too, since small losses within the margin add up. Each promotion is
written down with its message, what was replaced by what, and what the gate had said
(``REFERENCE/promotions.json``, ``NAME.promotions.json``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, field

import mmbench
from mmbench import claims, sealed, store
from mmbench.errors import StoreError, UsageError
from mmbench.folders import results_around
from mmbench.gate import sides
from mmbench.gate.sides import Pair
from mmbench.gate.verdicts import Outcome, Verdict

#: The schema that this version writes.
SCHEMA = 1
_BOOK = "promotions.json"


class Said(Struct, frozen=True, kw_only=True):
    """What the gate had said of one metric."""

    task: str
    model: str
    split: str
    metric: str
    against: str
    status: str
    change: float | None
    margin: float | None


class Promotion(Struct, frozen=True, kw_only=True):
    """One promotion.

    Attributes:
        message: Why, in the words of whoever promoted.
        when: UTC, to the second.
        mmbench: Version.
        replaced: Name of each record, or of the file -> its checksum.
        promoted: The same of what took its place.
        renamed: ``task/budget/model`` -> the model that it took the place of, where the names
            differ: what is held against the first anchor is a line, whatever its members are
            called.
        verdicts: What the gate had said.
    """

    message: str
    when: str
    mmbench: str
    replaced: dict[str, str]
    promoted: dict[str, str]
    renamed: dict[str, str] = field(default_factory=dict)
    verdicts: list[Said] = field(default_factory=list)


class Promotions(Struct, frozen=True, kw_only=True):
    """The book: promotions in their order."""

    schema: int = SCHEMA
    promotions: list[Promotion] = field(default_factory=list)
    checksum: str = ""


def anchor_of(reference: Path) -> Path:
    """Return where the first anchor of a reference is kept."""
    if reference.is_dir():
        return reference / "anchor"
    return reference.with_name(f"{reference.stem}.anchor{reference.suffix}")


def book_of(reference: Path) -> Path:
    """Return where promotions are written down."""
    if reference.is_dir():
        return reference / _BOOK
    return reference.with_name(f"{reference.name}.{_BOOK}")


def read(reference: Path) -> list[Promotion]:
    """Return the promotions of a reference.

    Raises:
        StoreError: The book is damaged, or from a newer mmbench.
    """
    path = book_of(reference)
    return sealed.read(path, Promotions, SCHEMA).promotions if path.exists() else []


def check(reference: Path, candidate: str, message: str) -> None:
    """Refuse what cannot be promoted before anything is judged.

    Raises:
        UsageError: The reference is neither a results folder nor a file, the candidate is a file
            of another kind, or there is no message.
        StoreError: The book is damaged.
    """
    if not message.strip():
        raise UsageError("--update: needs --message TEXT: why the candidate becomes the reference")
    if not reference.exists() or (reference / store.RECORD).exists():
        raise UsageError(
            f"--update: {reference} is no results folder and no file: only those can be replaced; "
            f"copy the records into a folder of their own and name that as --reference"
        )
    whole = results_around(reference) if reference.is_dir() else reference
    if whole != reference:
        raise UsageError(
            f"--update: {reference} is a part of the results folder {whole}: name that one as "
            f"--reference, and the part with -t and -m"
        )
    if reference.is_file() and Path(candidate).suffix.lower() != reference.suffix.lower():
        raise UsageError(
            f"--update: {candidate} would take the place of {reference}: expected a file with the "
            f"same ending, {reference.suffix}"
        )
    read(reference)


def recover(reference: Path) -> str:
    """Finish a promotion that was cut off, or take it back; say what was done.

    Only one that left its mark is touched: whatever else differs from the book is the user's doing.

    Raises:
        StoreError: The book is damaged, or the reference cannot be written.
    """
    mark = _mark(reference)
    if not mark.exists():
        return ""
    told = _put_right(reference)
    mark.unlink()
    return told


def _put_right(reference: Path) -> str:
    done = read(reference)
    if not done:
        return ""
    last = done[-1]
    if reference.is_dir():
        for name in {*last.replaced, *last.promoted}:
            claims.clear(reference, reference / name)
        there = {s.record.name: s for s in store.scan(reference)[0]}
        left = [there[name] for name in last.replaced if name in there]
        if all(n in there and there[n].record.checksum == c for n, c in last.promoted.items()):
            for stored in left:
                if stored.record.name not in last.promoted:
                    _remove(stored)
            return "finished a promotion that was cut off"
        for name in last.promoted:
            if name in there and name not in last.replaced:
                _remove(there[name])
    elif store.checksum(reference) in last.promoted.values():
        return "finished a promotion that was cut off"
    _write(reference, done[:-1])
    return "took back a promotion that was cut off"


def _adopt(reference: Path, stored: store.Stored) -> None:
    with claims.alone(reference, store.folder_of(reference, stored.record)):
        store.adopt(reference, stored)


def _remove(stored: store.Stored) -> None:
    with claims.alone(stored.folder.parents[2], stored.folder):
        store.remove(stored)


def promote(
    reference: Path, candidate: str, pairs: Sequence[Pair], outcome: Outcome, message: str
) -> Promotion:
    """Put the candidate in the reference's place.

    The anchor comes first, then the entry in the book, then the new, and at last the old goes;
    what is killed in between is put right by `recover`.

    Args:
        reference: A results folder, or a file.
        candidate: The candidate's file; of records, the pairs know them.
        pairs: What was judged.
        outcome: What the gate said.
        message: Why.

    Raises:
        StoreError: Something cannot be written.
    """
    there = [pair for pair in pairs if pair.candidates]
    if reference.is_dir():
        replaced = {s.record.name: s.record.checksum for p in there for s in p.references}
        promoted = {s.record.name: s.record.checksum for p in there for s in p.candidates}
    else:
        replaced = {reference.name: store.checksum(reference)}
        promoted = {Path(candidate).name: store.checksum(Path(candidate))}
    made = Promotion(
        message=message.strip(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        mmbench=mmbench.__version__,
        replaced=replaced,
        promoted=promoted,
        renamed={
            "/".join(_key(pair.candidates[0].record)): pair.model
            for pair in there
            if pair.candidates[0].record.model != pair.model
        },
        verdicts=[_said(v) for v in outcome.verdicts],
    )
    try:
        _keep_anchor(reference, there)
        _mark(reference).touch()
        _write(reference, [*read(reference), made])
        if not reference.is_dir():
            sealed.put(reference, Path(candidate).read_bytes())
        for pair in there if reference.is_dir() else ():
            for stored in pair.candidates:
                _adopt(reference, stored)
            for stored in pair.references:
                if stored.record.name not in promoted:
                    _remove(stored)
        _mark(reference).unlink()
    except OSError as error:
        raise StoreError(f"{reference}: cannot be updated: {error.strerror or error}") from None
    return made


def _keep_anchor(reference: Path, pairs: Sequence[Pair]) -> None:
    """Keep what the reference holds if nothing was kept yet."""
    anchor = anchor_of(reference)
    if not reference.is_dir():
        if not anchor.exists():
            sealed.put(anchor, reference.read_bytes())
        return
    book = read(reference)
    kept = {_key(s.record) for s in store.scan(anchor)[0]}
    for pair in pairs:
        if _origin(_key(pair.references[0].record), book) not in kept:
            for stored in pair.references:
                _adopt(anchor, stored)


def anchored(reference: Path, pairs: Sequence[Pair], problems: list[str]) -> list[Pair]:
    """Return the first anchor beside the candidates of pairs, as far as there is one.

    Args:
        reference: A results folder.
        pairs: The reference as it is now beside the candidate.
        problems: Takes what could not be read.
    """
    kept, unreadable = store.scan(anchor_of(reference))
    problems += unreadable
    book = read(reference)
    found = []
    for pair in pairs:
        if not pair.candidates:
            continue
        task, budget, model = _origin(_key(pair.references[0].record), book)
        first = [s for s in kept if _key(s.record) == (task, budget, model)]
        if first:
            # By the name that the reference has now, since that is what the policy knows.
            held = sides.pair((task, budget, pair.model), first, pair.candidates)
            found.append(held)
    return found


def _key(record: store.Record) -> tuple[str, str, str]:
    return (record.task, record.budget, record.model)


def _origin(key: tuple[str, str, str], book: Sequence[Promotion]) -> tuple[str, str, str]:
    """Return what a model of the reference was called before its first promotion."""
    for promotion in reversed(book):
        key = (*key[:2], promotion.renamed.get("/".join(key), key[2]))
    return key


def _mark(reference: Path) -> Path:
    """Return the file that stands while a promotion is under way."""
    return book_of(reference).with_suffix(".unfinished")


def _write(reference: Path, promotions: Sequence[Promotion]) -> None:
    book = sealed.seal(Promotions(promotions=list(promotions)))
    try:
        sealed.put(book_of(reference), sealed.encode(book))
    except OSError as error:
        raise StoreError(f"{book_of(reference)}: cannot be written: {error.strerror}") from None


def _said(verdict: Verdict) -> Said:
    def number(name: str) -> float | None:
        value = float(getattr(verdict, name))
        return value if value == value else None

    texts = {
        name: str(getattr(verdict, name))
        for name in ("task", "model", "split", "metric", "against", "status")
    }
    return Said(**texts, change=number("change"), margin=number("margin"))
