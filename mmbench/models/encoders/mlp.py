"""Encoder of numbers: a small network on each step."""

from __future__ import annotations

from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._tokens import Tokens
from mmbench.models.layers import FeedForward, Positions
from mmbench.spec import Decay
from mmbench.types import Modality


class MLP(Encoder):
    """Project each step, say when it was, and pass it through two layers; no step sees another.

    Args:
        modality: ``sequence`` [T, d] or ``vector`` [d].
        width: D.
        hidden: Width between the two layers; D if 0.
        dropout: Probability between the two layers.
    """

    kinds = ("sequence", "vector")

    def __init__(
        self, modality: Modality, width: int, hidden: int = 0, dropout: Decay = 0.0
    ) -> None:
        super().__init__()
        self.tokens = Tokens(modality, width)
        self.positions = Positions(self.tokens.count, width)
        self.norm = nn.LayerNorm(width)
        self.mix = FeedForward(width, hidden or width, dropout)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, T, d] or [B, d]; see `Encoder.forward`."""
        embedded, mask = self.tokens(x, lengths)
        embedded = self.positions(embedded)
        return embedded + self.mix(self.norm(embedded)), mask
