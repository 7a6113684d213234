"""Early fusion by features: all modalities on one clock, their features side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.clock import resample, steps_of
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

    timed = True
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
        times, mask = steps_of(streams, clock)
        side = [_at(streams[name], times, mask) for name in self.modalities]
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        seq, pooled = self.tower.read(self.merge(torch.cat(side, dim=-1)), mask)
        return Fused([Branch("joint", seq, mask, pooled, present, times)])


def _at(stream: Stream, times: Tensor, real: Tensor) -> Tensor:
    """Bring a stream's tokens to `times` [B, T]: [B, T_m, D] -> [B, T, D]."""
    return resample(stream.x, stream.mask, stream.time, times, real)
