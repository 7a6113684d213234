"""Decides what could be several things: one id, one split, what is given and what is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmbench.data.manifest.table import Table
from mmbench.draft._column import CHARACTERS, LONGEST, Column, limit, words
from mmbench.draft._looks import SPLITS
from mmbench.errors import UsageError

_RIGHT = re.compile(
    r"^(y|label|labels|class|classes|target|category|categories|emotion|sentiment|tags?|genres?|"
    r"answer|caption|captions|transcript|translation|reference|references|summary|score|rating|"
    r"intensity|valence|arousal|diagnosis|outcome|species|intent|topic|polarity)$"
)
_TEXT_RIGHT = re.compile(r"caption|transcript|translation|reference|summary|answer")


def settle(table: Table, columns: list[Column]) -> None:
    """Decide what could be several things: one id, one split, what is right, what is given."""
    _one(columns, "id", ("id",))
    _one(columns, "split", ("split",))
    _one(columns, "group", ("speaker", "video", "group"))
    classes = [c for c in columns if c.role == "class"]
    numbers = [c for c in columns if c.role == "number"]
    texts = [c for c in columns if c.role == "text"]
    named = [c for c in (*classes, *numbers) if _RIGHT.search(c.name.lower())]
    right = [c for c in columns if c.role == "output"]
    if right:
        right += named
    else:
        written = [c for c in texts if _TEXT_RIGHT.search(c.name.lower())]
        right = named or classes[-1:] or written[:1] or numbers[-1:]
    for column in right:
        column.role = "output"
        if column.kind == "text" and "max_length" not in column.keys:
            spoken = [r[column.name] for r in table.rows if isinstance(r.get(column.name), str)]
            limit(column, spoken)
    if not named and len(classes) > 1:
        others = ", ".join(c.name for c in classes if c.role != "output")
        classes[-1].why += f"; {others} could be what is right as well"
    for column in classes:
        if column.role != "output":
            column.role = "subgroup"
    for column in texts:
        if column.role != "output":
            column.role = "modality"
            spoken = [r[column.name] for r in table.rows if isinstance(r.get(column.name), str)]
            most = words(spoken)
            column.shape = (min(most, LONGEST),)
            if most > LONGEST:
                column.keys["cut"] = True
                column.why += f" of up to {most} words, cut after {LONGEST}"
            if max(map(len, spoken)) > CHARACTERS:
                column.keys["longest"] = max(map(len, spoken))
    _vector(columns, [c for c in numbers if c.role == "number"])
    seen = "; ".join(f"{c.name}: {_role(c)}" for c in columns[:12])
    if not any(c.role == "output" for c in columns):
        raise UsageError(
            f"{table.file}: no column looks like what is right: expected classes (few different "
            f"words), numbers, lists of words, or texts called caption, transcript, ...; here are "
            f"{seen}"
        )
    if not any(c.role == "modality" for c in columns):
        raise UsageError(
            f"{table.file}: no column looks like what is given: expected paths of files that are "
            f"there, lists of numbers, several columns of numbers, or texts; here are {seen}"
        )


def _one(columns: list[Column], role: str, preferred: Sequence[str]) -> None:
    """Keep one column of a role: the one whose name says so, or the first."""
    several = [c for c in columns if c.role == role]
    if len(several) < 2:
        return
    kept = next((c for word in preferred for c in several if c.name.lower() == word), several[0])
    for column in several:
        if column is not kept:
            column.role = "unused"
            column.why += f"; {kept.name} is taken for the {role}"


def _vector(columns: list[Column], numbers: list[Column]) -> None:
    """Make one vector of all columns of numbers that are nothing else."""
    whole = [c for c in numbers if not c.blanks]
    for column in numbers:
        column.role = "unused"
        if column.blanks:
            column.why += ", of which a vector may lack none"
    if not whole:
        return
    taken = {c.name for c in columns}
    name = next(n for n in ("numbers", "features", "columns_of_numbers") if n not in taken)
    vector = Column(name, "modality", "vector", (len(whole),), {"standardise": True})
    vector.keys["column"] = [c.name for c in whole]
    vector.why = f"the columns of numbers {', '.join(c.name for c in whole)} together"
    if len(whole) == 1:
        vector.keys["column"] = whole[0].name
    columns.append(vector)
    for column in whole:
        column.role, column.why = "part", f"of the modality {name}"


def params(table: Table, columns: list[Column], file: Path) -> tuple[dict[str, Any], list[str]]:
    """Return ``[dataset.params]``, and what its author should know of it."""
    notes: list[str] = []
    by = {role: next((c.name for c in columns if c.role == role), "") for role in
          ("id", "split", "group")}  # fmt: skip
    params: dict[str, Any] = {"file": file.name, "id": by["id"]}
    if not by["id"]:
        notes.append("no column has a name for each item: they are called by their rows")
    group = by["group"]
    if by["split"]:
        params["split"] = by["split"]
        told = dict.fromkeys(str(row[by["split"]]) for row in table.rows)
        names = {word: SPLITS.get(word.strip().lower(), "") for word in told}
        params["names"] = {word: ours for word, ours in names.items() if word != ours}
        lacking = {"train", "val", "test"} - set(names.values())
        if lacking == {"val"}:
            params["validation"] = 0.1
            notes.append(
                "the file has no validation items: a tenth of the training items validates"
            )
        elif lacking:
            told_of = ", ".join(sorted(lacking))
            raise UsageError(
                f"{table.file}: the column {by['split']!r} has no item for {told_of}: a "
                f"task needs train and test"
            )
    else:
        params["shares"] = {"train": 0.8, "val": 0.1, "test": 0.1}
        notes.append("no column names splits: 80, 10 and 10 % are drawn by the seed")
    if group and ("shares" in params or "validation" in params):
        params["group"] = group
        notes.append(f"all items of one {group} go into one split")
    if group:
        params["cluster"] = group
    params["groups"] = [c.name for c in columns if c.role == "subgroup" and not c.blanks][:3]
    return {key: value for key, value in params.items() if value or key == "id"}, notes


def told(columns: list[Column]) -> list[str]:
    """Say in a line each what columns were taken for, and why."""
    lines = []
    for c in columns:
        blank = f"; {c.blanks} blank" if c.blanks else ""
        lines.append(f"{c.name}: {_role(c)}: {c.why or 'of no kind that a task has'}{blank}")
    return lines


def _role(column: Column) -> str:
    words = {"group": "cluster", "subgroup": "subgroups", "unused": "not used"}
    if column.role in ("modality", "output"):
        return f"{column.role} ({column.kind})"
    return words.get(column.role, column.role)
