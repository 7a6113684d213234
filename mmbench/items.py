"""Item statistics as a table on disk, and back: a row per split and item."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from mmbench.types import Floats

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
    arrays = {name: np.concatenate(parts) for name, parts in numbers.items()}
    return pa.table({**columns, **arrays})


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
        self._split, self._families = split, families
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
        schema = file.schema_arrow
        _refuse_others(schema)
        parts: dict[str, list[str]] = {}
        for name in schema.names:
            family, dot, part = name.rpartition(".")  # an option of a family may hold a point
            if dot and (self._families is None or family in self._families):
                parts.setdefault(family, []).append(part)
        stored = _Stored(content, file, schema)
        wanted = [f"{family}.{part}" for family, own in parts.items() for part in own]
        columns = self._columns(stored, wanted)
        rows = {
            family: np.stack([columns[f"{family}.{part}"] for part in own], axis=1)
            for family, own in parts.items()
        }
        return {
            split: Items(
                of.ids,
                of.clusters,
                {family: (own, rows[family][of.rows]) for family, own in parts.items()},
            )
            for split, of in self._splits(stored).items()
            if self._split in (None, split)
        }

    def _splits(self, stored: _Stored) -> dict[str, _Split]:
        key = tuple(stored.as_written(name) for name in NAMES)
        found = self._names.get(key)
        if found is None:
            found = self._names.setdefault(key, _read_names(stored.file))
        return found

    def _columns(self, stored: _Stored, wanted: Sequence[str]) -> dict[str, Floats]:
        small = {name: stored.as_written(name) for name in wanted if stored.size(name) <= _SMALL}
        known = {name: self._numbers[key] for name, key in small.items() if key in self._numbers}
        others = [name for name in wanted if name not in known]
        table = stored.file.read(columns=others, use_threads=False)
        for name in others:
            known[name] = _array(name, table.column(name))
            if name in small:
                self._numbers[small[name]] = known[name]
        return known


class _Stored:
    """A file of which the columns are looked at as they are stored: compressed."""

    def __init__(self, content: bytes, file: parquet.ParquetFile, schema: pa.Schema) -> None:
        self.file = file
        self._content = content
        self._place = {name: at for at, name in enumerate(schema.names)}
        self._types = schema.types
        metadata = file.metadata
        self._groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]

    def size(self, name: str) -> int:
        at = self._place[name]
        return sum(int(group.column(at).total_compressed_size) for group in self._groups)

    def as_written(self, name: str) -> tuple[Any, ...]:
        at = self._place[name]
        found: list[Any] = [str(self._types[at])]
        for chunk in (group.column(at) for group in self._groups):
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            end = start + chunk.total_compressed_size
            found += [chunk.compression, chunk.num_values, self._content[start:end]]
        return tuple(found)


def _array(name: str, column: pa.ChunkedArray) -> Floats:
    """Return a column as float64; its own `to_numpy` would import pandas."""
    import numpy as np
    import pyarrow as pa

    if column.null_count:
        raise ValueError(f"expected numbers in the column {name!r}, but some are missing")
    whole = column.cast(pa.float64()).combine_chunks()
    return np.frombuffer(whole.buffers()[1], np.float64, len(whole), whole.offset * 8)


def _refuse_others(schema: pa.Schema) -> None:
    import pyarrow.types as types

    for name in NAMES:
        if schema.get_field_index(name) < 0 or not types.is_string(schema.field(name).type):
            raise ValueError(f"expected item statistics, but there is no text column {name!r}")
    for name, kind in zip(schema.names, schema.types, strict=True):
        if "." in name and not (types.is_floating(kind) or types.is_integer(kind)):
            raise ValueError(f"expected numbers in the column {name!r}, but it holds {kind}")


def _read_names(file: parquet.ParquetFile) -> dict[str, _Split]:
    import numpy as np

    table = file.read(columns=list(NAMES), use_threads=False)
    if any(table.column(name).null_count for name in NAMES):
        raise ValueError("expected item statistics, but the name of an item is missing")
    splits = np.array(table.column("split").to_pylist())
    found = {}
    for split in dict.fromkeys(splits.tolist()):
        here = np.flatnonzero(splits == split)
        ids, clusters = (table.column(c).take(here).to_pylist() for c in ("id", "cluster"))
        whole = here[-1] - here[0] + 1 == len(here)
        found[split] = _Split(slice(here[0], here[-1] + 1) if whole else here, ids, clusters)
    return found
