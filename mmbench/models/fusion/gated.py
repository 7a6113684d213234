"""Intermediate fusion: gates that see all modalities weigh each (GMU)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import of_vector, own_towers, summaries
from mmbench.spec import Count, Decay
from mmbench.types import Fused, Stream


class Gated(Fusion):
    """Let a gate choose, number by number: h = sum_m sigmoid(W_m [z_1; ...; z_M]) * tanh(V_m z_m).

    Gated Multimodal Unit (Arevalo et al. 2017, arXiv:1702.01992), in the paper's form for any
    number of modalities. Departs from its bimodal form, whose two gates are g and 1 - g: here each
    modality has a gate of its own, for two of them as well. Gates and candidates have biases.

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
        self.norms = nn.ModuleDict({m: nn.LayerNorm(width) for m in modalities})
        self.candidates = nn.ModuleDict({m: nn.Linear(width, width) for m in modalities})
        total = len(self.towers) * width
        self.gates = nn.ModuleDict({m: nn.Linear(total, width) for m in modalities})

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        summary = summaries(self.towers, streams)
        z = {name: self.norms[name](x) for name, x in summary.items()}
        side = torch.cat(list(z.values()), dim=-1)  # [B, M D]
        joint = sum(
            self.gates[name](side).sigmoid() * self.candidates[name](x).tanh()
            for name, x in z.items()
        )
        assert isinstance(joint, torch.Tensor)
        return of_vector(joint, streams)
