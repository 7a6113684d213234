"""Head for any number of classes an item: one layer, as textbook examples end."""

from __future__ import annotations

from torch import nn

from mmbench.models.heads.multilabel import Multilabel
from mmbench.types import Output


class DenseMultilabel(Multilabel):
    """One linear layer and a sigmoid a class: ``Dense(C, sigmoid)``.

    What the head `multilabel` has before its last layer, a norm and a hidden layer, is left out.

    Args:
        output: ``multilabel``.
        width: D.
    """

    def __init__(self, output: Output, width: int) -> None:
        super().__init__(output, width)
        self.hidden = nn.Sequential()  # hands on what comes
