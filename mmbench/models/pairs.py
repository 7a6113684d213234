"""Batches for retrieval: each item beside one entry of the gallery that is right for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mmbench import rng
from mmbench.models.feed import Feed
from mmbench.types import Batch, Split


class Pairs:
    """What `Feed` is for items alone; the others' entries are what an item is told apart from.

    Of an item's right entries each epoch draws another, by a stream of the run's seed.

    Args:
        split: The items, with a gallery and targets.
        device: Where batches are wanted.
        modalities: Those of both sides that the model looks at.
        limit: Use the first `limit` items only; the gallery stays whole.
    """

    def __init__(
        self,
        split: Split,
        device: torch.device,
        modalities: Sequence[str],
        limit: int | None = None,
    ) -> None:
        assert split.gallery is not None
        own = [name for name in modalities if name in split.inputs]
        theirs = [name for name in modalities if name in split.gallery.inputs]
        self.device = device
        self.items = Feed(split, device, own, limit)
        self.entries = Feed(split.gallery, device, theirs)
        self.size = len(self.items)
        (self.output, right), *_ = split.targets.items()
        #: [N, R] the entries that are right for an item, -1 where there are fewer.
        self.right: NDArray[np.int64] = np.array(right[: self.size], dtype=np.int64)
        self.counts = (self.right >= 0).sum(axis=1)

    def __len__(self) -> int:
        return self.size

    def batch(self, index: NDArray[np.int64], seed: int = 0, epoch: int = 0) -> Batch:
        """Return the items `index`, each beside the entry that `seed` draws for it in an epoch."""
        draw = rng.uniform(seed, "gallery entry", self.output, epoch, count=self.size)
        chosen = (draw * self.counts).astype(np.int64)[index]
        entries = self.right[index, chosen]
        # Two items may have an entry in common, and each may be right for both.
        right = (self.right[index][:, :, None] == entries).any(axis=1)
        one, other = self.items.batch(index), self.entries.batch(entries)
        return Batch(
            size=len(index),
            inputs={**one.inputs, **other.inputs},
            lengths={**one.lengths, **other.lengths},
            present={**one.present, **other.present},
            targets={self.output: torch.from_numpy(right).to(self.device)},
        )


def feed_for(
    split: Split, device: torch.device, modalities: Sequence[str], limit: int | None = None
) -> Feed | Pairs:
    """Return what gives batches of a split with targets."""
    if split.gallery is not None:
        return Pairs(split, device, modalities, limit)
    return Feed(split, device, modalities, limit, targets=True)
