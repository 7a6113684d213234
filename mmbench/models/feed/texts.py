"""Items that have several target texts: each epoch teaches one of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbench import rng
from mmbench.models.feed.rows import Index, Rows
from mmbench.types import Array

#: Items whose texts are looked through at a time.
_CHUNK = 4096


class Texts:
    """How many texts each item has, how long they are, and which one is drawn.

    All of it is known on the host, so that a GPU need not be waited for.

    Args:
        name: The output; part of the random stream.
        rows: Where the rows of `array` are read from.
        array: [N, R, L] token ids, 0 where there is none.
    """

    def __init__(self, name: str, rows: Rows, array: Array) -> None:
        self.name = name
        count, texts, length = array.shape
        self.counts = np.empty(count, dtype=np.min_scalar_type(texts))
        self.lengths = np.empty((count, texts), dtype=np.min_scalar_type(length))
        self._drawn: tuple[tuple[int, int], NDArray[np.generic]] | None = None
        for start in range(0, count, _CHUNK):
            index = np.arange(start, min(start + _CHUNK, count), dtype=np.int64)
            part = np.empty((len(index), texts, length), dtype=array.dtype)
            rows.read(index, part)
            self.counts[index] = (part[:, :, 0] != 0).sum(axis=1)
            self.lengths[index] = (part != 0).sum(axis=2)

    def pick(self, texts: Tensor, index: Index, seed: int, epoch: int) -> Tensor:
        """Return one text of each item.

        Args:
            texts: [B, R, L], all texts of the items `index`.
            index: [B].
            seed: The run's.
            epoch: Each has its own draws.

        Returns:
            [B, L'], with L' the longest of those drawn: no step is spent on padding alone.
        """
        chosen = self._draw(seed, epoch)[index].astype(np.int64)
        longest = int(self.lengths[index, chosen].max())
        rows = torch.arange(len(index), device=texts.device)
        return texts[rows, torch.from_numpy(chosen).to(texts.device)][:, :longest]

    def _draw(self, seed: int, epoch: int) -> NDArray[np.generic]:
        """Return the number of the text that each of the N items is taught in an epoch."""
        if self._drawn is None or self._drawn[0] != (seed, epoch):
            draw = rng.uniform(seed, "target text", self.name, epoch, count=len(self.counts))
            self._drawn = (seed, epoch), (draw * self.counts).astype(self.counts.dtype)
        return self._drawn[1]
