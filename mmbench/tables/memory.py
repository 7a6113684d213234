"""Objects in memory as tables: lists, mappings, arrays, data frames. Imports none of their kind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mmbench import tables
from mmbench.errors import UsageError
from mmbench.tables.columns import IDS, ROLES
from mmbench.tables.table import Table, from_rows

#: What is given once for all rows, and may have another length than they: what there is to choose
#: from.
_EXTRAS = ("gallery", "gallery_ids", "classes")


@cache
def _names() -> frozenset[str]:
    """Return names that make a mapping of lists columns, and no ids with their values."""
    from mmbench.tables import kinds

    own = (name for names in ROLES.values() for name in names)
    return frozenset({*IDS, *own, *kinds.names()})


def table_of(thing: Any, source: str) -> Table:
    """Return predictions or references as a table.

    Args:
        thing: A path; a list or an array, whose order says what belongs together; a mapping from
            id to value, or from a column's name to its values; rows, as a list of mappings; a data
            frame of any package, with a column of ids or in the order of the other side; a series,
            whose index holds the ids.
        source: What messages call it: ``predictions``.

    Raises:
        UsageError: It is something else, or empty.
        DataError: The file at the path cannot be read.
    """
    if isinstance(thing, str | os.PathLike):
        return tables.read(Path(thing))
    table = replace(_of_object(thing, source), source=source)
    if not len(table):
        raise UsageError(f"{source}: there is nothing in it")
    return table


def _of_object(thing: Any, source: str) -> Table:
    from mmbench.tables.formats import document

    if hasattr(thing, "detach"):  # a tensor of torch
        thing = thing.detach().cpu().numpy()
    if hasattr(thing, "to_pydict"):  # a table of Arrow
        return Table(source, thing.to_pydict(), ordered=True)
    if isinstance(thing, Mapping):
        if _is_columns(thing):
            extras = {name: thing[name] for name in _EXTRAS if name in thing}
            columns = {name: cells for name, cells in thing.items() if name not in extras}
            return Table(source, columns, ordered=True, extras=extras or None)
        keys = list(thing)
        return document.of_mapping(thing, source, lambda row: f": {keys[row]!r}")
    if hasattr(thing, "columns") and hasattr(thing, "__getitem__"):
        return _of_frame(thing, source)
    if hasattr(thing, "to_numpy") and hasattr(thing, "index") and not callable(thing.index):
        return Table(source, {"id": list(thing.index), "value": list(thing)})
    if hasattr(thing, "ndim") and hasattr(thing, "dtype"):
        return _of_array(thing, source)
    if isinstance(thing, Sequence):
        return _of_list(thing, source)
    raise UsageError(
        f"{source}: is of the type {type(thing).__name__}: expected a path, a list, a mapping, an "
        f"array or a data frame"
    )


def _is_columns(thing: Mapping[Any, Any]) -> bool:
    """Whether a mapping is columns: values of one length, under a name that columns have."""
    plain = [v for v in thing.values() if isinstance(v, str) or not hasattr(v, "__len__")]
    rows = [v for key, v in thing.items() if key not in _EXTRAS]
    sizes = {len(v) for v in rows} if not plain else set()
    named = any(isinstance(key, str) and key.lower() in _names() for key in thing)
    return len(sizes) == 1 and named


def _of_frame(frame: Any, source: str) -> Table:
    columns = {str(name): list(frame[name]) for name in frame.columns}
    index = getattr(frame, "index", None)
    name = getattr(index, "name", None)
    if index is not None and name is not None and str(name) not in columns:
        columns = {str(name): list(index), **columns}
    return Table(source, columns, ordered=True)


def _of_array(thing: Any, source: str) -> Table:
    import numpy as np

    from mmbench.tables.formats import arrays

    return arrays.of_array(np.asarray(thing), source)


def _of_list(values: Sequence[Any], source: str) -> Table:
    if values and all(isinstance(value, Mapping) for value in values):
        return replace(from_rows(source, values), ordered=True)
    if values and all(_is_vector(value) for value in values) and len(set(map(len, values))) == 1:
        return _of_array(values, source)
    return Table(source, {"value": values}, ordered=True)


def _is_vector(value: Any) -> bool:
    """Whether a value is a row of numbers, as probabilities are."""
    if not hasattr(value, "__len__") or isinstance(value, str | Mapping | set | frozenset):
        return False
    return len(value) > 0 and all(hasattr(x, "__float__") for x in value)
