"""What encoders of sequences share: from what the dataset gives to embedded tokens and a mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.types import Modality


class Tokens(nn.Module):
    """Embeds words, projects steps of a sequence, or makes one token of a vector.

    Args:
        modality: ``text`` [L], ``sequence`` [T, d] or ``vector`` [d].
        width: D.
    """

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__()
        self.kind = modality.kind
        #: The most tokens of an item.
        self.count = 1 if self.kind == "vector" else modality.shape[0]
        if self.kind == "text":
            self.embed = nn.Embedding(len(modality.vocabulary), width)
        else:
            self.project = nn.Linear(modality.shape[-1], width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return [B, T, D] and mask [B, T]; what lies beyond `lengths` [B] is not looked at."""
        if self.kind == "vector":
            x = x[:, None]
        steps = torch.arange(x.shape[1], device=x.device)
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[1], device=x.device)
        mask = steps < lengths[:, None]
        if self.kind == "text":
            return self.embed(torch.where(mask, x, 0).long()), mask
        return self.project(torch.where(mask[..., None], x, 0.0).float()), mask


def with_a_key(mask: Tensor) -> Tensor:
    """Return the mask [B, T] with its first token real.

    An item without tokens still needs one key, or its attention is undefined; the model replaces
    what comes out by the null token.
    """
    return mask | (torch.arange(mask.shape[1], device=mask.device) == 0)
