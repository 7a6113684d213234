"""How alike queries and gallery entries are: given, or computed from embeddings block by block.

Ranks have to be the same whatever the blocks, the number of threads and the BLAS library; but the
last bit of an entry of a matrix product depends on all of them, and two equal embeddings can come
out unequal. So a product only settles what it can settle for certain. ``|error| <= (D + 8) u`` for
vectors of length 1, with u the unit roundoff, for whatever order of summation (Higham, Accuracy
and Stability of Numerical Algorithms, 2002, section 3.1): whatever is closer to a threshold is
computed again, pair by pair in float64 and in one fixed order. Two similarities whose difference
lies within the rounding of that are tied.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Array, Floats

    Ints = NDArray[np.int64]

#: Rows and columns of a block: 2 MB of float32, which stay in a processor's cache between the
#: product and the comparisons.
_ROWS, _COLUMNS = 256, 2048
#: Numbers of a temporary array of float64: 8 MB.
_NUMBERS = 1 << 20
_SINGLE, _DOUBLE = 2.0**-24, 2.0**-53


class Similarity(Protocol):
    """Similarities of N queries and M gallery entries.

    Attributes:
        shape: (N, M).
        tie: Similarities of an asker closer than ``tie`` times its size are tied.
        sizes: [N] and [M], the sizes of the queries and of the entries.
    """

    shape: tuple[int, int]
    tie: float
    sizes: tuple[Floats, Floats]

    def pairs(self, queries: Ints, entries: Ints) -> Floats:
        """Return the similarity of each pair; the same bits whatever other pairs are asked for."""
        ...

    def blocks(self) -> Iterator[tuple[slice, slice, Array]]:
        """Give all similarities, block by block, as (queries, entries, block)."""
        ...

    def block(self, queries: slice, entries: slice) -> Floats:
        """Return the similarities of a block in float64."""
        ...

    def margins(self, kind: np.dtype[np.generic]) -> tuple[float, float]:
        """Return (wide, narrow): how far, in sizes, a block of that type can be trusted.

        A similarity further than `wide` from a threshold is on the side where it seems to be; one
        within `narrow` is tied; between them, `pairs` has to say.
        """
        ...

    def turned(self) -> Similarity:
        """Return the same with the gallery asking."""
        ...


class Given:
    """Similarities that somebody else has computed: compared exactly, tied where equal."""

    tie = 0.0

    def __init__(self, matrix: Array) -> None:
        """Take the matrix [N, M], floats without NaN."""
        self._matrix = matrix
        self.shape: tuple[int, int] = matrix.shape
        self.sizes = (np.ones(self.shape[0]), np.ones(self.shape[1]))

    def pairs(self, queries: Ints, entries: Ints) -> Floats:
        """Return the similarity of each pair."""
        return np.asarray(self._matrix[queries, entries], dtype=np.float64)

    def blocks(self) -> Iterator[tuple[slice, slice, Array]]:
        """Give all similarities, block by block, as (queries, entries, block)."""
        for columns in _slices(self.shape[1], _COLUMNS):
            for rows in _slices(self.shape[0], _ROWS):
                yield rows, columns, self._matrix[rows, columns]

    def block(self, queries: slice, entries: slice) -> Floats:
        """Return the similarities of a block in float64."""
        return np.asarray(self._matrix[queries, entries], dtype=np.float64)

    def margins(self, kind: np.dtype[np.generic]) -> tuple[float, float]:
        """Return (0, 0): they are what they are."""
        del kind
        return 0.0, 0.0

    def turned(self) -> Given:
        """Return the same with the gallery asking."""
        return Given(self._matrix.T)


class Embedded:
    """Cosine or dot product of embeddings.

    The cosine with a vector of zeros is 0. Dot products are divided by the greatest length on each
    side, which changes no order.
    """

    def __init__(self, queries: Array, gallery: Array, cosine: bool = True) -> None:
        """Take embeddings [N, D] and [M, D], finite floats.

        Args:
            queries: Those of the queries.
            gallery: Those of the gallery.
            cosine: Whether vectors are divided by their lengths first.
        """
        self._sides, self._cosine = (queries, gallery), cosine
        self.shape = (len(queries), len(gallery))
        lengths = [_lengths(side) for side in self._sides]
        tops = [1.0 if cosine else float(length.max(initial=0.0)) or 1.0 for length in lengths]
        self._scales = [
            np.where(length > 0, length, 1.0) if cosine else np.full(len(length), top)
            for length, top in zip(lengths, tops, strict=True)
        ]
        self.sizes = (lengths[0] / self._scales[0], lengths[1] / self._scales[1])
        self._terms = queries.shape[1] + 8
        # Eight times the rounding of one float64 sum, so that what a float64 product calls a tie
        # for certain (half of it) and what it cannot decide (up to twice) are well apart.
        self.tie = 8 * self._terms * _DOUBLE

    def pairs(self, queries: Ints, entries: Ints) -> Floats:
        """Return the similarity of each pair; the same bits whatever other pairs are asked for."""
        out = np.empty(len(queries))
        left, right = self._sides
        for part in _slices(len(queries), max(1, _NUMBERS // self._terms)):
            products = left[queries[part]].astype(np.float64)
            products *= right[entries[part]]
            np.add.reduce(products, axis=1, out=out[part])
        out /= self._scales[0][queries] * self._scales[1][entries]
        return out

    def blocks(self) -> Iterator[tuple[slice, slice, Array]]:
        """Give all similarities in float32, block by block, as (queries, entries, block)."""
        left = np.empty(self._sides[0].shape, dtype=np.float32)
        for rows in _slices(self.shape[0], _ROWS):
            left[rows] = self._scaled(0, rows)
        for columns in _slices(self.shape[1], _COLUMNS):
            right = self._scaled(1, columns).astype(np.float32).T
            for rows in _slices(self.shape[0], _ROWS):
                yield rows, columns, left[rows] @ right

    def block(self, queries: slice, entries: slice) -> Floats:
        """Return the similarities of a block in float64."""
        whole = entries == slice(0, self.shape[1])
        right = self._gallery if whole else self._scaled(1, entries)
        return np.asarray(self._scaled(0, queries) @ right.T)

    def margins(self, kind: np.dtype[np.generic]) -> tuple[float, float]:
        """Return (wide, narrow) for blocks of float32 or float64."""
        if kind == np.float32:
            return self._terms * _SINGLE, -1.0
        return 2 * self.tie, self.tie / 2

    def turned(self) -> Embedded:
        """Return the same with the gallery asking."""
        return Embedded(*self._sides[::-1], cosine=self._cosine)

    @cached_property
    def _gallery(self) -> Floats:
        return self._scaled(1, slice(0, self.shape[1]))

    def _scaled(self, side: int, part: slice) -> Floats:
        scaled: Floats = self._sides[side][part].astype(np.float64)
        scaled /= self._scales[side][part, None]
        return scaled


def _lengths(vectors: Array) -> Floats:
    out = np.empty(len(vectors))
    for part in _slices(len(vectors), max(1, _NUMBERS // max(1, vectors.shape[1]))):
        numbers = vectors[part].astype(np.float64)
        numbers *= numbers
        np.add.reduce(numbers, axis=1, out=out[part])
    return np.sqrt(out, out=out)


def _slices(total: int, step: int) -> Iterator[slice]:
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
