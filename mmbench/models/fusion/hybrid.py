"""Hybrid fusion: each modality decides, all together decide, and a gate weighs the decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmbench.models.clock import timeline
from mmbench.models.contract import Fusion
from mmbench.models.layers import Tower
from mmbench.spec import Count, Decay
from mmbench.types import Branch, Fused, Stream


class Hybrid(Fusion):
    """The branches of late fusion and the one of early fusion by tokens.

    With a combiner whose gate sees the joint branch, the weights say which modality spoke: for a
    caption, at every word.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers of the joint encoder.
        own_depth: Layers of each modality's own encoder; with 0 its branch hears the tokens as
            they come.
        dropout: Probability on residual branches.
        summary: How tokens are summed up for heads that read one vector; see `Tower`.
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
        dropout: Decay = 0.0,
        summary: str = "mean",
    ) -> None:
        super().__init__()
        self.types = nn.ParameterDict({m: torch.randn(width) for m in modalities})
        self.towers = nn.ModuleDict(
            {m: Tower(width, own_depth, dropout=dropout, summary=summary) for m in modalities}
        )
        self.joint = Tower(width, depth, dropout=dropout, summary=summary)

    @property
    def branches(self) -> Sequence[str]:
        """``joint``, then one per modality by its name."""
        return ("joint", *self.towers)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> M + 1 branches."""
        tokens = torch.cat([s.x + self.types[name] for name, s in streams.items()], dim=1)
        mask = torch.cat([s.mask for s in streams.values()], dim=1)
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        seq, pooled = self.joint.read(tokens, mask)
        branches = [Branch("joint", seq, mask, pooled, present, *timeline(streams))]
        for name, stream in streams.items():
            tower = self.towers[name]
            assert isinstance(tower, Tower)
            own, pooled = tower.read(stream.x, stream.mask)
            here = stream.present
            branches.append(Branch(name, own, stream.mask, pooled, here, stream.time))
        return Fused(branches)
