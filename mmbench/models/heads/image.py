"""Head for a picture: the mean of all that could be right."""

from __future__ import annotations

from torch import Tensor

from mmbench.models.contract import HeadOut
from mmbench.models.heads._painted import PaintedHead
from mmbench.spec import Above0, Positive
from mmbench.types import Branch, Output


class Image(PaintedHead):
    """Paint the same picture every time, by least squares.

    Its best answer is the mean of all pictures that could be right, so that whatever is not told
    (where exactly, in which shade) is blurred: a floor for what generates.

    Args:
        output: ``image``.
        width: D.
        channels: Of the finest map, a multiple of 8.
        spread: Standard deviation of a pixel, of the range -1..1.
    """

    def __init__(
        self, output: Output, width: int, channels: Positive = 32, spread: Above0 = 0.1
    ) -> None:
        super().__init__(output, width, channels, spread, latent=0)

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Paint; the target is not looked at."""
        del target
        return HeadOut(branch.pooled, self.paint(branch).flatten(1))
