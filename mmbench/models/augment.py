"""Photographs as they might have been taken: cut, mirrored, lighter or darker. Training only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.spec import Decay


class Augment(nn.Module):
    """Shows each image a little otherwise every time; in evaluation, as it is.

    A cut of a side of ``1 - strength`` to 1 of the image, up to 10 % wider or narrower, brought
    back to its size; mirrored left to right in half of all cases, unless that is off; its contrast
    times ``1 -+ 2/3 strength``, its brightness moved by up to ``strength / 4`` of the range. The
    draws are torch's, as those of dropout: one for each image, whatever else is in the batch.

    Args:
        strength: 0 switches all of it off.
        mirror: Whether left and right may change places; where captions say which is which they
            must not.
    """

    def __init__(self, strength: Decay = 0.0, mirror: bool = True) -> None:
        super().__init__()
        self.strength, self.mirror = strength, mirror

    def forward(self, x: Tensor) -> Tensor:
        """Return images [B, C, H, W], 0 to 255, as float."""
        x = x.float()
        if not (self.training and self.strength):
            return x
        count, s = len(x), self.strength
        draws = torch.rand(count, 7, device=x.device)
        side = 1.0 - s * draws[:, 0]
        frame = x.new_zeros(count, 2, 3)
        mirrored = torch.where(draws[:, 1] < 0.5, -1.0, 1.0) if self.mirror else 1.0
        frame[:, 0, 0] = side * mirrored
        frame[:, 1, 1] = side * (0.9 + 0.2 * draws[:, 2])
        frame[:, :, 2] = (2.0 * draws[:, 3:5] - 1.0) * (1.0 - side)[:, None]
        grid = F.affine_grid(frame, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, align_corners=False, padding_mode="reflection")
        light = draws[:, 5:, None, None, None] - 0.5  # [B, 2, 1, 1, 1]
        x = (x - 127.5) * (1.0 + 4 / 3 * s * light[:, 0]) + 127.5 + 127.5 * s * light[:, 1]
        return x.clamp(0.0, 255.0)
