"""Image encoder: strided convolutions, each cell of the last map one token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.layers import Positions
from mmbench.types import Modality


class CNN(Encoder):
    """Halves the image until its map is at most `grid` x `grid`; tokens carry their position.

    Group normalisation instead of batch normalisation, so that an item's code never depends on
    the rest of its batch.

    Args:
        modality: ``image``, shape [C, H, W], uint8.
        width: D.
        channels: Channels of the stages; the last is repeated if there are more stages.
        grid: Largest side of the last map.
    """

    kinds = ("image",)

    def __init__(
        self,
        modality: Modality,
        width: int,
        channels: tuple[int, ...] = (32, 64, 96),
        grid: int = 8,
    ) -> None:
        super().__init__()
        current, height, breadth = modality.shape
        stages: list[nn.Module] = []
        count = 0
        while max(height, breadth) > grid:
            following = channels[min(count, len(channels) - 1)]
            stages += [
                nn.Conv2d(current, following, 3, stride=2, padding=1),
                nn.GroupNorm(8, following),
                nn.ReLU(),
            ]
            current, count = following, count + 1
            height, breadth = (height + 1) // 2, (breadth + 1) // 2
        self.stages = nn.Sequential(*stages)
        self.project = nn.Sequential(nn.Linear(current, width), nn.LayerNorm(width))
        self.positions = Positions(height * breadth, width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode images [B, C, H, W] uint8; see `Encoder.forward`."""
        del lengths  # an image is whole
        maps = self.stages(x.float() / 127.5 - 1.0)  # [B, C', h, w]
        tokens = self.positions(self.project(maps.flatten(2).transpose(1, 2)))
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device)
