"""Head for any number of classes an item."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbench.models.contract import HeadOut
from mmbench.models.heads._pooled import PooledHead
from mmbench.models.whole import as_whole
from mmbench.types import Branch, Output


class Multilabel(PooledHead):
    """For each of C classes the log-probabilities of its absence and presence: [B, C, 2].

    A class is said where its presence is likelier than its absence.

    Args:
        output: ``multilabel``, its vocabulary the C class names.
        width: D.
        dropout: Probability on the hidden layer.
    """

    kind = "multilabel"

    def numbers(self, output: Output) -> int:
        """Return C."""
        return len(output.vocabulary)

    def answer(self, numbers: Tensor) -> Tensor:
        """Turn logits [B, C] of presence into [B, C, 2]."""
        return torch.stack([F.logsigmoid(-numbers), F.logsigmoid(numbers)], dim=-1)

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Predict; the state [B, 1, D] is one for all classes, and so is a combiner's weight."""
        out = super().forward(branch, target)
        return HeadOut(out.states[:, None], out.answer)

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return nats per item and class; target [B, C] of 0 and 1."""
        absent, present = answer.unbind(dim=-1)
        there = target.to(answer.dtype)
        mean = -(there * present + (1.0 - there) * absent).mean()
        return as_whole(mean, torch.tensor(target.numel(), device=target.device))

    def decide(self, answer: Tensor) -> tuple[list[Any], dict[str, list[Any]]]:
        """Return the classes said of each item, and the column ``scores``: their probabilities."""
        chances = answer.softmax(dim=-1)[..., 1].tolist()
        names = self.output.vocabulary
        said = [[n for n, p in zip(names, row, strict=True) if p > 0.5] for row in chances]
        return said, {"scores": chances}
