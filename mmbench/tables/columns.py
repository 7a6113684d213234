"""Which column of a table is what: by the names that people use, or as they say.

A role (``id``, ``prediction``, ``reference``, ...) is filled by the column that was named for it
(``--column prediction=said``); else by one that bears one of the role's own names; else by one
with a name that is usual for the kind of output (``caption``, ``label``); else by the only column
that is left. Where several would do there is no guessing: the error lists them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmbench.errors import DataError, UsageError, nearest
from mmbench.tables.cells import short
from mmbench.tables.table import Table

#: Role -> its own names, in small letters.
ROLES: Mapping[str, tuple[str, ...]] = {
    "prediction": (
        *("prediction", "predictions", "predicted", "pred", "hypothesis", "hyp", "said"),
        *("output", "response"),
    ),
    "reference": (
        *("references", "reference", "refs", "ref", "target", "targets", "gold", "truth"),
        *("ground_truth", "expected"),
    ),
    "scores": ("scores", "probabilities", "probs", "probability"),
}
#: Names of an item's id; where a table has several, the first of these counts.
IDS = (
    *("id", "image_id", "item", "item_id", "utterance", "utterance_id", "utt_id", "uid", "key"),
    *("question_id", "image", "filename", "ids"),
)
#: What a column of labels, or of several an item, is called that does not say whose they are.
_LABELS = ("label", "labels", "class", "category", "answer", "tags")
#: Columns that nobody means when there is only one other.
_ASIDE = ("split",)
_NUMBERED = re.compile(r"(?:reference|ref|caption|target|translation)s?[_ ]?\d+")


def find(
    table: Table,
    role: str,
    usual: Sequence[str],
    given: Mapping[str, str],
    others: Collection[str | None] = (),
) -> str | None:
    """Return the column that fills a role, None where none does.

    Args:
        table: The table.
        role: One of `ROLES`.
        usual: Names that are usual for the kind of output.
        given: Role -> the column that was named for it.
        others: Columns that have another role.

    Raises:
        UsageError: The column that was named is not there, or several would do.
    """
    if role in given:
        return named(table, given[role], f"{role}={given[role]}")
    taken = {*others, id_column(table, given)}
    free = [name for name in table.columns if name not in taken]
    for names in (ROLES[role], usual):
        found = [name for name in free if name.lower() in names]
        if len(found) > 1:
            raise UsageError(
                f"{table.source}: several columns may be the {role}: {', '.join(found)}; "
                f"--column {role}=NAME says which"
            )
        if found:
            return found[0]
    left = [name for name in free if name.lower() not in _ASIDE]
    return left[0] if len(left) == 1 else None


def find_named(table: Table, role: str, given: Mapping[str, str]) -> str | None:
    """Return the column that bears one of a role's own names; as `find`, but never the last one.

    Raises:
        UsageError: As for `find`.
    """
    found = find(table, role, (), given)
    return found if role in given or (found or "").lower() in ROLES[role] else None


def need(
    table: Table,
    role: str,
    usual: Sequence[str],
    given: Mapping[str, str],
    others: Collection[str | None] = (),
) -> str:
    """Return the column that fills a role.

    Raises:
        UsageError: As for `find`, or there is none.
    """
    found = find(table, role, usual, given, others)
    if found is None:
        names = ", ".join([ROLES[role][0], *usual[:4]])
        raise UsageError(
            f"{table.source}: no column looks like the {role} (it has: {_all(table)}); expected "
            f"a name like {names}, or --column {role}=NAME"
        )
    return found


def of_names(table: Table, names: Sequence[str]) -> str | None:
    """Return the column that bears the first of some names, in small letters, that there is."""
    lower = {name.lower(): name for name in reversed(list(table.columns))}
    return next((lower[name] for name in names if name in lower), None)


def of_reference(
    references: Table,
    predictions: Table,
    usual: Sequence[str],
    given: Mapping[str, str],
    others: Collection[str | None] = (),
) -> str:
    """Return the column of references; one table that holds both sides has two columns.

    Raises:
        UsageError: As for `find`, or there is none.
    """
    taken: list[str | None] = [*others, *of_scores(references).values()]
    if references is not predictions:
        return need(references, "reference", usual, given, taken)
    taken.append(find(predictions, "prediction", usual, given, taken))
    found = find(references, "reference", usual, given, taken)
    if found is None or not _by_name(found, "reference", usual, given):
        # The last column that is left may be anything: a speaker, a duration.
        raise UsageError(
            f"{references.source}: no column looks like the reference (it has: "
            f"{_all(references)}): --references names the file that has them, or --column "
            f"reference=NAME the column"
        )
    return found


def _by_name(found: str, role: str, usual: Sequence[str], given: Mapping[str, str]) -> bool:
    return role in given or found.lower() in (*ROLES[role], *usual)


def apart(table: Table, given: Mapping[str, str]) -> tuple[Table, dict[str, str]]:
    """Take a label out of a table that holds both sides, where it can only be the right one.

    Beside probabilities nobody has to say which class is predicted: where no column is called a
    prediction, a column ``label`` is the reference.

    Returns:
        The table of predictions, and the roles with that of the reference.
    """
    lower = {name.lower() for name in table.columns}
    likely = of_scores(table) or lower & set(ROLES["scores"]) or "scores" in given
    said = {*ROLES["prediction"], *ROLES["reference"]} & lower
    labels = [name for name in table.columns if name.lower() in _LABELS]
    if not likely or said or {"prediction", "reference"} & set(given) or len(labels) != 1:
        return table, dict(given)
    rest = {name: cells for name, cells in table.columns.items() if name != labels[0]}
    return replace(table, columns=rest), {**given, "reference": labels[0]}


def of_scores(table: Table) -> dict[str, str]:
    """Return class -> column where each class has a column of its own, ``p:CLASS``."""
    return {name[2:]: name for name in table.columns if name.startswith("p:")}


def named(table: Table, name: str, option: str) -> str:
    """Return a column that was asked for by name.

    Raises:
        UsageError: It is not there.
    """
    if name in table.columns:
        return name
    near = nearest(name, table.columns)
    offer = f"did you mean {near!r}? " if near else ""
    raise UsageError(
        f"--column {option}: {table.source} has no column {name!r}: {offer}it has: {_all(table)}"
    )


def numbered(table: Table) -> list[str]:
    """Return columns that hold a reference each: ``reference_1``, ``reference_2``, ..."""
    return [name for name in table.columns if _NUMBERED.fullmatch(name.lower())]


def id_column(table: Table, given: Mapping[str, str]) -> str | None:
    """Return the column of ids, None where there is none.

    A column that was named need not be in every table: ids may be called otherwise in the other.
    """
    if given.get("id") in table.columns:
        return given["id"]
    found = of_names(table, IDS)
    if found is not None and getattr(table.columns[found], "ndim", 1) > 1:
        return None  # pictures, not their names
    return found


def ids(table: Table, given: Mapping[str, str]) -> list[str] | None:
    """Return each row's id as text, None where the table has no column of ids.

    Raises:
        DataError: A row has no id.
    """
    column = id_column(table, given)
    if column is None:
        return None
    return [_name(value, table, row, column) for row, value in enumerate(table.columns[column])]


def needs_ids(table: Table) -> UsageError:
    """Return what to raise where a table needs a column of ids and has none."""
    return UsageError(
        f"{table.source}: has no column of ids (it has: {_all(table)}): call it "
        f"{', '.join(IDS[:5])}, or name it by --column id=NAME"
    )


def _name(value: Any, table: Table, row: int, column: str) -> str:
    """Return an id as text; 7.0, which pandas makes of 7 beside a missing id, is 7."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    what = (
        "no id"
        if value is None or (isinstance(value, str) and not value)
        else f"the id {short(value)}"
    )
    raise DataError(
        f"{table.where(row)}: has {what} in the column {column!r}: expected a text or an integer"
    )


def _all(table: Table) -> str:
    return ", ".join(table.columns) or "none"
