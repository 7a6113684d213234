"""Items, and what each side, or a task, says about them: groups and clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from mmbench.errors import DataError, UsageError, nearest
from mmbench.tables import groups
from mmbench.tables.cells import is_missing
from mmbench.tables.table import Table

if TYPE_CHECKING:
    from mmbench.references import References


class Matched(NamedTuple):
    """Items, and where each side says something about them.

    Attributes:
        ids: N names.
        truth: What is right.
        predictions: The table of predictions.
        rows: For each item its row there, or None.
        references: The table of references, where there is one.
        own: For each item its rows there.
        groups: Further columns of the items.
    """

    ids: list[str]
    truth: References
    predictions: Table
    rows: Sequence[int | None]
    references: Table | None
    own: Sequence[Sequence[int]]
    groups: Mapping[str, Sequence[Any]] = MappingProxyType({})

    def column(self, name: str, option: str) -> Sequence[Any]:
        """Return a column by items: of the task, else of the references, else of the predictions.

        Raises:
            UsageError: Nobody has it.
        """
        if name in self.groups:
            return self.groups[name]
        if self.references is not None and name in self.references.columns:
            return groups.of_items(self.references, name, self.own)
        if name in self.predictions.columns:
            rows = [[] if row is None else [row] for row in self.rows]
            return groups.of_items(self.predictions, name, rows)
        known = self.names()
        near = nearest(name, known)
        offer = f"did you mean {near!r}? " if near else ""
        raise UsageError(f"{option} {name}: there is no such column: {offer}known: {_all(known)}")

    def names(self) -> list[str]:
        """Return all columns."""
        theirs = [] if self.references is None else self.references.columns
        return list(dict.fromkeys([*self.groups, *theirs, *self.predictions.columns]))

    def groupable(self) -> tuple[str, ...]:
        """Return columns that have neither another role nor too many values to be groups."""
        found = [*self.groups]
        for table in (self.references, self.predictions):
            columns = {} if table is None else table.columns
            found += [name for name, values in columns.items() if groups.are_groups(name, values)]
        return tuple(dict.fromkeys(found))


def clusters_of(matched: Matched, clusters: str | Sequence[Any] | None) -> Sequence[Any] | None:
    """Return [N] the cluster of each item, None where each is its own.

    Raises:
        UsageError: There is no such column.
        DataError: An item has none.
    """
    if not isinstance(clusters, str):
        return clusters
    found = matched.column(clusters, "--cluster")
    for name, value in zip(matched.ids, found, strict=True):
        if is_missing(value):
            raise DataError(f"--cluster {clusters}: {name!r} has none: every item needs one")
    return found


def labels_of(
    matched: Matched, by: str | Sequence[str] | Mapping[str, Sequence[Any]] | None
) -> dict[str, list[str]]:
    """Return column -> the subgroup of each item.

    Raises:
        UsageError: There is no such column, it has too many groups, or the numbers differ.
    """
    if isinstance(by, str):
        by = [by]
    asked = by if isinstance(by, Mapping) else {n: matched.column(n, "--by") for n in by or ()}
    for name, values in asked.items():
        if len(values) != len(matched.ids):
            raise UsageError(
                f"by: {name!r} has {len(values):,} values, but there are {len(matched.ids):,} items"
            )
    return {str(name): groups.labelled(values, str(name)) for name, values in asked.items()}


def _all(names: Iterable[str]) -> str:
    return ", ".join(names)
