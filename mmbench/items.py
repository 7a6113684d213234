"""Item statistics and predictions as tables on disk, and back: a row per split and item."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from mmbench.admission import is_id, line
from mmbench.types import Floats, Predictions

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as parquet

#: The columns that are no statistics.
NAMES = ("split", "id", "cluster")


class Items(Struct, frozen=True):
    """The item statistics of one split.

    Attributes:
        ids: N names.
        clusters: N labels of the unit that items share; an item's own id where it is its own.
        families: Family of metrics -> (names of the S columns, [N, S]).
    """

    ids: list[str]
    clusters: list[str]
    families: dict[str, tuple[list[str], Any]]


def items_table(
    ids: Mapping[str, Sequence[str]],
    statistics: Mapping[str, Mapping[str, tuple[Sequence[str], Floats]]],
    clusters: Mapping[str, Sequence[Any] | None],
) -> pa.Table:
    """Lay out item statistics: a row per split and item, a column ``family.column`` each.

    Args:
        ids: Split -> N ids.
        statistics: Split -> family -> (names of the columns, [N, S]).
        clusters: Split -> N cluster labels, or None where each item is its own.
    """
    import numpy as np
    import pyarrow as pa

    columns: dict[str, list[Any]] = {"split": [], "id": [], "cluster": []}
    numbers: dict[str, list[Floats]] = {}
    for split, names in ids.items():
        columns["split"] += [split] * len(names)
        columns["id"] += list(names)
        labels = clusters.get(split)
        columns["cluster"] += [str(c) for c in labels] if labels is not None else list(names)
        for family, (parts, rows) in statistics[split].items():
            for k, part in enumerate(parts):
                numbers.setdefault(f"{family}.{part}", []).append(rows[:, k])
    arrays = {name: _text_column(values) for name, values in columns.items()}
    arrays |= {name: _number_column(np.concatenate(parts)) for name, parts in numbers.items()}
    return pa.table(arrays)


#: Ends the name of a column of vectors, and of the one that the gallery has beside it.
_EMBEDDING, _GALLERY = ".embedding", ".gallery"


def predictions_table(predictions: Mapping[str, Predictions]) -> pa.Table:
    """Lay out predictions: a row per split and item, a column per output and further column.

    What is said of a gallery's entries stands in rows of their own: their split is called
    ``SPLIT.gallery``, their id is their number, and their vectors are in the items' column.
    """
    import pyarrow as pa

    tables = []
    for split, said in predictions.items():
        own = {n: v for n, v in said.columns.items() if not n.endswith(_GALLERY)}
        content = {**said.outputs, **own}
        tables.append((split, list(said.ids), content))
        for name, values in said.columns.items():
            if name.endswith(_GALLERY):
                column = name.removesuffix(_GALLERY) + _EMBEDDING
                ids = [str(number) for number in range(len(values))]
                tables.append((split + _GALLERY, ids, {column: values}))
    if not any(_is_vectors(v) for *_, content in tables for v in content.values()):
        columns: dict[str, list[Any]] = {"split": [], "id": []}
        for split, ids, content in tables:
            columns["split"] += [split] * len(ids)
            columns["id"] += ids
            for name, values in content.items():
                columns.setdefault(name, []).extend(values)
        return pa.table({name: _column(values) for name, values in columns.items()})
    return pa.concat_tables(
        [
            pa.table(
                {"split": _text_column([split] * len(ids)), "id": _text_column(ids)}
                | {name: _column(values) for name, values in content.items()}
            )
            for split, ids, content in tables
        ],
        promote_options="default",
    )


def _is_vectors(values: Any) -> bool:
    return getattr(values, "ndim", 0) > 1


def predictions_of(table: pa.Table, split: str) -> dict[str, Any]:
    """Return the columns of one split; the inverse of `predictions_table`."""
    found = _of_split(table, split)
    gallery = _of_split(table, split + _GALLERY)
    if gallery["id"]:
        found = {n: v for n, v in found.items() if not n.endswith(_GALLERY)}
        for name, values in gallery.items():
            if name.endswith(_EMBEDDING) and name in found:
                found[name.removesuffix(_EMBEDDING) + _GALLERY] = values
    return found


def _of_split(table: pa.Table, split: str) -> dict[str, Any]:
    import numpy as np
    import pyarrow.types as types

    own = [i for i, name in enumerate(table.column("split").to_pylist()) if name == split]
    rows = _number_column(np.asarray(own, dtype=np.int64))
    found: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).take(rows).combine_chunks()
        if types.is_fixed_size_list(column.type) and len(column) and not column.null_count:
            width = column.type.list_size
            found[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        else:
            found[name] = column.to_pylist()
    return found


# What follows is what `pyarrow.array` makes of the same values. That one imports pandas to see
# whether they are any of its own, which takes longer than all else between a run's start and its
# record.


def _column(values: Any) -> pa.Array:
    """Return values as a column, texts, numbers and lists of them without a detour.

    Vectors [N, E] become lists of one length, which take just their bytes; so do pictures
    [N, C, H, W], whose shape is the task's to know.
    """
    import numpy as np
    import pyarrow as pa

    if _is_vectors(values):
        flat = _number_column(values.reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, math.prod(values.shape[1:]))
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return _text_column(values)
    if kinds == {float}:
        return _number_column(np.asarray(values, dtype=np.float64))
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
        return _number_column(np.asarray(values, dtype=np.int64))
    if kinds and kinds <= {list, tuple}:
        flat = [one for value in values for one in value]
        if flat:
            ends = np.cumsum([0, *map(len, values)], dtype=np.int64)
            if ends[-1] < 2**31:
                offsets = _number_column(ends.astype(np.int32))
                return pa.ListArray.from_arrays(offsets, _column(flat))
    return pa.array(list(values))


def _text_column(values: Sequence[str]) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    texts = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    if ends[-1] >= 2**31:
        return pa.array(values)
    offsets = pa.py_buffer(ends.astype(np.int32))
    return pa.StringArray.from_buffers(len(texts), offsets, pa.py_buffer(b"".join(texts)))


def _number_column(values: Any) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    if values.dtype == np.bool_:  # a bit each there, a byte each here
        return pa.array(values)
    kind = pa.from_numpy_dtype(values.dtype)
    content = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, content])


def read_text_table(path: Path, needed: Sequence[str]) -> pa.Table:
    """Read a table in which some columns hold text, none of it missing.

    Raises:
        ValueError: One of them is not there.
        pyarrow.ArrowException: It is no table.
    """
    import pyarrow.parquet as parquet
    import pyarrow.types as types

    table = parquet.ParquetFile(path).read()
    if len(set(table.column_names)) < len(table.column_names):
        raise ValueError("two columns have one name")
    for name in needed:
        there = name in table.column_names
        if not there or not types.is_string(table.column(name).type):
            raise ValueError(f"there is no text column {name!r}")
        if table.column(name).null_count:
            raise ValueError(f"the column {name!r} lacks some of its texts")
        _refuse_names(table.column(name).to_pylist())
    return table


def _refuse_names(names: Sequence[str]) -> None:
    bad = next((name for name in names if not is_id(name)), None)
    if bad is not None:
        raise ValueError(f"{line(bad, 60)!r} can be no item's name")


class _Split(NamedTuple):
    """Which rows of a table are a split's, and what they are called."""

    rows: Any
    ids: list[str]
    clusters: list[str]


