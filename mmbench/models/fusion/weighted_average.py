"""Intermediate fusion: a weighted average of the modalities' summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import Mix, of_vector, own_towers, summaries
from mmbench.spec import Count, Decay
from mmbench.types import Fused, Stream


class WeightedAverage(Fusion):
    """Average projected summaries, h = sum_m a_m V_m z_m with a = softmax(s), and mix the result.

    An absent modality leaves the average, as long as another one is there.

    Args:
        modalities: Their names.
        width: D.
        weights: ``static``: s_m is a learned number, the same for all items; ``dynamic``:
            s_m = u_m . z_m + c_m, which a modality says of itself, item by item.
        depth: Layers that each modality has of its own before.
        dropout: Probability on residual branches.
    """

    at_least = 2
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        weights: Literal["static", "dynamic"] = "static",
        depth: Count = 0,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        self.project = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for m in modalities}
        )
        self.level = nn.ParameterDict({m: torch.zeros(1) for m in modalities})
        dynamic = modalities if weights == "dynamic" else ()
        self.score = nn.ModuleDict({m: nn.Linear(width, 1, bias=False) for m in dynamic})
        self.mix = Mix(width, dropout)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        summary = summaries(self.towers, streams)
        projected = torch.stack([self.project[m](z) for m, z in summary.items()], dim=1)
        weights = self.weigh(summary, {m: streams[m].present for m in summary})  # [B, M]
        average = (weights[..., None] * projected).sum(dim=1)
        return of_vector(self.mix(average), streams)

    def weigh(self, summary: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Return the weights [B, M] of summaries [B, D], in their order; each row adds up to 1."""
        scores = [
            self.level[m] + self.score[m](z)[:, 0] if self.score else self.level[m].expand(len(z))
            for m, z in summary.items()
        ]
        here = torch.stack([present[m] for m in summary], dim=1)
        here = here | ~here.any(dim=1, keepdim=True)  # with nothing there, all null tokens count
        return torch.stack(scores, dim=1).masked_fill(~here, -torch.inf).softmax(dim=1)
