"""Where right answers stand among all candidates of their asker, ties told apart from ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.metrics._similarity import Similarity
    from mmbench.types import Array, Floats

    Ints = NDArray[np.int64]

#: Where more than one entry of a block in so many is too close to call, the block is computed
#: again in float64 instead of pair by pair: embeddings that have collapsed into a point.
_DENSE = 16
#: Numbers of a block of whole rows: 32 MB of float64.
_NUMBERS = 1 << 22


@dataclass(frozen=True)
class Places:
    """G groups of right answers that are tied with one another, best first for each asker.

    Attributes:
        asker: [G] who asks.
        above: [G] candidates that stand above the group, right or wrong.
        tied: [G] candidates that stand in it, right or wrong, at least 1.
        right: [G] right answers in it, at least 1.
        before: [G] right answers in the asker's better groups.
    """

    asker: Ints
    above: Ints
    tied: Ints
    right: Ints
    before: Ints

    def take(self, which: Array) -> Places:
        """Return some of the groups."""
        return Places(**{name: values[which] for name, values in vars(self).items()})

    def named(self, askers: Ints) -> Places:
        """Return the same with asker i called ``askers[i]``."""
        return Places(**{**vars(self), "asker": askers[self.asker]})


def first_places(source: Similarity, query: Ints, entry: Ints) -> tuple[Places, Places]:
    """Return where the best right answers of all queries, and of all gallery entries, stand.

    Both directions take one pass over blocks of similarities, of which none is kept. Whoever has
    no right answer does not appear.

    Args:
        source: The similarities.
        query: [P] the queries of the right pairs.
        entry: [P] their gallery entries.
    """
    tallies = [_Tally(source, query, entry, back) for back in (False, True)]
    for rows, columns, block in source.blocks():
        for tally in tallies:
            tally.add(block, rows, columns)
    return tallies[0].places(), tallies[1].places()


class _Tally:
    """Counts who stands above, and who beside, the best right answer of each asker."""

    def __init__(self, source: Similarity, query: Ints, entry: Ints, back: bool) -> None:
        self._source, self._back = source, back
        asker, size = (entry if back else query), source.sizes[back]
        value = source.pairs(query, entry)
        best = np.full(len(size), -np.inf)
        np.maximum.at(best, asker, value)
        beside = value >= best[asker] - source.tie * size[asker]
        self._right = np.bincount(asker[beside], minlength=len(size))
        best[self._right == 0] = np.inf
        self._level, self._size = best, size
        self._above, self._tied = np.zeros((2, len(size)), dtype=np.int64)

    def add(self, block: Array, rows: slice, columns: slice) -> None:
        """Count a block of similarities."""
        mine, axis = (columns, 0) if self._back else (rows, 1)
        shape = (1, -1) if self._back else (-1, 1)
        level, size = self._level[mine].reshape(shape), self._size[mine].reshape(shape)
        wide, narrow = self._source.margins(block.dtype)
        over = block > (level + wide * size).astype(block.dtype)
        near = (block >= (level - wide * size).astype(block.dtype)) ^ over
        if narrow < wide:
            if narrow >= 0:
                certain = near & (np.abs(block - level) <= narrow * size)
                self._tied[mine] += np.count_nonzero(certain, axis=axis)
                near ^= certain
            unsettled = np.flatnonzero(near)
            if narrow < 0 and len(unsettled) > near.size // _DENSE:
                self.add(self._source.block(rows, columns), rows, columns)
                return
            row, column = np.divmod(unsettled, near.shape[1])
            self._settle(row + rows.start, column + columns.start)
        else:
            self._tied[mine] += np.count_nonzero(near, axis=axis)
        self._above[mine] += np.count_nonzero(over, axis=axis)

    def _settle(self, query: Ints, entry: Ints) -> None:
        """Count pairs that are too close to call from a block."""
        asker = entry if self._back else query
        apart = self._source.pairs(query, entry) - self._level[asker]
        tie = self._source.tie * self._size[asker]
        np.add.at(self._above, asker[apart > tie], 1)
        np.add.at(self._tied, asker[np.abs(apart) <= tie], 1)

    def places(self) -> Places:
        """Return what has been counted."""
        asker = np.flatnonzero(self._right)
        above, tied, right = (x[asker] for x in (self._above, self._tied, self._right))
        return Places(asker, above, tied, right, np.zeros_like(asker))


def every_place(source: Similarity, query: Ints, entry: Ints) -> Places:
    """Return where all right answers of all queries stand.

    Each row of similarities is sorted, in float64, so this costs more than `first_places` and
    about the same however many right answers there are.

    Args:
        source: The similarities.
        query: [P] the queries of the right pairs.
        entry: [P] their gallery entries.
    """
    value = source.pairs(query, entry)
    order = np.lexsort((-value, query))
    query, value = query[order], value[order]
    tie = source.tie * source.sizes[0]
    opens = np.ones(len(query), dtype=bool)
    opens[1:] = (query[1:] != query[:-1]) | (value[:-1] > value[1:] + tie[query[1:]])
    head = np.flatnonzero(opens)
    asker, level = query[head], value[head]
    above, tied = np.zeros((2, len(head)), dtype=np.int64)
    step = max(1, _NUMBERS // max(1, source.shape[1]))
    for start in range(0, source.shape[0], step):
        rows = slice(start, min(start + step, source.shape[0]))
        block = source.block(rows, slice(0, source.shape[1]))
        ranked = np.sort(block, axis=1)
        bounds = np.searchsorted(asker, np.arange(rows.start, rows.stop + 1))
        for row in range(len(block)):
            groups = slice(bounds[row], bounds[row + 1])
            above[groups], tied[groups] = _beside(
                source, start + row, block[row], ranked[row], level[groups]
            )
    right = np.diff(head, append=len(query))
    return Places(asker, above, tied, right, head - np.searchsorted(query, asker))


def _beside(
    source: Similarity, query: int, row: Floats, ranked: Floats, level: Floats
) -> tuple[Ints, Ints]:
    """Return how many entries of one query's row are above, and how many tied with, levels."""
    size = source.sizes[0][query]
    wide, narrow = (margin * size for margin in source.margins(row.dtype))
    over = ranked.searchsorted(level + narrow, side="right")
    under = ranked.searchsorted(level - narrow, side="left")
    if wide > narrow:
        certain = (ranked.searchsorted(level + wide, side="right") == over) & (
            ranked.searchsorted(level - wide, side="left") == under
        )
        for group in np.flatnonzero(~certain):
            close = np.flatnonzero(np.abs(row - level[group]) <= wide)
            exact = source.pairs(np.full(len(close), query), close) - level[group]
            under[group] += np.count_nonzero(exact < -source.tie * size)
            under[group] -= np.count_nonzero(row[close] < level[group] - narrow)
            over[group] += np.count_nonzero(row[close] > level[group] + narrow)
            over[group] -= np.count_nonzero(exact > source.tie * size)
    return len(row) - over, over - under
