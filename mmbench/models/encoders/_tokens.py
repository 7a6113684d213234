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
        if lengths is None:  # all of it is real
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        else:
            mask = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
            x = torch.where(mask if self.kind == "text" else mask[..., None], x, 0)
        if self.kind == "text":
            return self.embed(x.long()), mask
        return self.project(x.float()), mask


def with_a_key(mask: Tensor) -> Tensor:
    """Return the mask [B, T] with its first token real.

    An item without tokens still needs one key, or its attention is undefined; the model replaces
    what comes out by the null token.
    """
    return mask | (torch.arange(mask.shape[1], device=mask.device) == 0)
