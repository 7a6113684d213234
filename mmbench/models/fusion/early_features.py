"""Early fusion by features: all modalities on one clock, their features side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.layers import Tower
from mmbench.spec import Count, Decay
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
        depth: Count = 1,
        dropout: Decay = 0.0,
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

        With ``pool`` each item's clock has as many steps as its longest modality has tokens.
        """
        times, mask = _clock(streams, clock)
        side = [_resample(streams[name], times, mask) for name in self.modalities]
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        seq, pooled = self.tower.read(self.merge(torch.cat(side, dim=-1)), mask)
        return Fused([Branch("joint", seq, mask, pooled, present)])


def _clock(streams: Mapping[str, Stream], clock: str) -> tuple[Tensor, Tensor]:
    """Return when each item's steps are, [B, T] in 0..1, and which of them are real.

    Padding must not be heard, so an item's steps depend on its own tokens alone.
    """
    kind, _, argument = clock.partition(":")
    if kind == "native":
        return streams[argument].time, streams[argument].mask
    some = next(iter(streams.values())).x
    if kind == "latent":
        steps = torch.full((len(some),), int(argument), device=some.device)
        length = int(argument)
    else:
        steps = torch.stack([s.mask.sum(dim=1) for s in streams.values()]).amax(dim=0)
        length = max(stream.x.shape[1] for stream in streams.values())
    order = torch.arange(length, device=some.device)
    times = order / (steps[:, None] - 1).clamp(min=1)
    return times.clamp(max=1.0).to(some.dtype), order < steps[:, None]


def _resample(stream: Stream, times: Tensor, real: Tensor) -> Tensor:
    """Bring a stream's tokens to `times` [B, T]: [B, T_m, D] -> [B, T, D]."""
    count, steps = (mask.sum(dim=1).clamp(min=2).to(stream.x.dtype) for mask in (stream.mask, real))
    reach = torch.maximum(1.0 / (count - 1.0), 1.0 / (steps - 1.0))  # [B]
    apart = (times[:, :, None] - stream.time[:, None, :]).abs()  # [B, T, T_m]
    near = (1.0 - apart / reach[:, None, None]).clamp(min=0.0) + 1e-6
    near = near * stream.mask[:, None, :].to(near.dtype)
    return (near / near.sum(dim=-1, keepdim=True)) @ stream.x
