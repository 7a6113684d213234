"""numpy's ``.npy`` and ``.npz``: numbers, probabilities, similarities, embeddings; never pickles.

An ``.npy`` holds one array; its first axis is that of the items, in the order of the other side.
An ``.npz`` holds several under their names: ``ids``, ``prediction``, ``scores``, ``embedding``. Its
items are those of ``ids``, else of its first array; arrays of another length (``gallery``,
``classes``) are kept as extras.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError
from mmbench.tables.columns import IDS
from mmbench.tables.formats._content import bytes_of
from mmbench.tables.table import Table, rows_from_one

if TYPE_CHECKING:
    from mmbench.types import Array

#: What a single array is called: one value an item, or a row of them.
VALUES, MATRIX = "array", "matrix"


def read(path: Path) -> Table:
    """Read arrays as columns.

    Raises:
        DataError: The file cannot be read, is damaged, or holds Python objects.
    """
    content = io.BytesIO(bytes_of(path))
    try:
        loaded = np.load(content, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return of_array(loaded, str(path))
        return of_arrays({name: loaded[name] for name in loaded.files}, str(path))
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        if "allow_pickle" in reason or "pickled" in reason:
            reason = "it holds Python objects, or is no array file; save plain arrays"
        raise DataError(f"{path}: cannot be read as numpy arrays: {reason}") from None


def of_array(array: Array, source: str) -> Table:
    """Return a table of one array, its rows in the order of the items.

    Raises:
        DataError: It is a single number.
    """
    if not array.ndim:
        raise DataError(f"{source}: is a single number: expected one value, or row, an item")
    return Table(source, {VALUES if array.ndim == 1 else MATRIX: array}, rows_from_one, True)


def of_arrays(arrays: Mapping[str, Any], source: str) -> Table:
    """Return a table of named arrays.

    Raises:
        DataError: There is none, or one of them is a single number.
    """
    for name, array in arrays.items():
        if not array.ndim:
            raise DataError(f"{source}: {name} is a single number: expected an array")
    if not arrays:
        raise DataError(f"{source}: holds no array")
    # Names are one an item; an array of pictures may be called as a column of their names is.
    known = (name for name in arrays if name.lower().removesuffix("s") in IDS)
    key = next((name for name in known if arrays[name].ndim == 1), None)
    items = len(arrays[key] if key else next(iter(arrays.values())))
    columns = {name: array for name, array in arrays.items() if len(array) == items}
    if key:
        columns = {"id": columns.pop(key), **columns}
    extras = {name: array for name, array in arrays.items() if len(array) != items}
    return Table(source, columns, rows_from_one, key is None, extras=extras)
