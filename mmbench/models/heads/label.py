"""Head for one class an item."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mmbench.models.heads._pooled import PooledHead
from mmbench.models.whole import as_whole
from mmbench.types import Output

#: The target of an item whose class is not known: no loss comes from it.
UNKNOWN = -1


class Label(PooledHead):
    """Log-probabilities of C classes; the likeliest is said.

    Args:
        output: ``label``, its vocabulary the C class names.
        width: D.
        dropout: Probability on the hidden layer.
    """

    kind = "label"

    def numbers(self, output: Output) -> int:
        """Return C."""
        return len(output.vocabulary)

    def answer(self, numbers: Tensor) -> Tensor:
        """Normalise logits [B, C]."""
        return numbers.log_softmax(dim=-1)

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return nats per item whose class is known; target [B] int, -1 where it is not."""
        summed = F.nll_loss(answer, target.long(), ignore_index=UNKNOWN, reduction="sum")
        known = (target != UNKNOWN).sum()
        return as_whole(summed / known.clamp(min=1), known)

    def decide(self, answer: Tensor) -> tuple[list[Any], dict[str, list[Any]]]:
        """Return the likeliest class of each item, and the column ``scores``: all probabilities."""
        names = self.output.vocabulary
        said = [names[i] for i in answer.argmax(dim=-1).tolist()]
        return said, {"scores": answer.softmax(dim=-1).tolist()}
