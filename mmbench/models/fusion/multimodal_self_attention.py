"""Intermediate fusion: each modality asks with its own query all modalities at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import of_tokens
from mmbench.models.layers import Attention, FeedForward, drop, quiet
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Fused, Stream


class MultimodalSelfAttention(Fusion):
    """Multimodal self-attention: queries of one modality, keys and values of all.

    h_m <- h_m + softmax(Q_m [K_1; ...; K_M]' / sqrt(d)) [V_1; ...; V_M], then a feed-forward part;
    the scaled dot product is that of Vaswani et al. 2017 (arXiv:1706.03762). Queries, keys, values
    and feed-forward parts belong to a modality, so no modality shares a weight with another.
    Adds to the formula what makes it train: several heads with an output projection, norms before
    both parts.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers.
        heads: Attention heads.
        dropout: Probability on residual branches.
    """

    timed = True
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        depth: Count = 1,
        heads: Positive = 4,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.layers = nn.ModuleList(_Layer(modalities, width, heads, dropout) for _ in range(depth))

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m, D]."""
        tokens = {name: streams[name].x for name in self.modalities}
        mask = torch.cat([streams[name].mask for name in self.modalities], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        return of_tokens(torch.cat(list(tokens.values()), dim=1), mask, streams)


class _Layer(nn.Module):
    def __init__(self, modalities: Sequence[str], width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({m: nn.LayerNorm(width) for m in modalities})
        self.attention = nn.ModuleDict({m: quiet(Attention(width, heads)) for m in modalities})
        self.norms_forward = nn.ModuleDict({m: nn.LayerNorm(width) for m in modalities})
        self.forward_parts = nn.ModuleDict(
            {m: FeedForward(width, 2 * width, dropout) for m in modalities}
        )
        self.dropout = drop(dropout)

    def forward(self, tokens: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        """Let each modality [B, T_m, D] attend to all; mask [B, sum of T_m], in their order."""
        normed = {name: self.norms[name](x) for name, x in tokens.items()}
        pairs = [self._attention(name).keys_values(x) for name, x in normed.items()]
        keys, values = (torch.cat(parts, dim=2) for parts in zip(*pairs, strict=True))
        changed = {}
        for name, x in tokens.items():
            heard = self._attention(name).attend(normed[name], keys, values, mask)
            x = x + self.dropout(heard)
            more = self.forward_parts[name](self.norms_forward[name](x))
            changed[name] = x + self.dropout(more)
        return changed

    def _attention(self, name: str) -> Attention:
        found = self.attention[name]
        assert isinstance(found, Attention)
        return found
