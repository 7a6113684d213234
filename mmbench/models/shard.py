"""A batch that several processes share: see `mmbench.devices`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmbench.models.whole import Part
from mmbench.types import Batch

if TYPE_CHECKING:
    from mmbench.models.model import Model


Loss = Callable[[Batch], Tensor]


class Shard(Part):
    """The part of one process. Losses of the parts are averaged, and so are their gradients.

    Args:
        rank: Number of this process.
        count: How many there are.
        batch: Items of the batch.
        stream: What all processes draw from alike.
    """

    def __init__(self, rank: int, count: int, batch: int, stream: torch.Generator | None) -> None:
        bounds = [round(k * batch / count) for k in range(count + 1)]
        self.count, self.batch = count, batch
        self.sizes = [stop - start for start, stop in pairwise(bounds)]
        self.start, self.items = bounds[rank], self.sizes[rank]
        self.stream = stream

    def share(self, count: Tensor) -> Tensor:
        """See `Part.share`: this part's counts, relative to an equal share of all."""
        total = count.detach().to(torch.float64)
        dist.all_reduce(total)
        return count * self.count / total.clamp(min=1)

    def together(self, x: Tensor) -> Tensor:
        """See `Part.together`."""
        joined: Tensor = _Joined.apply(x, self)  # type: ignore[no-untyped-call]
        return joined

    def generator(self) -> torch.Generator | None:
        """See `Part.generator`."""
        return self.stream


class _Joined(torch.autograd.Function):
    """All processes' rows; each gets back the gradient that all of them have for its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shard: Shard) -> Tensor:
        ctx.shard = shard
        most = max(shard.sizes)
        held = x.to(torch.uint8) if x.dtype == torch.bool else x
        padded = held.new_zeros(most, *x.shape[1:])
        padded[: len(x)] = held
        found = [torch.empty_like(padded) for _ in shard.sizes]
        dist.all_gather(found, padded)
        whole = torch.cat([rows[:n] for rows, n in zip(found, shard.sizes, strict=True)])
        return whole.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        shard: Shard = ctx.shard
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[shard.start : shard.start + shard.items], None


class _Computed(nn.Module):
    """Losses as a module, since that is what `DistributedDataParallel` wraps."""

    def __init__(self, model: Model, losses: Sequence[Loss]) -> None:
        super().__init__()
        self.model = model
        self.losses = losses

    def forward(self, number: int, batch: Batch) -> Tensor:
        return self.losses[number](batch)


def distributed(model: Model, losses: Sequence[Loss]) -> list[Loss]:
    """Return losses after whose backward pass every process has the mean of all gradients.

    All of them share one wrapper: two would both answer to the gradients of each.
    """
    from torch.nn.parallel import DistributedDataParallel

    # An objective may train a part of the parameters, and a batch may leave some of them out.
    wrapped = DistributedDataParallel(_Computed(model, losses), find_unused_parameters=True)
    return [partial(wrapped, number) for number in range(len(losses))]
