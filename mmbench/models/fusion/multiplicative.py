"""Intermediate fusion: multiplicative interactions of every two modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import of_vector, own_towers, summaries
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Fused, Stream


class Multiplicative(Fusion):
    """Add bilinear forms of all pairs and linear terms: h = sum_m<n z_m' W_mn z_n + sum_m U_m z_m.

    Multiplicative interactions (Jayakumar et al., ICLR 2020, "Multiplicative Interactions and
    Where to Find Them"). Departs from the paper, which has two inputs: with more, all pairs are
    added up, so that there are products of two modalities and none of three. And z_m are a few
    numbers, projected from normalised summaries, since W holds D of their outer products.

    Args:
        modalities: Their names.
        width: D.
        size: d, numbers in z_m.
        depth: Layers that each modality has of its own before.
        dropout: Probability on residual branches.
    """

    at_least = 2
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        size: Positive = 12,
        depth: Count = 0,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        self.factors = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size)) for m in modalities}
        )
        self.linear = nn.ModuleDict({m: nn.Linear(size, width) for m in modalities})
        names = list(self.towers)
        self.pairs = nn.ModuleDict(
            {
                one: nn.ModuleDict({o: nn.Bilinear(size, size, width, bias=False) for o in others})
                for one, others in ((m, names[k + 1 :]) for k, m in enumerate(names[:-1]))
            }
        )

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        summary = summaries(self.towers, streams)
        z = {name: self.factors[name](x) for name, x in summary.items()}  # [B, d] each
        joint = sum(self.linear[name](x) for name, x in z.items())
        for one, others in self.pairs.items():
            assert isinstance(others, nn.ModuleDict)
            for other, form in others.items():
                # Not by calling it: torch's bilinear layer takes no lower precision.
                joint = joint + torch.einsum("bi,oij,bj->bo", z[one], form.weight, z[other])
        return of_vector(joint, streams)
