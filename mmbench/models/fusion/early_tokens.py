"""Early fusion by tokens: one Transformer over the tokens of all modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmbench.models.clock import timeline
from mmbench.models.contract import Fusion
from mmbench.models.layers import Tower
from mmbench.spec import Count, Decay
from mmbench.types import Branch, Fused, Stream


class EarlyTokens(Fusion):
    """Concatenate the tokens of all modalities, marked by type, and encode them together.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers of the joint encoder.
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
        self.types = nn.ParameterDict({m: torch.randn(width) for m in modalities})
        self.tower = Tower(width, depth, dropout=dropout, summary=summary)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m, D]."""
        tokens = torch.cat([s.x + self.types[name] for name, s in streams.items()], dim=1)
        mask = torch.cat([s.mask for s in streams.values()], dim=1)
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        seq, pooled = self.tower.read(tokens, mask)
        return Fused([Branch("joint", seq, mask, pooled, present, *timeline(streams))])
