"""Intermediate fusion: the outer product of all modalities (TFN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import of_vector, own_towers, summaries
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Fused, Stream

#: Weights of the layer behind the product at most: a quarter of a gigabyte.
MOST = 1 << 26


class TensorProduct(Fusion):
    """Multiply everything with everything: h = W vec([z_1; 1] x ... x [z_M; 1]).

    Tensor Fusion Network (Zadeh et al. 2017, arXiv:1707.07250). The appended ones keep every
    product of fewer modalities, down to each alone. Departs from the paper: the factors z_m are
    small, of the same size for all modalities, and projected from normalised summaries, since a
    product of M numbers of unequal scale is hard to train; no dropout.

    Args:
        modalities: Their names.
        width: D.
        size: d, numbers in z_m; the product has (d + 1)^M.
        depth: Layers that each modality has of its own before.
        dropout: Probability on residual branches.
    """

    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        size: Positive = 8,
        depth: Count = 0,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        numbers = (size + 1) ** len(modalities)
        if numbers * width > MOST:
            raise ValueError(
                f"the product of {len(modalities)} modalities would have {numbers:,} numbers, "
                f"(size + 1)^{len(modalities)}: choose a smaller size than {size}"
            )
        self.towers = own_towers(modalities, width, depth, dropout)
        self.factors = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size)) for m in modalities}
        )
        self.merge = nn.Linear((size + 1) ** len(self.towers), width)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        summary = summaries(self.towers, streams)
        product = outer([self.factors[name](z) for name, z in summary.items()])
        return of_vector(self.merge(product), streams)


def outer(factors: Sequence[Tensor]) -> Tensor:
    """Return the outer product of [z_m; 1], z_m [B, d_m], the last modality's index fastest."""
    product = factors[0].new_ones(len(factors[0]), 1)
    for z in factors:
        one_more = F.pad(z, (0, 1), value=1.0)
        product = torch.einsum("bi,bj->bij", product, one_more).flatten(1)
    return product
