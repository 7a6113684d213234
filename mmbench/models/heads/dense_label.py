"""Head for one class an item: one layer, as textbook examples end."""

from __future__ import annotations

from torch import nn

from mmbench.models.heads.label import Label
from mmbench.types import Output


class DenseLabel(Label):
    """One linear layer and a softmax: ``Dense(C, softmax)``.

    What the head `label` has before its last layer, a norm and a hidden layer, is left out.

    Args:
        output: ``label``.
        width: D.
    """

    def __init__(self, output: Output, width: int) -> None:
        super().__init__(output, width)
        self.hidden = nn.Sequential()  # hands on what comes
