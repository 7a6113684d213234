"""Text encoder: a bidirectional gated recurrent unit over word embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.layers import drop
from mmbench.types import Modality


class GRU(Encoder):
    """A token per word, read in both directions (Cho et al. 2014, arXiv:1406.1078).

    Args:
        modality: ``text``, shape [L], with its vocabulary; token 0 is padding.
        width: D; half of it in each direction.
        dropout: Probability on the embeddings.
    """

    kinds = ("text",)

    def __init__(self, modality: Modality, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(modality.vocabulary), width)
        self.dropout = drop(dropout)
        self.cell = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode token ids [B, L]; see `Encoder.forward`."""
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[1], device=x.device)
        mask = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        embedded = self.dropout(self.embed(torch.where(mask, x, 0).long()))
        # Packing keeps the backward direction from starting in the padding; it needs length >= 1.
        packed = nn.utils.rnn.pack_padded_sequence(
            embedded, lengths.clamp(min=1).cpu().long(), batch_first=True, enforce_sorted=False
        )
        tokens, _ = nn.utils.rnn.pad_packed_sequence(
            self.cell(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        return tokens, mask
