"""Encoder of pictures: one convolution, one pooling, and the mean of what is left."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.types import Modality

#: Rows and columns that one pooled place looks at: two places of a 3 x 3 filter.
REACH = 4


class ConvPool(Encoder):
    """D filters of 3 x 3 without padding, ReLU, the larger of every 2 x 2, the mean: one token.

    The image half of the textbook example of sentiment from text and image, which ends with the
    pooled map, [31, 31, 64] of an image of 64 x 64, and lays that beside a text's states: arrays
    of three axes beside those of four, which cannot be. The mean over places, one vector of D, is
    what was added. Pixels are scaled to [0, 1], which the example leaves open.

    Args:
        modality: ``image`` [C, H, W], or ``spectrogram`` [C, T, F], a picture of time by
            frequency, of which only what was heard is looked at; uint8, 4 or more a side.
        width: D, the number of filters.
    """

    kinds = ("image", "spectrogram")

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__()
        channels, *sides = modality.shape
        if min(sides) < REACH:
            raise ValueError(f"a picture of {sides[0]} x {sides[1]} is too small: it needs 4 x 4")
        self.filters = nn.Conv2d(channels, width, 3)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, C, H, W] or [B, C, T, F] uint8; `lengths` [B] counts frames."""
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[2], device=x.device)
        heard = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
        x = x.float().masked_fill(~heard[:, None, :, None], 0.0) / 255.0
        x = F.pad(x, (0, 0, 0, max(0, REACH - x.shape[2])))
        maps = self.pool(torch.relu(self.filters(x))).mean(dim=3)  # [B, D, rows]
        # Only rows that look at nothing beyond the end count; of what is shorter, the first.
        rows = torch.arange(maps.shape[2], device=x.device)
        counts = (2 * rows + REACH <= lengths[:, None]) | (rows == 0)  # [B, rows]
        weight = counts[:, None].to(maps.dtype)
        token = (maps * weight).sum(dim=2) / weight.sum(dim=2)
        return token[:, None], torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
