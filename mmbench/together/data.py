"""Batches of several seeds, [S, B, ...]: each seed's items in its own order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import DataError
from mmbench.room import Allowance
from mmbench.spec import BudgetSpec, RecipeSpec, StageSpec
from mmbench.train import (
    Order,
)
from mmbench.types import Batch, Split

if TYPE_CHECKING:
    from torch import Tensor

    from mmbench.models.feed import Feed
    from mmbench.models.model import Model
    from mmbench.models.pairs import Pairs


class Data:
    """The batches of one stage, [S, B, ...], each seed's in its own order.

    What it holds is given up where ``with`` is left.
    """

    def __init__(
        self,
        model: Model,
        splits: Mapping[str, Split],
        stage: StageSpec,
        recipe: RecipeSpec,
        budget: BudgetSpec,
        seeds: Sequence[int],
        memory: Allowance,
    ) -> None:
        from mmbench.models.pairs import feed_for

        device = next(model.parameters()).device
        split = splits[stage.split]
        names = list(model.encoders)
        self.feed: Feed | Pairs = feed_for(split, device, names, budget.items, memory)
        if len(self.feed) == 0:
            raise DataError(f"the split {stage.split!r} is empty: nothing to train on")
        #: Which of several texts, or entries of a gallery, an item is trained on is each seed's own
        #: draw.
        several = any(np.ndim(array) == 3 for array in split.targets.values())
        self.chooses = several or split.gallery is not None
        self.size = min(recipe.batch_size, len(self.feed))
        self.dropout = recipe.modality_dropout
        self.sides = model.sides
        self.name = stage.name
        self.seeds = list(seeds)
        self.at = 0
        self.orders = [Order(seed, self.name, len(self.feed), self.size) for seed in seeds]

    def __enter__(self) -> Data:
        return self

    def __exit__(self, *raised: object) -> None:
        self.feed.close()

    def go_to(self, at: int, epoch: int, start: int) -> None:
        """Stand where `at` batches of the stage are over, at item `start` of an epoch."""
        self.at = at
        for order in self.orders:
            order.go_to(epoch, start)

    def plan(self) -> None:
        """Let the batches to come be made ahead where they are read from elsewhere."""
        from mmbench.models.feed import Feed

        if not isinstance(self.feed, Feed):
            return  # pairs of several seeds are drawn one seed at a time
        each = ((index for _, index in order.ahead()) for order in self.orders)
        coming = zip(*each, strict=True)
        if self.chooses:
            self.feed.plan(chain.from_iterable(coming))
        else:
            self.feed.plan(np.concatenate(index) for index in coming)

    def next(self) -> Batch:
        """Return the next batches of all seeds."""
        due = [order.next() for order in self.orders]
        if self.chooses:
            found = _stacked(
                [
                    self.feed.batch(index, seed, epoch)
                    for (epoch, index), seed in zip(due, self.seeds, strict=True)
                ]
            )
        else:  # one gathering for all
            found = _cut(self.feed.batch(np.concatenate([index for _, index in due])), len(due))
        if self.dropout:
            found = self._drop(found)
        self.at += 1
        return found

    def _drop(self, batch: Batch) -> Batch:
        """Take modalities away, each seed its own."""
        import torch

        from mmbench.models.balance import drop_modalities

        names = ("modality dropout", self.name, self.at)
        pairs = zip(parts(batch), self.seeds, strict=True)
        left = [
            drop_modalities(one, self.dropout, seed, *names, sides=self.sides).present
            for one, seed in pairs
        ]
        return replace(batch, present={n: torch.stack([p[n] for p in left]) for n in left[0]})

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the seeds."""
        self.seeds = [self.seeds[row] for row in rows]
        self.orders = [self.orders[row] for row in rows]
        self.plan()


def parts(batch: Batch) -> list[Batch]:
    """Return the S batches [B, ...] of one [S, B, ...]."""
    tables = (batch.inputs, batch.lengths, batch.present, batch.targets)
    count = len(next(iter((*batch.present.values(), *batch.targets.values()))))
    return [
        Batch(batch.size, *({name: x[at] for name, x in table.items()} for table in tables))
        for at in range(count)
    ]


def _cut(batch: Batch, count: int) -> Batch:
    """See a batch [S B, ...] as [S, B, ...]."""
    tables = (batch.inputs, batch.lengths, batch.present, batch.targets)
    size = batch.size // count
    cut = ({n: x.view(count, size, *x.shape[1:]) for n, x in t.items()} for t in tables)
    return Batch(size, *cut)


def _stacked(each: Sequence[Batch]) -> Batch:
    """Lay S batches [B, ...] side by side: [S, B, ...]; texts are padded to the longest of all."""
    import torch
    import torch.nn.functional as F

    def lay(tables: Sequence[Mapping[str, Tensor]], pad: bool = False) -> dict[str, Tensor]:
        found = {}
        for name in tables[0]:
            tensors = [table[name] for table in tables]
            if pad and tensors[0].dim() == 2:
                longest = max(x.shape[1] for x in tensors)
                tensors = [F.pad(x, (0, longest - x.shape[1])) for x in tensors]
            found[name] = torch.stack(tensors)
        return found

    return Batch(
        each[0].size,
        lay([batch.inputs for batch in each]),
        lay([batch.lengths for batch in each]),
        lay([batch.present for batch in each]),
        lay([batch.targets for batch in each], pad=True),
    )
