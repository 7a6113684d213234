"""Graph fusion by sums over neighbours: h_i' = s(sum over j in N(i) of W h_j + b)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.graphs import GraphStack, as_nodes, normalised, with_self
from mmbench.models.joint import of_tokens
from mmbench.spec import Count, Decay
from mmbench.types import Fused, Modality, Stream


class GraphNeighbourSum(Fusion):
    """Add up what all neighbours say: h_i' = s(sum_{j in N(i)} W h_j + b), s = ReLU.

    Nothing is divided by the number of neighbours, so a node with many of them hears much. Nodes
    are the tokens of all modalities; a token's neighbours are the one before it, the one after it,
    and those of all other modalities. Around each layer stands what stands around attention in a
    Transformer: norm, residual (all that a node keeps of itself) and feed-forward part.

    A modality that is a graph has its own edges instead, of whatever kind: relations are not told
    apart (`mmbench.models.graphs.edges_of`; `rgcn` does).

    Args:
        modalities: Their names.
        width: D.
        self_loops: Whether a node is its own neighbour; the rule as it is written has none.
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
        self_loops: bool = False,
        depth: Count = 2,
        nearest: Count = 0,
        residual: bool = True,
        dropout: Decay = 0.0,
        inputs: Mapping[str, Modality] | None = None,
    ) -> None:
        super().__init__()
        layers = [_Layer(width, self_loops) for _ in range(depth)]
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
    """s(sum_{j in N(i)} W h_j + b)."""

    def __init__(self, width: int, self_loops: bool) -> None:
        super().__init__()
        self.self_loops = self_loops
        self.weight = nn.Linear(width, width, bias=False)
        # Twenty neighbours and more are added up: each has to speak softly at first.
        nn.init.normal_(self.weight.weight, std=0.1 * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Send messages: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        adjacency = edges.any(dim=1)
        if self.self_loops:
            adjacency = with_self(adjacency)
        heard: Tensor = normalised(adjacency, "none") @ self.weight(nodes) + self.bias
        return heard.relu()
