"""Head for one number an item: one layer, as textbook examples end."""

from __future__ import annotations

from torch import nn

from mmbench.models.heads.scalar import Scalar
from mmbench.types import Output


class DenseScalar(Scalar):
    """One linear layer that gives a mean and a log-variance.

    What the head `scalar` has before its last layer, a norm and a hidden layer, is left out.

    Args:
        output: ``scalar``.
        width: D.
    """

    def __init__(self, output: Output, width: int) -> None:
        super().__init__(output, width)
        self.hidden = nn.Sequential()  # hands on what comes
