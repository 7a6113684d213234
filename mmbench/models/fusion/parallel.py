"""Intermediate fusion: all modalities enter the joint state at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import Mix, encode, of_vector, own_towers
from mmbench.models.layers import Attention, peak
from mmbench.spec import Count, Decay
from mmbench.types import Fused, Stream


class Parallel(Fusion):
    """One gated step on all modalities together: h = sigmoid(W z) * tanh(V z), z = [z_1; ...; z_M].

    The counterpart of `sequential`, which takes the same kind of step once for each modality: this
    is the first step of a GRU from u_0 = 0 that reads all of them side by side, so that no
    modality comes first.

    Args:
        modalities: Their names.
        width: D.
        level: What of a modality takes part: ``pooled``, its summary, or
            ``tokens``, what a learned query of each modality finds among the tokens of all.
        depth: Layers that each modality has of its own before.
        dropout: Probability on residual branches.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        level: Literal["pooled", "tokens"] = "pooled",
        depth: Count = 0,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        asking = modalities if level == "tokens" else ()
        self.queries = nn.ParameterDict({m: torch.randn(width) for m in asking})
        self.attention = Attention(width) if asking else None
        self.norm = nn.LayerNorm(len(self.towers) * width)
        self.update = nn.Linear(len(self.towers) * width, width)
        self.candidate = nn.Linear(len(self.towers) * width, width)
        self.mix = Mix(width, dropout)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        tokens = encode(self.towers, streams)
        side = self.norm(torch.cat(self._parts(tokens, streams), dim=-1))  # [B, M D]
        joint = self.update(side).sigmoid() * self.candidate(side).tanh()
        return of_vector(self.mix(joint), streams)

    def _parts(self, tokens: Mapping[str, Tensor], streams: Mapping[str, Stream]) -> list[Tensor]:
        if self.attention is None:
            return [peak(x, streams[name].mask) for name, x in tokens.items()]
        every = torch.cat(list(tokens.values()), dim=1)
        mask = torch.cat([streams[name].mask for name in tokens], dim=1)
        queries = torch.stack([self.queries[name] for name in tokens])  # [M, D]
        found: Tensor = self.attention(queries.expand(len(every), -1, -1), every, mask)
        return list(found.unbind(dim=1))
