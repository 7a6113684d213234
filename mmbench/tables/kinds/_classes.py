"""Which classes there are, where no task says it: those of labels and of sets of labels.

They are the classes of the probabilities; without any, the right labels and what a column
``classes`` of the references lists (``cat|dog|cow``). A model may say what never was right in these
items, but then somebody has to say that it is a class, or a slip in its name would pass for one.
Where all are whole numbers, which nobody misspells, what is predicted is a class too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mmbench.errors import DataError, nearest
from mmbench.tables.cells import parsed
from mmbench.tables.kinds._scores import some
from mmbench.tables.table import Table

#: The column of the references that lists classes.
CLASSES = "classes"


def agreed(
    right: Mapping[str, str],
    told: Mapping[str, str],
    scored: Collection[str],
    listed: Collection[str],
    source: str,
) -> tuple[str, ...]:
    """Return the classes, in order.

    Args:
        right: Right label -> where it stands first.
        told: Predicted label -> where it stands first.
        scored: The classes of the probabilities; empty where there are none.
        listed: What the references list.
        source: What messages call the references.

    Raises:
        DataError: A label is none of the classes.
    """
    known = {*scored, *listed} if scored else {*right, *listed}
    if not scored and all_numbers({*known, *told}):
        known |= {*told}
    for label, where in right.items():
        if label not in known:
            raise _unknown(label, where, known, "the probabilities are of these")
    unknown = [label for label in told if label not in known]
    if unknown and (all_numbers(known) or not _are_numbers(unknown, len(known))):
        example = "|".join([*sorted(known)[:2], unknown[0]])
        how = f"where it is one, list all in a column {CLASSES!r} of {source}, like {example}"
        raise _unknown(unknown[0], told[unknown[0]], known, how)
    return in_order(known)


def listed(references: Table) -> set[str]:
    """Return what ``classes`` lists: in any row, where it is a column."""
    found: set[str] = set()
    cells = (references.extras or references.columns).get(CLASSES, ())
    for cell in map(parsed, references.columns.get(CLASSES, cells)):
        parts = cell.split("|") if isinstance(cell, str) else _several(cell)
        found.update(str(part).strip() for part in parts)
    return found - {""}


def _several(cell: Any) -> Iterable[Any]:
    if cell is None:
        return ()
    return cell if isinstance(cell, Iterable) else (cell,)


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return distinct labels: by number where all are whole numbers, else by alphabet."""
    distinct = set(labels)
    return tuple(sorted(distinct, key=int if all_numbers(distinct) else None))


def all_numbers(labels: Iterable[str]) -> bool:
    """Whether all labels are whole numbers."""
    return all(label.removeprefix("-").isdecimal() for label in labels)


def _are_numbers(labels: Iterable[str], count: int) -> bool:
    """Whether labels are numbers of classes, of which there are `count`."""
    return all(label.isdecimal() and int(label) < count for label in labels)


def _unknown(label: str, where: str, known: Collection[str], how: str) -> DataError:
    near = nearest(label, known)
    offer = f"did you mean {near!r}? " if near else ""
    return DataError(
        f"{where} is {label!r}, which is no class: {offer}known: {some(sorted(known))}; {how}"
    )
