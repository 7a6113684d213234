"""Encoder of anything: one linear layer, as the plainest textbook example has it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.types import Modality


class Linear(Encoder):
    """One ``nn.Linear(dim, D)`` and nothing else: no position, no norm, no non-linearity.

    An image or a vector is one token; every word, step or frame is one. The textbook example that
    has this layer for its image and its text wants both as vectors, and nobody makes them so: here
    an image is its pixels in a row, and the fusion takes the mean over the words. The mean of what
    a linear layer says of the words is what it says of their mean, a bag of words, so it makes no
    difference that the mean comes after.

    Args:
        modality: ``image`` [C, H, W], ``spectrogram`` [C, T, F], ``text`` [L] with its vocabulary
            (words as one-hot vectors), ``sequence`` [T, d] or ``vector`` [d].
        width: D.
    """

    kinds = ("image", "spectrogram", "text", "sequence", "vector", "points")

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__()
        self.kind = modality.kind
        sizes = {
            "image": math.prod(modality.shape),
            "spectrogram": modality.shape[0] * modality.shape[-1],
            "text": len(modality.vocabulary),
        }
        self.layer = nn.Linear(sizes.get(self.kind, modality.shape[-1]), width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, ...] as the dataset gives it; see `Encoder.forward`."""
        if self.kind in ("image", "spectrogram"):
            x = x.float() / 127.5 - 1.0
            x = x.flatten(1)[:, None] if self.kind == "image" else x.transpose(1, 2).flatten(2)
        elif self.kind == "vector":
            x = x[:, None].float()
        steps = torch.arange(x.shape[1], device=x.device)
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[1], device=x.device)
        mask = steps < lengths[:, None]  # [B, T]
        if self.kind == "text":  # what the layer gives for one-hot words
            words = torch.where(mask, x, 0).long()
            return F.embedding(words, self.layer.weight.t()) + self.layer.bias, mask
        return self.layer(torch.where(mask[..., None], x, 0.0).float()), mask
