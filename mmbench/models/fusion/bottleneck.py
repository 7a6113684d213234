"""Intermediate fusion: modalities meet only in a few tokens that all of them share (MBT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmbench.models.attention import quiet_block
from mmbench.models.contract import Fusion
from mmbench.models.joint import encode, of_tokens, own_towers
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Fused, Stream


class Bottleneck(Fusion):
    """Let all that one modality learns of another pass through B tokens.

    Multimodal Bottleneck Transformer (Nagrani et al. 2021, arXiv:2107.00135): in every layer each
    modality's own block encodes its tokens beside the shared ones, [h_m || z_m] = Block_m([h_m ||
    z]), and the shared tokens become the mean, z = mean_m z_m. Departs from the paper: the maximum
    over all tokens, the shared ones among them, sums up (`mmbench.models.joint.of_tokens`) instead
    of a class token of each modality.

    Args:
        modalities: Their names.
        width: D.
        tokens: B.
        depth: Layers with the bottleneck; from the second on a modality hears the others.
        own_depth: Layers of each modality's own encoder before them.
        heads: Attention heads.
        dropout: Probability on residual branches.
    """

    timed = True
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        tokens: Positive = 4,
        depth: Count = 2,
        own_depth: Count = 0,
        heads: Positive = 4,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, own_depth, dropout)
        self.shared = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict({m: quiet_block(width, heads, dropout) for m in modalities})
            for _ in range(depth)
        )

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m + B, D]."""
        tokens = encode(self.towers, streams)
        some = next(iter(streams.values())).mask
        real = some.new_ones(len(some), len(self.shared))
        shared = self.shared.expand(len(some), -1, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            said = []
            for name, block in layer.items():
                both = torch.cat([tokens[name], shared], dim=1)
                both = block(both, torch.cat([streams[name].mask, real], dim=1))
                tokens[name] = both[:, : -len(self.shared)]
                said.append(both[:, -len(self.shared) :])
            shared = torch.stack(said).mean(dim=0)
        seqs, masks = list(tokens.values()), [streams[name].mask for name in tokens]
        if clock == "pool":  # the shared tokens are at no time
            seqs, masks = [*seqs, shared], [*masks, real]
        return of_tokens(torch.cat(seqs, dim=1), torch.cat(masks, dim=1), streams)
