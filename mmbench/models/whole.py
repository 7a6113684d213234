"""A batch that is worked on in parts, on several devices or one part after the other.

Losses are means over items, words or whatever counts. The mean over a batch is not the mean of its
parts' means where parts count differently, and a contrast between items is no mean at all. So
whatever sums up a batch asks here. With a batch in one piece nothing changes, not a bit.

A part is active while a loss is computed (`part`); there is one at most in a process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mmbench.errors import IncompatibleError


class Part(ABC):
    """One part of a batch.

    Attributes:
        start: The first of its items in the batch.
        items: How many items it has.
        batch: How many the batch has.
    """

    start: int
    items: int
    batch: int

    @abstractmethod
    def share(self, count: Tensor) -> Tensor:
        """Return what the mean over this part's `count` has to be multiplied with.

        What the parts' losses and gradients then are put together to (a sum here, a mean over
        devices) is the loss of the batch.
        """

    @abstractmethod
    def together(self, x: Tensor) -> Tensor:
        """Return the batch's [batch, ...] of this part's [items, ...]; gradients come back."""

    @abstractmethod
    def generator(self) -> torch.Generator | None:
        """Return what all parts draw from alike; None: each draws for itself."""


_active: Part | None = None


@contextmanager
def part(of: Part | None) -> Iterator[None]:
    """Let losses be those of a part; None: of a whole batch."""
    global _active
    before, _active = _active, of
    try:
        yield
    finally:
        _active = before


def as_whole(mean: Tensor, count: Tensor) -> Tensor:
    """Return a mean over the part at hand as what it adds to the mean over the batch.

    Args:
        mean: The mean over what counts here; anything finite where nothing does.
        count: How much counts here, a scalar.
    """
    return mean if _active is None else mean * _active.share(count).to(mean.dtype)


def gathered(x: Tensor) -> Tensor:
    """Return the whole batch's values of x [B, ...], for what compares items with each other."""
    return x if _active is None else _active.together(x)


def of_another(x: Tensor) -> Tensor:
    """Return for each item of x [B, ...] what another one has: the one before it in the batch.

    >>> of_another(torch.tensor([1, 2, 3])).tolist()
    [3, 1, 2]
    """
    rolled = torch.roll(gathered(x), 1, dims=0)
    return rolled if _active is None else rolled[_active.start : _active.start + _active.items]


def among_first(share: float, items: int) -> int:
    """Return how many of the items at hand are among the first of the batch, a share of it."""
    if _active is None:
        return round(share * items)
    return min(max(round(share * _active.batch) - _active.start, 0), _active.items)


def normal_like(x: Tensor) -> Tensor:
    """Draw from N(0, 1) in the shape of x [B, ...]; the batch's draws do not depend on its parts.

    From torch's own stream, as `torch.randn_like` does.
    """
    generator = None if _active is None else _active.generator()
    if _active is None or generator is None:
        return torch.randn_like(x)
    size = (_active.batch, *x.shape[1:])
    if len(x) == _active.batch:  # what was gathered already
        return torch.randn(size, generator=generator, device=x.device, dtype=x.dtype)
    drawn = torch.randn(size, generator=generator, device=x.device, dtype=x.dtype)
    return drawn[_active.start : _active.start + _active.items]


def one_of(weights: Tensor) -> Tensor:
    """Draw one column for each row of weights [B, M], as `torch.multinomial` does: [B]."""
    generator = None if _active is None else _active.generator()
    if _active is None or generator is None:
        return torch.multinomial(weights, 1)[:, 0]
    with torch.no_grad():
        everyone = _active.together(weights.detach())
        drawn = torch.multinomial(everyone, 1, generator=generator)[:, 0]
    return drawn[_active.start : _active.start + _active.items]


class Piece(Part):
    """One of several parts that are computed one after the other, and their gradients added.

    What a batch counts is known when all its parts were looked at, so they are looked at twice:
    first without gradients, while every part's counts are noted, then for good.

    Args:
        start: The first of its items in the batch.
        items: How many it has.
        batch: How many the batch has.
        totals: Counts of the batch, one for each mean that is taken, in order; empty at first.
        first: Whether this is the first look.
    """

    def __init__(
        self, start: int, items: int, batch: int, totals: list[Tensor], first: bool
    ) -> None:
        self.start, self.items, self.batch = start, items, batch
        self.totals = totals
        self.first = first
        self.at = 0

    def share(self, count: Tensor) -> Tensor:
        """See `Part.share`."""
        at, self.at = self.at, self.at + 1
        if self.first:
            if at == len(self.totals):
                self.totals.append(torch.zeros_like(count, dtype=torch.float64))
            self.totals[at] = self.totals[at] + count
            return torch.ones_like(count, dtype=torch.float64)
        return count / self.totals[at].clamp(min=1)

    def together(self, x: Tensor) -> Tensor:
        """Refuse: the other parts are not there."""
        raise IncompatibleError(
            "this model compares all items of a batch with each other, so that a batch that does "
            "not fit the memory cannot be cut into parts: set a smaller recipe.batch_size"
        )

    def generator(self) -> torch.Generator | None:
        """None: parts draw one after the other."""
        return None
