"""Networks that paint pictures from vectors, and that look at pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

#: Pixels from -1 to 1 instead of 0 to 255.
HALF = 127.5
#: How often height and width are doubled, or halved: from 4 x 4 to 32 x 32.
STEPS = 3


def to_unit(pixels: Tensor) -> Tensor:
    """Return pixels [B, C, H, W] of 0..255 as -1..1."""
    return pixels.float() / HALF - 1.0


def to_pixels(picture: Tensor) -> Tensor:
    """Return pixels [B, C, H, W] uint8 of a picture of -1..1."""
    return ((picture + 1.0) * HALF).round().clamp(0.0, 255.0).byte()


def _maps(channels: int) -> list[int]:
    """Return the channels of the maps, the coarsest first."""
    return [channels << step for step in reversed(range(STEPS))]


def _coarse(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of the coarsest map, rounded up."""
    return -(-shape[1] // 2**STEPS), -(-shape[2] // 2**STEPS)


class Painter(nn.Module):
    """A vector [B, size] -> a picture [B, C, H, W] of -1..1, by transposed convolutions.

    The generator of DCGAN (Radford et al. 2016, arXiv:1511.06434) with group instead of batch
    normalisation, so that no picture depends on the others of its batch.

    Args:
        size: Numbers in a vector.
        shape: C, H, W.
        channels: Of the finest map, a multiple of 8; each coarser one has twice as many.
    """

    def __init__(self, size: int, shape: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.shape = shape
        maps = _maps(channels)
        self.coarse = (maps[0], *_coarse(shape))
        self.first = nn.Linear(size, math.prod(self.coarse))
        stages: list[nn.Module] = []
        for before, after in zip(maps, [*maps[1:], shape[0]], strict=True):
            stages += [nn.GroupNorm(8, before), nn.ReLU()]
            stages += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """Paint."""
        painted: Tensor = self.stages(self.first(x).view(-1, *self.coarse)).float().tanh()
        return painted[..., : self.shape[1], : self.shape[2]]


class Looker(nn.Module):
    """A picture [B, C, H, W] of -1..1 -> a vector [B, size], by strided convolutions.

    Args:
        shape: C, H, W.
        size: Numbers in a vector.
        channels: Of the finest map; each coarser one has twice as many.
    """

    def __init__(self, shape: tuple[int, ...], size: int, channels: int) -> None:
        super().__init__()
        maps = _maps(channels)[::-1]
        stages: list[nn.Module] = []
        for before, after in zip([shape[0], *maps[:-1]], maps, strict=True):
            stages += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.stages = nn.Sequential(*stages)
        high, wide = _coarse(shape)
        step = 2**STEPS
        self.pad = (0, wide * step - shape[2], 0, high * step - shape[1])
        self.last = nn.Linear(maps[-1] * high * wide, size)

    def forward(self, picture: Tensor) -> Tensor:
        """Look."""
        if any(self.pad):
            picture = F.pad(picture, self.pad)
        seen: Tensor = self.last(self.stages(picture).flatten(1))
        return seen


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Let no gradient be made for a module's weights meanwhile; those of its inputs are."""
    moving = [p for p in module.parameters() if p.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)
