"""Late fusion: each modality decides by itself; only decisions are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from mmbench.models.contract import Fusion
from mmbench.models.layers import Tower
from mmbench.spec import Count, Decay
from mmbench.types import Branch, Fused, Stream


class Late(Fusion):
    """One branch per modality; no feature of one ever meets a feature of another.

    This is decision-level fusion. What other libraries call late fusion, concatenating pooled
    features, is the fusion `concat` here. With a single modality this is a unimodal model.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers of each modality's own encoder.
        dropout: Probability on residual branches.
        summary: How tokens are summed up for heads that read one vector; see `Tower`.
    """

    refuses_merging: Mapping[str, str] = {
        "image": "a decision about a picture is a picture, and a mean of pictures shows none of "
        "them; early, hybrid, concat and cross_attention serve it"
    }
    decision_level = True
    timed = True
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        depth: Count = 1,
        dropout: Decay = 0.0,
        summary: str = "mean",
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(
            {m: Tower(width, depth, dropout=dropout, summary=summary) for m in modalities}
        )

    @property
    def branches(self) -> Sequence[str]:
        """One per modality, by its name."""
        return tuple(self.towers)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> a branch [B, T_m, D] of each."""
        branches = []
        for name, stream in streams.items():
            tower = self.towers[name]
            assert isinstance(tower, Tower)
            seq, pooled = tower.read(stream.x, stream.mask)
            here = stream.present
            branches.append(Branch(name, seq, stream.mask, pooled, here, stream.time))
        return Fused(branches)
