"""Which weights training keeps: the best validated ones, and averages over the last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mmbench.models.model import Model


class Keeper:
    """Keeps the weights with the best validation, or `always` the last ones, on the CPU."""

    def __init__(self, model: Model, patience: int, always: bool = False) -> None:
        self.model = model
        self.patience = patience
        self.always = always
        self.since = 0
        self.weights: dict[str, Tensor] | None = None

    def offer(self, score: float, best: float) -> tuple[bool, bool]:
        """Take the present weights if they are wanted.

        Args:
            score: Their validation.
            best: The best one so far.

        Returns:
            Whether they were taken, and whether patience has run out.
        """
        if self.always or score > best:
            self.since = 0
            self.weights = {
                name: value.detach().cpu().clone()
                for name, value in self.model.state_dict().items()
            }
            return True, False
        self.since += 1
        return False, bool(self.patience) and self.since >= self.patience

    def restore(self) -> None:
        """Put the best weights back."""
        if self.weights is not None:
            self.model.load_state_dict(self.weights)


class Average:
    """An exponential moving average of the weights (Polyak and Juditsky 1992).

    After step t it moves by 1 - min(`decay`, (1 + t) / (10 + t)) towards the weights, so that the
    first ones, which know nothing, are soon forgotten. It is what validates and what is kept;
    what is trained goes on from its own weights.

    Args:
        model: On its device.
        decay: Share of the average that stays, at least 0 and below 1; 0: no average.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        # Detached: the same numbers, without a history.
        live = [p.detach() for p in model.parameters() if p.requires_grad]
        self.live: list[Tensor] = live if decay else []
        self.values = [x.clone() for x in self.live]

    def update(self) -> None:
        """Take note of the weights after a step."""
        if not self.decay:
            return
        import torch

        self.steps += 1
        kept = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, self.live, 1.0 - kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averaged weights meanwhile."""
        if not self.decay:
            yield
            return
        import torch

        own = [x.clone() for x in self.live]
        torch._foreach_copy_(self.live, self.values)
        try:
            yield
        finally:
            torch._foreach_copy_(self.live, own)
