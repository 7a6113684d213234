"""Graph fusion by the plain rule: H' = s(A H W)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.graphs import GraphStack, Norm, as_nodes, normalised, with_self
from mmbench.models.joint import of_tokens
from mmbench.spec import Count, Decay
from mmbench.types import Fused, Modality, Stream


class GraphPlain(Fusion):
    """Multiply nodes by the adjacency matrix and by weights: H' = s(A H W), s = ReLU.

    The rule from which graph convolutions are usually explained; with ``norm = "none"`` each layer
    is that formula, letter by letter. Nodes are the tokens of all modalities; a token's neighbours
    are the one before it, the one after it, and those of all other modalities. Around each layer
    stand what stands around attention in a Transformer: norm, residual, feed-forward part.

    A modality that is a graph has its own edges instead, of whatever kind: relations are not told
    apart (`mmbench.models.graphs.edges_of`; `rgcn` does).

    Args:
        modalities: Their names.
        width: D.
        norm: ``none`` (A as it is), ``row`` (the mean of neighbours) or ``sym`` (as `gcn`).
        self_loops: Whether a node is its own neighbour (A + I in place of A).
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
        norm: Norm = "row",
        self_loops: bool = True,
        depth: Count = 2,
        nearest: Count = 0,
        residual: bool = True,
        dropout: Decay = 0.0,
        inputs: Mapping[str, Modality] | None = None,
    ) -> None:
        super().__init__()
        layers = [_Layer(width, norm, self_loops) for _ in range(depth)]
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
    """s(A H W)."""

    def __init__(self, width: int, norm: Norm, self_loops: bool) -> None:
        super().__init__()
        self.norm: Norm = norm
        self.self_loops = self_loops
        self.weight = nn.Linear(width, width, bias=False)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Send messages: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        adjacency = edges.any(dim=1)
        if self.self_loops:
            adjacency = with_self(adjacency)
        heard: Tensor = normalised(adjacency, self.norm) @ self.weight(nodes)
        return heard.relu()
