"""Layers of a small Conformer over [B, T, D], for encoders of anything that runs in time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.layers import Attention, FeedForward, drop, quiet


class Convolution(nn.Module):
    """A Conformer's convolution: gated, depth-wise over time, with a layer norm inside.

    Departs from the paper in the norm, which is the batch's there: an item's code never depends on
    the rest of its batch.

    Args:
        width: D.
        kernel: Steps that it looks at; odd.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel = {kernel}: expected an odd number of steps")
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Convolve x [B, T, D]; what is masked [B, T] is not heard."""
        gated = F.glu(self.gate(x), dim=-1) * mask[..., None]
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        return self.out(F.silu(self.norm(mixed)))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Half a feed-forward step, attention, convolution, half a step (arXiv:2005.08100).

    Args:
        width: D.
        kernel: Steps of the convolution.
        heads: Attention heads; 0: no attention, a layer hears `kernel` steps and no more.
        dropout: Probability on residual branches.
    """

    def __init__(self, width: int, kernel: int, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5 if heads else 4))
        self.before = FeedForward(width, 2 * width)
        self.attention = quiet(Attention(width, heads)) if heads else None
        self.convolution = Convolution(width, kernel)
        self.after = FeedForward(width, 2 * width)
        self.dropout = drop(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode x [B, T, D]; mask [B, T], True = real, one at least an item."""
        x = x + 0.5 * self.dropout(self.before(self.norms[0](x)))
        x = x + self.dropout(self.convolution(self.norms[1](x), mask))
        if self.attention is not None:
            normed = self.norms[4](x)
            x = x + self.dropout(self.attention(normed, normed, mask))
        x = x + 0.5 * self.dropout(self.after(self.norms[2](x)))
        return self.norms[3](x)  # type: ignore[no-any-return]


class Sinusoids(nn.Module):
    """Adds positions that count steps, as in Vaswani et al. 2017 (arXiv:1706.03762).

    The same for every modality: at the same number of steps a second, what happens at one moment
    has one position, whichever encoder saw it.

    Args:
        count: Most steps.
        width: D.
    """

    table: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        steps = torch.arange(count)[:, None]
        rates = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
        angles = steps * rates
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
        self.register_buffer("table", 0.3 * table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add positions to x [B, T, D]."""
        return x + self.table[: x.shape[1]]