#: A column that takes so few bytes says the same of all items: it is often that of other tables.
_SMALL = 1024


class Reader:
    """Reads the tables of many records.

    Records of one task name the same items, and most of the work is to read their names. Where
    the compressed bytes of a column are those of one that was read before, so is its content, and
    the same lists are given again. Several threads may use one reader.
    """

    def __init__(self, split: str | None = None, families: Collection[str] | None = None) -> None:
        """Say what is wanted.

        Args:
            split: Of this split only.
            families: Of these families only, as far as they are there.
        """
        self.split, self._families = split, families
        self._layouts: list[tuple[pa.Schema, _Layout]] = []
        self._names: dict[tuple[Any, ...], dict[str, _Split]] = {}
        self._numbers: dict[tuple[Any, ...], Floats] = {}

    def read(self, content: bytes) -> dict[str, Items]:
        """Return the item statistics of each split; the inverse of `items_table`.

        Args:
            content: Of the file.

        Raises:
            ValueError: It is a table of something else.
            pyarrow.ArrowException: It is no table.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as parquet

        file = parquet.ParquetFile(pa.BufferReader(content))
        layout = self._layout(file.schema_arrow)
        stored = _Stored(content, file.metadata)
        columns = self._columns(file, stored, layout)
        rows = {}
        for family, own in layout.families.items():
            # Column by column in memory, as they come, and as they are added up.
            rows[family] = np.array([columns[f"{family}.{part}"] for part in own]).T
        return {
            split: Items(
                of.ids,
                of.clusters,
                {family: (own, rows[family][of.rows]) for family, own in layout.families.items()},
            )
            for split, of in self._splits(file, stored, layout).items()
            if self.split in (None, split)
        }

    def _layout(self, schema: pa.Schema) -> _Layout:
        for known, layout in self._layouts:
            if schema.equals(known):
                return layout
        layout = _laid_out(schema, self._families)
        self._layouts.append((schema, layout))
        return layout

    def _splits(
        self, file: parquet.ParquetFile, stored: _Stored, layout: _Layout
    ) -> dict[str, _Split]:
        key = tuple(stored.as_written(layout.places[name]) for name in NAMES)
        found = self._names.get(key)
        if found is None:
            found = self._names.setdefault(key, _read_names(file))
        return found

    def _columns(
        self, file: parquet.ParquetFile, stored: _Stored, layout: _Layout
    ) -> dict[str, Floats]:
        known, small, others = {}, {}, []
        for name in layout.wanted:
            key = stored.as_written(layout.places[name], _SMALL)
            if key in self._numbers:
                known[name] = self._numbers[key]
                continue
            others.append(name)
            if key:
                small[name] = key
        if others:
            table = file.read(columns=others, use_threads=False)
            known |= {name: _array(name, table.column(name)) for name in others}
        self._numbers |= {key: known[name] for name, key in small.items()}
        return known


class _Layout(NamedTuple):
    """Where in a table is what.

    Attributes:
        families: Family -> its columns, without the family's name.
        wanted: All of these, with it.
        places: Column -> its place.
    """

    families: dict[str, list[str]]
    wanted: list[str]
    places: dict[str, int]


def _laid_out(schema: pa.Schema, wanted: Collection[str] | None) -> _Layout:
    """Find the columns of item statistics.

    Raises:
        ValueError: It is a table of something else.
    """
    import pyarrow.types as types

    if len(set(schema.names)) < len(schema.names):
        raise ValueError("two columns have one name")
    for name in NAMES:
        if schema.get_field_index(name) < 0 or not types.is_string(schema.field(name).type):
            raise ValueError(f"expected item statistics, but there is no text column {name!r}")
    families: dict[str, list[str]] = {}
    for name, kind in zip(schema.names, schema.types, strict=True):
        family, dot, part = name.rpartition(".")  # an option of a family may hold a point
        if not dot or (wanted is not None and family not in wanted):
            continue
        if not (types.is_floating(kind) or types.is_integer(kind)):
            raise ValueError(f"expected numbers in the column {name!r}, but it holds {kind}")
        families.setdefault(family, []).append(part)
    return _Layout(
        families,
        [f"{family}.{part}" for family, own in families.items() for part in own],
        {name: place for place, name in enumerate(schema.names)},
    )


class _Stored:
    """The columns of a file as they are stored: compressed."""

    def __init__(self, content: bytes, metadata: parquet.FileMetaData) -> None:
        self._content = content
        self._groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]

    def as_written(self, place: int, most: int | None = None) -> tuple[Any, ...]:
        """Return all that says what a column holds; nothing where that is larger than `most`."""
        found: list[Any] = []
        for chunk in [group.column(place) for group in self._groups]:
            size = chunk.total_compressed_size
            if most is not None and size > most:
                return ()
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            kind = (chunk.physical_type, chunk.compression, chunk.num_values)
            found += [*kind, self._content[start : start + size]]
        return tuple(found)


def _array(name: str, column: pa.ChunkedArray) -> Floats:
    """Return a column as float64; its own `to_numpy` would import pandas."""
    import numpy as np
    import pyarrow as pa

    if column.null_count:
        raise ValueError(f"expected numbers in the column {name!r}, but some are missing")
    column = column if column.type == pa.float64() else column.cast(pa.float64())
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    found = np.frombuffer(whole.buffers()[1], np.float64, len(whole), whole.offset * 8)
    if not np.isfinite(found).all():
        family, _, part = name.rpartition(".")
        raise ValueError(f"item statistics of {family!r} that are no finite numbers ({part!r})")
    return found


def _read_names(file: parquet.ParquetFile) -> dict[str, _Split]:
    import numpy as np

    table = file.read(columns=list(NAMES), use_threads=False)
    if any(table.column(name).null_count for name in NAMES):
        raise ValueError("expected item statistics, but the name of an item is missing")
    # Not `take`, for which pyarrow would load pandas.
    names = {name: table.column(name).to_pylist() for name in NAMES}
    _refuse_names(names["id"])
    splits = np.array(names["split"])
    found = {}
    for split in dict.fromkeys(splits.tolist()):
        here = np.flatnonzero(splits == split)
        ids, clusters = ([names[column][k] for k in here] for column in ("id", "cluster"))
        whole = here[-1] - here[0] + 1 == len(here)
        found[split] = _Split(slice(here[0], here[-1] + 1) if whole else here, ids, clusters)
    return found
