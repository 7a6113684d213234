"""Intermediate fusion: the outer product of all modalities, its weights of low rank (LMF)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import of_vector, own_towers, summaries
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Fused, Stream


class LowRankTensor(Fusion):
    """Multiply everything with everything, by R factors: h = b + sum_r w_r * prod_m W_m,r [z_m; 1].

    Low-rank Multimodal Fusion (Liu et al. 2018, arXiv:1806.00064): the weights of `tensor` written
    as a sum of R outer products, so that the big product is never made. The weights w_r are those
    of the authors' code. Departs from the paper: z_m are normalised, and factors start large enough
    for a product of M of them to be of unit size.

    Args:
        modalities: Their names.
        width: D.
        rank: R.
        depth: Layers that each modality has of its own before.
        dropout: Probability on residual branches.
    """

    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        rank: Positive = 4,
        depth: Count = 0,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        self.norms = nn.ModuleDict({m: nn.LayerNorm(width) for m in modalities})
        scale = (width + 1) ** -0.5
        self.factors = nn.ParameterDict(
            {m: torch.randn(rank, width + 1, width) * scale for m in modalities}
        )
        self.rank_weights = nn.Parameter(torch.full((rank,), rank**-0.5))
        self.bias = nn.Parameter(torch.zeros(width))

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        summary = summaries(self.towers, streams)
        return of_vector(self.merge({m: self.norms[m](z) for m, z in summary.items()}), streams)

    def merge(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Multiply z_m [B, D] of all modalities: -> [B, D]."""
        each = [
            torch.einsum("bi,rio->rbo", F.pad(z, (0, 1), value=1.0), self.factors[name])
            for name, z in factors.items()
        ]
        product = torch.stack(each).prod(dim=0)  # [R, B, D]
        return torch.einsum("r,rbo->bo", self.rank_weights, product) + self.bias
