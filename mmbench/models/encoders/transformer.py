"""Text encoder: a Transformer over word embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.layers import Positions, Tower
from mmbench.types import Modality


class Transformer(Encoder):
    """A token per word, each attending to all others (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        modality: ``text``, shape [L], with its vocabulary; token 0 is padding.
        width: D.
        depth: Layers.
        dropout: Probability on residual branches.
    """

    kinds = ("text",)

    def __init__(
        self, modality: Modality, width: int, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(modality.vocabulary), width)
        self.positions = Positions(modality.shape[0], width)
        self.tower = Tower(width, depth, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode token ids [B, L]; see `Encoder.forward`."""
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[1], device=x.device)
        mask = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        embedded = self.positions(self.embed(torch.where(mask, x, 0).long()))
        # An item without words still needs one key, or its attention is undefined; the model
        # replaces what comes out by the null token.
        keys = mask | (torch.arange(x.shape[1], device=x.device) == 0)
        return self.tower(embedded, keys), mask
