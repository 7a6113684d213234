"""Intermediate fusion: a crossmodal Transformer for every ordered pair of modalities (MulT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.attention import CrossBlock
from mmbench.models.contract import Fusion
from mmbench.models.joint import Own, of_tokens
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Fused, Stream


class Crossmodal(Fusion):
    """Let every modality be translated into every other, then encode what each has heard.

    Multimodal Transformer (Tsai et al. 2019, arXiv:1906.00295): for each ordered pair of different
    modalities, source -> target, `depth` layers in which the target's tokens attend to the
    source's; the target's results over all sources are put side by side and encoded by
    self-attention. There is no pair of a modality with itself. Departs from the paper: the
    encoders take the place of its convolutions and positions; padding is masked; each target's
    (M - 1) D numbers are projected to D, so that its tokens can be a memory; the maximum
    over all tokens sums up (`mmbench.models.joint.of_tokens`) instead of each target's last one,
    which is padding in a short item.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers of each crossmodal Transformer.
        self_depth: Layers of self-attention after it.
        heads: Attention heads.
        expansion: Width of the crossmodal feed-forward parts, in multiples of D.
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
        self_depth: Count = 1,
        heads: Positive = 4,
        expansion: Positive = 2,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()

        def stack() -> nn.ModuleList:
            blocks = (CrossBlock(width, heads, expansion * width, dropout) for _ in range(depth))
            return nn.ModuleList(blocks)

        #: Source -> target -> layers.
        self.crossmodal = nn.ModuleDict(
            {s: nn.ModuleDict({t: stack() for t in modalities if t != s}) for s in modalities}
        )
        wide = (len(self.crossmodal) - 1) * width
        self.towers = nn.ModuleDict({m: Own(wide, self_depth, heads, dropout) for m in modalities})
        self.project = nn.ModuleDict({m: nn.Linear(wide, width) for m in modalities})

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m, D]."""
        tokens = {}
        for target, tower in self.towers.items():
            heard = [
                self._translate(streams[source], streams[target].x, stacks[target])  # type: ignore[index]
                for source, stacks in self.crossmodal.items()
                if source != target
            ]
            encoded = tower(torch.cat(heard, dim=-1), streams[target].mask)  # [B, T_m, (M - 1) D]
            tokens[target] = self.project[target](encoded)
        mask = torch.cat([streams[target].mask for target in tokens], dim=1)
        return of_tokens(torch.cat(list(tokens.values()), dim=1), mask, streams)

    @staticmethod
    def _translate(source: Stream, x: Tensor, layers: nn.ModuleList) -> Tensor:
        for block in layers:  # every layer hears the source as it came, as in the paper
            x = block(x, source.x, source.mask)
        return x
