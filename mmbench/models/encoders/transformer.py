"""Encoder of sequences: a Transformer over words or steps."""

from __future__ import annotations

from torch import Tensor

from mmbench.models.contract import Encoder
from mmbench.models.encoders._tokens import Tokens, with_a_key
from mmbench.models.layers import Positions, Tower
from mmbench.spec import Count, Decay
from mmbench.types import Modality


class Transformer(Encoder):
    """A token per step, each attending to all others (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        modality: ``text`` [L] with its vocabulary (token 0 is padding), or ``sequence`` [T, d].
        width: D.
        depth: Layers.
        dropout: Probability on residual branches.
    """

    kinds = ("text", "sequence")

    def __init__(
        self, modality: Modality, width: int, depth: Count = 1, dropout: Decay = 0.0
    ) -> None:
        super().__init__()
        self.tokens = Tokens(modality, width)
        self.positions = Positions(self.tokens.count, width)
        self.tower = Tower(width, depth, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, T, ...]; see `Encoder.forward`."""
        embedded, mask = self.tokens(x, lengths)
        return self.tower(self.positions(embedded), with_a_key(mask)), mask
