"""Parquet: columns of any type; lists and mappings inside a cell are allowed."""

from __future__ import annotations

from pathlib import Path

from mmbench.errors import DataError
from mmbench.tables.formats._content import bytes_of
from mmbench.tables.table import Table


def read(path: Path) -> Table:
    """Read all columns of a Parquet file.

    Raises:
        DataError: The file cannot be read, or is no whole Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    content = bytes_of(path)
    try:
        # One thread: results are small, and starting a pool costs more than it saves.
        table = parquet.read_table(pa.BufferReader(content), use_threads=False)
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise DataError(f"{path}: is no whole Parquet file: was it cut off? ({reason})") from None
    return Table(str(path), columns)
