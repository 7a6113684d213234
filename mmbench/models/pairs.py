"""Batches for retrieval: each item beside one entry of the gallery that is right for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import tee
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from mmbench import rng
from mmbench.models.feed import Feed
from mmbench.room import USUAL, Allowance
from mmbench.types import Batch, Split

#: Draws that are kept: of several seeds that train together, and of the epoch that comes next.
KEPT = 16


class Pairs:
    """What `Feed` is for items alone; the others' entries are what an item is told apart from.

    Of an item's right entries each epoch draws another, by a stream of the run's seed. The draw of
    an item does not depend on what stands in the batch beside it.

    Args:
        split: The items, with a gallery and targets.
        device: Where batches are wanted.
        modalities: Those of both sides that the model looks at.
        limit: Use the first `limit` items only; the gallery stays whole.
        memory: What all feeds that are in use may take together.

    Raises:
        DataError: A file of prepared data cannot be read.
    """

    def __init__(
        self,
        split: Split,
        device: torch.device,
        modalities: Sequence[str],
        limit: int | None = None,
        memory: Allowance = USUAL,
    ) -> None:
        assert split.gallery is not None
        own = [name for name in modalities if name in split.inputs]
        theirs = [name for name in modalities if name in split.gallery.inputs]
        self.device = device
        self.items = Feed(split, device, own, limit, memory=memory)
        self.entries = Feed(split.gallery, device, theirs, memory=memory)
        self.size = len(self.items)
        (self.output, right), *_ = split.targets.items()
        #: [N, R] the entries that are right for an item, -1 where there are fewer.
        self.right: NDArray[np.int64] = np.array(right[: self.size], dtype=np.int64)
        self.counts = (self.right >= 0).sum(axis=1)
        self._drawn: dict[tuple[int, int], NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return self.size

    def __enter__(self) -> Pairs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """See `Feed.close`."""
        self.items.close()
        self.entries.close()

    def expect(self, order: Iterable[tuple[int, NDArray[np.int64]]], seed: int) -> None:
        """See `Feed.expect`."""
        here, there = tee(order)
        self.items.plan(index for _, index in here)
        self.entries.plan(self.drawn(index, seed, epoch) for epoch, index in there)

    def drawn(self, index: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the entries [B] that stand beside the items `index` [B] in an epoch."""
        if (seed, epoch) not in self._drawn:
            if len(self._drawn) == KEPT:
                del self._drawn[next(iter(self._drawn))]  # the oldest
            draw = rng.uniform(seed, "gallery entry", self.output, epoch, count=self.size)
            chosen = (draw * self.counts).astype(np.int64)
            self._drawn[seed, epoch] = self.right[np.arange(self.size), chosen]
        return self._drawn[seed, epoch][index]

    def batch(self, index: NDArray[np.int64], seed: int = 0, epoch: int = 0) -> Batch:
        """Return the items `index`, each beside the entry that `seed` draws for it in an epoch.

        Raises:
            DataError: A file of prepared data cannot be read any more.
        """
        entries = self.drawn(index, seed, epoch)
        # Two items may have an entry in common, and each may be right for both.
        target = np.concatenate([entries[:, None], self.right[index]], axis=1)
        one, other = self.items.batch(index), self.entries.batch(entries)
        return Batch(
            size=len(index),
            inputs={**one.inputs, **other.inputs},
            lengths={**one.lengths, **other.lengths},
            present={**one.present, **other.present},
            targets={self.output: torch.from_numpy(target).to(self.device)},
        )


def feed_for(
    split: Split,
    device: torch.device,
    modalities: Sequence[str],
    limit: int | None = None,
    memory: Allowance = USUAL,
) -> Feed | Pairs:
    """Return what gives batches of a split with targets."""
    if split.gallery is not None:
        return Pairs(split, device, modalities, limit, memory)
    return Feed(split, device, modalities, limit, targets=True, memory=memory)
