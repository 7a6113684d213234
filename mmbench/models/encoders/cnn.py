"""Image encoder: strided convolutions, then patches of the map as tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.augment import Augment
from mmbench.models.contract import Encoder
from mmbench.models.layers import Positions
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Modality


class CNN(Encoder):
    """Halves the image by convolutions; then patches of the map become `grid` x `grid` tokens.

    The last step is linear (a patch of the map becomes a token), as in a Vision Transformer with
    a convolutional stem (Xiao et al. 2021, arXiv:2106.14881). A few tokens that each see a whole
    thing are learned from far sooner than many that each see a part of one. Group normalisation
    instead of batch normalisation, so that an item's code never depends on the rest of its batch.

    Args:
        modality: ``image``, shape [C, H, W], uint8.
        width: D.
        channels: Channels of the stages, each a multiple of 8; the last is repeated if there are
            more stages.
        grid: Tokens per side; sides that it does not divide lose the rest at the right and bottom.
        reach: Largest side of a patch; the image is halved until its patches are that small.
        augment: How far images are changed while training; see `Augment`.
        mirror: Whether that may put left to the right.
    """

    kinds = ("image",)

    def __init__(
        self,
        modality: Modality,
        width: int,
        channels: tuple[int, ...] = (32, 64, 96),
        grid: Positive = 4,
        reach: Count = 6,
        augment: Decay = 0.0,
        mirror: bool = True,
    ) -> None:
        super().__init__()
        self.augment = Augment(augment, mirror)
        current, height, breadth = modality.shape
        if min(grid, reach, len(channels)) < 1:
            raise ValueError("grid and reach have to be 1 or more, and channels not empty")
        if min(height, breadth) < grid:
            raise ValueError(f"an image of {height} x {breadth} has no {grid} x {grid} patches")
        stages: list[nn.Module] = []
        count = 0
        while min(height, breadth) > grid * reach:
            following = channels[min(count, len(channels) - 1)]
            stages += [
                nn.Conv2d(current, following, 3, stride=2, padding=1),
                nn.GroupNorm(8, following),
                nn.ReLU(),
            ]
            current, count = following, count + 1
            height, breadth = (height + 1) // 2, (breadth + 1) // 2
        self.stages = nn.Sequential(*stages)
        patch = (height // grid, breadth // grid)
        self.used = (grid * patch[0], grid * patch[1])
        self.patches = nn.Conv2d(current, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)
        self.positions = Positions(grid * grid, width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode images [B, C, H, W] uint8; see `Encoder.forward`."""
        del lengths  # an image is whole
        maps = self.stages(self.augment(x) / 127.5 - 1.0)[..., : self.used[0], : self.used[1]]
        tokens = self.positions(self.norm(self._cut(maps)))
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device)

    def _cut(self, maps: Tensor) -> Tensor:
        """Make a token of each patch of the maps [B, C, H, W].

        Patches do not overlap, so this convolution is one matrix product; as such it takes a
        third of the time on a CPU.
        """
        height, breadth = self.patches.kernel_size
        batch, channels, rows, columns = maps.shape
        cut = maps.view(batch, channels, rows // height, height, columns // breadth, breadth)
        flat = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # [B, T, C h w]
        return F.linear(flat, self.patches.weight.flatten(1), self.patches.bias)
