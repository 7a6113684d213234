"""Image encoder: patches of pixels as tokens, read by a Transformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.augment import Augment
from mmbench.models.contract import Encoder
from mmbench.models.layers import Positions, Tower
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Modality


class Patches(Encoder):
    """A Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929).

    The picture is cut into squares that do not overlap; each becomes a token by one linear layer,
    gets a learned position, and attends to all others. Departs from the paper in what it leaves
    out: there is no class token, since fusions read all tokens; and in that the patches are
    normalised before the blocks. Without a convolution it knows nothing of pictures but where
    patches are: it wants more of them than `cnn` does.

    Args:
        modality: ``image``, shape [C, H, W], uint8.
        width: D.
        patch: Pixels of a square's side; rests at the right and bottom are filled up with grey.
        depth: Transformer layers.
        heads: Attention heads; have to divide `width`.
        dropout: Probability on residual branches.
        augment: How far images are changed while training; see `Augment`.
        mirror: Whether that may put left to the right.
    """

    kinds = ("image",)

    def __init__(
        self,
        modality: Modality,
        width: int,
        patch: Positive = 8,
        depth: Count = 4,
        heads: Positive = 4,
        dropout: Decay = 0.0,
        augment: Decay = 0.0,
        mirror: bool = True,
    ) -> None:
        super().__init__()
        channels, height, breadth = modality.shape
        if patch > max(height, breadth):
            raise ValueError(f"patch = {patch} is larger than the image, {height} x {breadth}")
        self.augment = Augment(augment, mirror)
        self.patch = patch
        #: Rows and columns to fill up.
        self.rest = (-height % patch, -breadth % patch)
        rows, columns = (side // patch for side in (height + self.rest[0], breadth + self.rest[1]))
        self.project = nn.Linear(channels * patch * patch, width)
        self.norm = nn.LayerNorm(width)
        self.positions = Positions(rows * columns, width)
        self.tower = Tower(width, depth, heads, dropout)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode images [B, C, H, W] uint8; see `Encoder.forward`."""
        del lengths  # an image is whole
        pixels = F.pad(self.augment(x) / 127.5 - 1.0, (0, self.rest[1], 0, self.rest[0]))
        cut = F.pixel_unshuffle(pixels, self.patch)  # [B, C p p, rows, columns]
        tokens = self.positions(self.norm(self.project(cut.flatten(2).transpose(1, 2))))
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device)
        return self.tower(tokens, mask), mask
