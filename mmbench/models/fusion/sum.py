"""Intermediate fusion: pool each modality, project, add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import Mix, of_vector, own_towers, summaries
from mmbench.spec import Count, Decay
from mmbench.types import Fused, Stream


class Sum(Fusion):
    """Add projected summaries, h = sum_m V_m z_m, and mix the sum by a small network.

    The sum alone is additive: what two modalities mean only together comes from the network
    after it.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers that each modality has of its own before.
        dropout: Probability on residual branches.
    """

    unordered = True

    def __init__(
        self, modalities: Sequence[str], width: int, depth: Count = 0, dropout: Decay = 0.0
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        self.project = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for m in modalities}
        )
        self.mix = Mix(width, dropout)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        summary = summaries(self.towers, streams)
        total = sum(self.project[name](z) for name, z in summary.items())  # [B, D]
        return of_vector(self.mix(total), streams)
