"""Video encoder: every frame through one small CNN, then layers over time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._conformer import Layer, Sinusoids
from mmbench.models.encoders._tokens import with_a_key
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Modality


class FrameCNN(Encoder):
    """A token per frame: strided convolutions over the frame and its neighbours, then Conformer.

    The first convolution sees `span` frames at once, a three-dimensional filter as in lip readers
    (Stafylakis and Tzimiropoulos 2017, arXiv:1703.04105): what moves tells more than what is
    there. Layers over time are those of the encoder `conformer`. Group normalisation, so that an
    item's code never depends on the rest of its batch.

    Args:
        modality: ``video``, shape [T, H, W], uint8 grey.
        width: D.
        shrink: Pixels a side that are averaged into one first.
        channels: Channels of the strided convolutions, each a multiple of 8.
        span: Frames that the first of them sees; odd.
        depth: Layers over time.
        kernel: Steps of each layer's convolution.
        heads: Attention heads.
        dropout: Probability on residual branches, and on a frame's features.
        positions: Whether tokens know when they are.
        shift: In training a whole clip is moved by up to so many pixels each way, and mirrored
            half the time where `mirror` says so.
        mirror: See `shift`.
    """

    kinds = ("video",)

    def __init__(
        self,
        modality: Modality,
        width: int,
        shrink: Positive = 1,
        channels: tuple[int, ...] = (16, 32, 64),
        span: Positive = 5,
        depth: Count = 2,
        kernel: Positive = 15,
        heads: Count = 4,
        dropout: Decay = 0.0,
        positions: bool = False,
        shift: Count = 0,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        frames, height, breadth = modality.shape
        if span % 2 == 0:
            raise ValueError(f"span = {span}: expected an odd number of frames")
        if not channels:
            raise ValueError("channels is empty: expected one number for each convolution")
        if min(height, breadth) < shrink:
            raise ValueError(f"shrink = {shrink}: a frame has {height} x {breadth} pixels only")
        self.span, self.shift, self.mirror, self.shrink = span, shift, mirror, shrink
        height, breadth = height // shrink, breadth // shrink
        stages: list[nn.Module] = []
        current = span
        for following in channels:
            stages += [
                nn.Conv2d(current, following, 3, stride=2, padding=1),
                nn.GroupNorm(8, following),
                nn.ReLU(),
            ]
            current, height, breadth = following, (height + 1) // 2, (breadth + 1) // 2
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(current * height * breadth, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.positions = Sinusoids(frames, width) if positions else nn.Identity()
        self.layers = nn.ModuleList(
            Layer(width, kernel, heads, dropout=dropout) for _ in range(depth)
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode clips [B, T, H, W] uint8; see `Encoder.forward`."""
        size, length = x.shape[:2]
        mask = torch.ones(size, length, dtype=torch.bool, device=x.device)
        if lengths is not None:
            mask = torch.arange(length, device=x.device) < lengths[:, None]
        x = self._standardise(x, mask)
        if self.training:
            x = self._move(x)
        if self.shrink > 1:
            x = F.avg_pool2d(x, self.shrink)
        around = self.span // 2
        wide = F.pad(x, (0, 0, 0, 0, around, around))
        stacked = torch.stack([wide[:, k : k + length] for k in range(self.span)], dim=2)
        maps = self.stages(stacked.flatten(0, 1)).flatten(1)
        tokens = self.norm(self.project(self.dropout(maps))).unflatten(0, (size, length))
        tokens = self.positions(tokens)
        for layer in self.layers:
            tokens = layer(tokens, with_a_key(mask))
        return tokens, mask

    @staticmethod
    def _standardise(x: Tensor, mask: Tensor) -> Tensor:
        """Give a clip mean 0 and variance 1 over all its frames; what is masked becomes 0."""
        here = mask[:, :, None, None]
        x = x.float().masked_fill(~here, 0.0)
        count = (mask.sum(dim=1) * x.shape[2] * x.shape[3]).clamp(min=1)[:, None, None, None]
        mean = x.sum(dim=(1, 2, 3), keepdim=True) / count
        centred = (x - mean).masked_fill(~here, 0.0)
        spread = (centred**2).sum(dim=(1, 2, 3), keepdim=True) / count
        return centred / (spread + 1.0).sqrt()

    def _move(self, x: Tensor) -> Tensor:
        """Shift and mirror whole clips at random; what comes in from outside is 0."""
        if self.mirror:
            turned = torch.rand(len(x), device=x.device) < 0.5
            x = torch.where(turned[:, None, None, None], x.flip(3), x)
        if self.shift:
            reach, height, breadth = self.shift, x.shape[2], x.shape[3]
            wide = F.pad(x, (reach, reach, reach, reach))
            down, right = torch.randint(0, 2 * reach + 1, (2, len(x)), device=x.device)
            rows = down[:, None] + torch.arange(height, device=x.device)
            columns = right[:, None] + torch.arange(breadth, device=x.device)
            clip = torch.arange(len(x), device=x.device)[:, None, None, None]
            frame = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
            x = wide[clip, frame, rows[:, None, :, None], columns[:, None, None, :]]
        return x
