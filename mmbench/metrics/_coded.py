"""Rows of items of which many are equal: each kept once, with the number of items that have it.

A million items in ten classes have at most a hundred different pairs of right class and answer.
Whatever a metric says of them follows from the hundred and from how often each occurs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from mmbench.types import Array, Floats

    Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Coded:
    """Item statistics [N, S], as the distinct rows and the number of each item's row.

    It reads as the array that it stands for (`shape`, ``len``, indexing, ``sum``, ``np.asarray``),
    so that who knows nothing of it gets the rows themselves.

    Attributes:
        table: [K, S] float64, rows; some may be no item's.
        codes: [N] int64, the row of the table that each item has.
    """

    table: Floats
    codes: Ints

    @cached_property
    def counts(self) -> Floats:
        """[K] how many items have each row of the table."""
        return np.bincount(self.codes, minlength=len(self.table)).astype(np.float64)

    def with_table(self, table: Floats) -> Coded:
        """Return other statistics [K, S'] of the same cells; the items are not counted again."""
        other = Coded(table, self.codes)
        vars(other).update(counts=self.counts)
        return other

    def spread(self, values: Array) -> Array:
        """Return [N, ...] what `values` [K, ...] holds for each item."""
        return values[self.codes]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S)."""
        return (len(self.codes), *self.table.shape[1:])

    @property
    def ndim(self) -> int:
        """2: of rows and columns."""
        return self.table.ndim

    @property
    def dtype(self) -> np.dtype[np.float64]:
        """That of the table."""
        return self.table.dtype

    def __len__(self) -> int:
        return len(self.codes)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("coded rows have to be copied to become an array")
        return self.spread(self.table).astype(dtype or self.table.dtype, copy=False)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple) and len(index) == 2 and isinstance(index[0], slice):
            return self.table[:, index[1]][self.codes[index[0]]]  # columns: no need for the others
        if isinstance(index, (int, slice)):
            return self.table[self.codes[index]]
        return np.asarray(self)[index]

    def sum(self, axis: int) -> Floats:
        """Return the sums [S] of the columns.

        Args:
            axis: 0, as of the array; what another axis would sum is better asked of the table.
        """
        if axis != 0:
            raise ValueError(f"coded rows are summed over items, axis 0, not {axis}")
        return np.asarray((self.counts[:, None] * self.table).sum(axis=0))
