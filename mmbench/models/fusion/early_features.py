"""Early fusion by features: all modalities on one clock, their features side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.layers import Tower
from mmbench.types import Branch, Fused, Stream


class EarlyFeatures(Fusion):
    """Resample every modality to one clock, concatenate features step by step, encode.

    The oldest recipe for aligned sequences. A modality's value at a step of the clock is the mean
    of its real tokens, weighted by nearness in time (a triangular kernel as wide as its own step),
    so that padding has no say.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers of the encoder after the concatenation.
        dropout: Probability on residual branches.
        summary: How tokens are summed up for heads that read one vector; see `Tower`.
    """

    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        depth: int = 1,
        dropout: float = 0.0,
        summary: str = "mean",
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.merge = nn.Linear(len(self.modalities) * width, width)
        self.tower = Tower(width, depth, dropout=dropout, summary=summary)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, T, D], T set by the clock.

        With ``pool`` the clock is the longest modality's.
        """
        steps = _steps(streams, clock)
        times = torch.linspace(0.0, 1.0, steps, device=next(iter(streams.values())).x.device)
        side = [_resample(streams[name], times) for name in self.modalities]
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        mask = torch.ones(side[0].shape[:2], dtype=torch.bool, device=times.device)
        seq, pooled = self.tower.read(self.merge(torch.cat(side, dim=-1)), mask)
        return Fused([Branch("joint", seq, mask, pooled, present)])


def _steps(streams: Mapping[str, Stream], clock: str) -> int:
    kind, _, argument = clock.partition(":")
    if kind == "native":
        return streams[argument].x.shape[1]
    if kind == "latent":
        return int(argument)
    return max(stream.x.shape[1] for stream in streams.values())


def _resample(stream: Stream, times: Tensor) -> Tensor:
    """Bring a stream's tokens to `times` [T]: [B, T_m, D] -> [B, T, D]."""
    count = stream.mask.sum(dim=1).clamp(min=2).to(stream.x.dtype)
    reach = (1.0 / (count - 1.0)).clamp(min=1.0 / max(len(times) - 1, 1))  # [B]
    apart = (times[None, :, None] - stream.time[:, None, :]).abs()  # [B, T, T_m]
    near = (1.0 - apart / reach[:, None, None]).clamp(min=0.0) + 1e-6
    near = near * stream.mask[:, None, :].to(near.dtype)
    return (near / near.sum(dim=-1, keepdim=True)) @ stream.x
