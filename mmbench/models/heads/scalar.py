"""Head for one number an item."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmbench.models.heads._pooled import PooledHead
from mmbench.models.whole import as_whole
from mmbench.types import Output

#: Logarithm of the smallest and the largest variance that a head may claim, in units of the
#: training targets' own variance: a certainty without limit would make one item's loss infinite.
LEAST, MOST = -7.0, 5.0


class Scalar(PooledHead):
    """A normal distribution: mean and log-variance, [B, 2]; the mean is said.

    Args:
        output: ``scalar``; its `offset` and `scale` are the training targets' mean and spread,
            and the network speaks in those units.
        width: D.
        dropout: Probability on the hidden layer.
    """

    kind = "scalar"

    def numbers(self, output: Output) -> int:
        """Return 2: mean and log-variance."""
        del output
        return 2

    def answer(self, numbers: Tensor) -> Tensor:
        """Bring [B, 2] to the targets' units; the log-variance stays within bounds, smoothly."""
        mean, raw = numbers.unbind(dim=-1)
        middle, half = (LEAST + MOST) / 2, (MOST - LEAST) / 2
        # Slope 1 at the start, where the log-variance is near 0.
        start = math.atanh(-middle / half)
        slope = half * (1.0 - math.tanh(start) ** 2)
        log_variance = middle + half * torch.tanh(raw / slope + start)
        offset, scale = self.output.offset, self.output.scale
        return torch.stack([offset + scale * mean, log_variance + 2.0 * math.log(scale)], dim=-1)

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return the mean negative log-density of targets [B], in nats, in units of the scale.

        Targets that are not known (NaN) are left out.
        """
        known = ~target.isnan()
        mean, log_variance = answer.unbind(dim=-1)
        own = log_variance - 2.0 * math.log(self.output.scale)
        off = (torch.where(known, target, 0.0).to(answer.dtype) - mean) / self.output.scale
        each = 0.5 * (own + off.square() * (-own).exp() + math.log(2.0 * math.pi))
        count = known.sum()
        return as_whole(torch.where(known, each, 0.0).sum() / count.clamp(min=1), count)

    def decide(self, answer: Tensor) -> tuple[list[Any], dict[str, list[Any]]]:
        """Return the means, and the column ``spread``: the standard deviation of each."""
        mean, log_variance = answer.unbind(dim=-1)
        return mean.tolist(), {"spread": (0.5 * log_variance).exp().tolist()}
