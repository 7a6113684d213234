"""What heads share that answer once an item, from a branch's pooled summary."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbench.models.contract import Combined, Combiner, Head, HeadOut, present_of
from mmbench.models.layers import drop
from mmbench.spec import Decay
from mmbench.types import Branch, Output


class PooledHead(Head):
    """A small network on the pooled summary: norm, one hidden layer, the answer.

    Each branch has a head of its own, so that in late fusion no weight is shared between
    modalities.

    Args:
        output: What is predicted.
        width: D.
        dropout: Probability on the hidden layer.
    """

    def __init__(self, output: Output, width: int, dropout: Decay = 0.0) -> None:
        super().__init__()
        self.output = output
        self.hidden = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), drop(dropout)
        )
        self.last = nn.Linear(width, self.numbers(output))

    @abstractmethod
    def numbers(self, output: Output) -> int:
        """Return how many numbers the last layer gives."""

    @abstractmethod
    def answer(self, numbers: Tensor) -> Tensor:
        """Turn the last layer's numbers [B, K] into an answer; see `HeadOut`."""

    @abstractmethod
    def decide(self, answer: Tensor) -> tuple[list[Any], dict[str, list[Any]]]:
        """Return B predictions, and columns of B values that go with them."""

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Predict from pooled [B, D]; the target is not looked at."""
        del target
        states = self.hidden(branch.pooled)
        return HeadOut(states, self.answer(self.last(states).float()))

    def read_out(
        self,
        heads: Sequence[Head],
        branches: Sequence[Branch],
        combiner: Combiner,
        options: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Decide, and add the column ``gate``: the weight of each branch."""
        del options
        nothing = torch.empty(0, device=branches[0].pooled.device)
        outs = [head(branch, nothing) for head, branch in zip(heads, branches, strict=True)]
        merged: Combined = combiner(outs, present_of(branches))
        said, columns = self.decide(merged.answer.double())
        return said, {**columns, "gate": merged.weights.double().flatten(1).tolist()}
