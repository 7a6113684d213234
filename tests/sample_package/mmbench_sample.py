"""A fusion that comes with a package of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmbench.models import Branch, Fused, Fusion, Stream
from mmbench.models.layers import pool


class SampleMean(Fusion):
    """The mean of the modalities that are there, after a layer each.

    Args:
        modalities: Their names.
        width: D.
        bias: Whether the layers have one.
    """

    def __init__(self, modalities: Sequence[str], width: int, bias: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({m: nn.Linear(width, width, bias) for m in modalities})

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m, D]."""
        tokens = {name: layer(streams[name].x) for name, layer in self.layers.items()}
        masks = {name: streams[name].mask for name in tokens}
        means = [pool(x, masks[name]) for name, x in tokens.items()]
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        seq, mask = torch.cat(list(tokens.values()), dim=1), torch.cat(list(masks.values()), dim=1)
        return Fused([Branch("joint", seq, mask, torch.stack(means).mean(dim=0), present)])
