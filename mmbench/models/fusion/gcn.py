"""Graph fusion by graph convolutions (GCN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.graphs import GraphStack, as_nodes, normalised, with_self
from mmbench.models.joint import of_tokens
from mmbench.spec import Count, Decay
from mmbench.types import Fused, Modality, Stream


class GCN(Fusion):
    """Average over neighbours, weighed by degree: H' = s(D^-1/2 (A + I) D^-1/2 H W + b).

    Kipf and Welling 2017, arXiv:1609.02907, s = ReLU and D the degrees of A + I. Nodes are the
    tokens of all modalities; a token's neighbours are the one before it, the one after it, and
    those of all other modalities. Departs from the paper: a bias, and around each layer what
    stands around attention in a Transformer: norm, residual, feed-forward part.

    A modality that is a graph has its own edges instead, of whatever kind: relations are not told
    apart (`mmbench.models.graphs.edges_of`; `rgcn` does).

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
        layers = [_Layer(width) for _ in range(depth)]
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
    """s(D^-1/2 (A + I) D^-1/2 H W + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def convolve(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Return what is inside of s: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        weights = normalised(with_self(edges.any(dim=1)), "sym")
        heard: Tensor = weights @ self.weight(nodes) + self.bias
        return heard

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Send messages: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        return self.convolve(nodes, edges).relu()
