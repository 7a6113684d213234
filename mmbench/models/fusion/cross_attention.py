"""Intermediate fusion: each modality attends to the tokens of all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.attention import CrossBlock
from mmbench.models.contract import Fusion
from mmbench.models.joint import encode, of_tokens, own_towers
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Fused, Stream


class CrossAttention(Fusion):
    """Encode each modality by itself, then let its tokens attend to those of the others together.

    Attention as in Vaswani et al. 2017 (arXiv:1706.03762). Unlike in `crossmodal`, a modality asks
    all others in one softmax, so that they compete for its attention; unlike in
    `multimodal_self_attention`, it does not hear itself there.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers of cross-attention.
        own_depth: Layers that each modality has of its own before.
        heads: Attention heads.
        dropout: Probability on residual branches.
    """

    at_least = 2
    timed = True
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        depth: Count = 1,
        own_depth: Count = 0,
        heads: Positive = 4,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, own_depth, dropout)
        self.layers = nn.ModuleList(
            nn.ModuleDict({m: CrossBlock(width, heads, dropout=dropout) for m in modalities})
            for _ in range(depth)
        )

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m, D]."""
        tokens = encode(self.towers, streams)
        masks = {name: streams[name].mask for name in tokens}
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            tokens = {  # all of a layer hear what the layer before has said
                name: block(tokens[name], _others(tokens, name), _others(masks, name))
                for name, block in layer.items()
            }
        seq = torch.cat(list(tokens.values()), dim=1)
        return of_tokens(seq, torch.cat(list(masks.values()), dim=1), streams)


def _others(parts: Mapping[str, Tensor], name: str) -> Tensor:
    return torch.cat([part for other, part in parts.items() if other != name], dim=1)
