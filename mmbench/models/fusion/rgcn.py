"""Graph fusion by relational graph convolutions (R-GCN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.graphs import GraphStack, as_nodes, normalised, relations
from mmbench.models.joint import of_tokens
from mmbench.spec import Count, Decay
from mmbench.types import Fused, Modality, Stream


class RGCN(Fusion):
    """Average over the neighbours of each kind, each kind with its own weights.

    h_i' = s(W_0 h_i + sum_r mean_{j in N_r(i)} W_r h_j), s = ReLU: Schlichtkrull et al. 2018,
    arXiv:1703.06103. Nodes are the tokens of all modalities;
    the kinds of edge r are *from the token before*, *from the token after* and *from another
    modality*, and those of modalities that are graphs (`mmbench.models.graphs.relations`), each
    with weights of its own. Departs from the paper: a bias, no decomposition into bases (there are
    a few kinds, not hundreds), no inverse of a relation (data that want it tell it), and around
    each layer what stands around attention in a Transformer: norm, residual, feed-forward part.

    Args:
        modalities: Their names.
        width: D.
        depth: Layers.
        nearest: Neighbours in each other modality, nearest in time; 0: all its tokens.
        residual: Whether layers add to nodes or replace them.
        dropout: Probability on what a layer says.
        inputs: Modality -> what one item looks like; None: none is a graph.
    """

    timed = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        depth: Count = 2,
        nearest: Count = 0,
        residual: bool = True,
        dropout: Decay = 0.0,
        inputs: Mapping[str, Modality] | None = None,
    ) -> None:
        super().__init__()
        layers = [_Layer(width, len(relations(modalities, inputs))) for _ in range(depth)]
        self.stack = GraphStack(modalities, width, layers, nearest, residual, dropout, inputs)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m, D], its nodes."""
        streams = as_nodes(streams)
        nodes, mask = self.stack(streams)
        return of_tokens(nodes, mask, streams)


class _Layer(nn.Module):
    """s(W_0 h_i + sum_r mean_{j in N_r(i)} W_r h_j + b)."""

    def __init__(self, width: int, kinds: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)  # W_0 and b
        self.weight = nn.Parameter(torch.randn(kinds, width, width) * width**-0.5)

    def convolve(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Return what is inside of s: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        total: Tensor = self.own(nodes)
        for kind, weight in enumerate(self.weight):
            total = total + normalised(edges[:, kind], "row") @ (nodes @ weight)
        return total

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Send messages: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        return self.convolve(nodes, edges).relu()
