"""Intermediate fusion: pool each modality, put the pooled vectors side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmbench.models.contract import Fusion
from mmbench.models.layers import FeedForward, Tower
from mmbench.spec import Count, Decay
from mmbench.types import Branch, Fused, Stream


class Concat(Fusion):
    """Concatenate pooled features, mix them by a small network, hand on one token.

    Often sold as late fusion; it is not, since the network sees all modalities at once.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers of each modality's own encoder.
        dropout: Probability on residual branches.
        summary: How each modality's tokens are pooled; see `Tower`.
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
        self.towers = nn.ModuleDict(
            {m: Tower(width, depth, dropout=dropout, summary=summary) for m in modalities}
        )
        self.merge = nn.Linear(len(self.towers) * width, width)
        self.mix = nn.Sequential(nn.LayerNorm(width), FeedForward(width, 2 * width, dropout))

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        pooled = []
        for name, tower in self.towers.items():
            assert isinstance(tower, Tower)
            pooled.append(tower.read(streams[name].x, streams[name].mask)[1])
        merged = self.merge(torch.cat(pooled, dim=-1))  # [B, D]
        joint = merged + self.mix(merged)
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        one = torch.ones(len(joint), 1, dtype=torch.bool, device=joint.device)
        return Fused([Branch("joint", joint[:, None], one, joint, present)])
