"""A split on the model's device, cut into batches by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbench import rng
from mmbench.types import Array, Batch, Ragged, Split


class Feed:
    """Holds the items of a split as tensors; a batch is one indexing operation per array.

    Items stay in memory (on the GPU if that is where the model is): for data of the size that
    fusion benchmarks have, this beats worker processes and needs no shuffling buffer.

    Args:
        split: The items.
        device: Where batches are wanted.
        modalities: Those that the model looks at.
        limit: Use the first `limit` items only.
        targets: Whether training targets are needed.
    """

    def __init__(
        self,
        split: Split,
        device: torch.device,
        modalities: Sequence[str],
        limit: int | None = None,
        targets: bool = False,
    ) -> None:
        self.size = len(split) if limit is None else min(limit, len(split))
        self.device = device
        self.inputs: dict[str, Tensor] = {}
        self.lengths: dict[str, Tensor] = {}
        self.present: dict[str, Tensor] = {}
        for name in modalities:
            values = split.inputs[name]
            if isinstance(values, Ragged):
                self.lengths[name] = self._load(values.lengths)
                values = values.values
            self.inputs[name] = self._load(values)
            there = split.present.get(name)
            here = np.ones(self.size, dtype=bool) if there is None else there
            self.present[name] = self._load(here)
        self.targets: dict[str, Tensor] = {}
        self.choices: dict[str, NDArray[np.int64]] = {}
        if targets:
            for name, array in split.targets.items():
                self.targets[name] = self._load(array)
                if array.ndim == 3:  # several texts an item: [N, R, L]
                    self.choices[name] = (np.asarray(array[: self.size, :, 0]) != 0).sum(axis=1)

    def __len__(self) -> int:
        return self.size

    def batch(self, index: NDArray[np.int64], seed: int = 0, epoch: int = 0) -> Batch:
        """Return the items `index`; where an item has several target texts, one by `seed`."""
        rows = torch.from_numpy(index).to(self.device)
        targets = {
            name: self._target(name, values, index, rows, seed, epoch)
            for name, values in self.targets.items()
        }
        return Batch(
            size=len(index),
            inputs={name: x[rows] for name, x in self.inputs.items()},
            lengths={name: x[rows] for name, x in self.lengths.items()},
            present={name: x[rows] for name, x in self.present.items()},
            targets=targets,
        )

    def _target(
        self,
        name: str,
        values: Tensor,
        index: NDArray[np.int64],
        rows: Tensor,
        seed: int,
        epoch: int,
    ) -> Tensor:
        if name not in self.choices:
            return values[rows]
        draw = rng.uniform(seed, "target text", name, epoch, count=self.size)
        chosen = (draw * self.choices[name]).astype(np.int64)[index]
        texts = values[rows, torch.from_numpy(chosen).to(self.device)]
        longest = int((texts != 0).sum(dim=1).max())  # no step is spent on padding alone
        return texts[:, :longest]

    def _load(self, array: Array) -> Tensor:
        # A copy, since a memory-mapped array is read-only and torch has no such notion.
        return torch.from_numpy(np.array(array[: self.size])).to(self.device)
