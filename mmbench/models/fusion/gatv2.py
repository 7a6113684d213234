"""Graph fusion by dynamic graph attention (GATv2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.graphs import GraphStack, as_nodes, with_self
from mmbench.models.joint import of_tokens
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Fused, Modality, Stream


class GATv2(Fusion):
    """Weigh neighbours by attention, e_ij = a . LeakyReLU(W_l h_i + W_r h_j).

    h_i' = s(sum_j alpha_ij W_r h_j), alpha the softmax of e over i and its neighbours, s = ReLU:
    Brody, Alon and Yahav 2022, arXiv:2105.14491. Unlike the first graph attention network
    (arXiv:1710.10903), whose order of neighbours is the same for every node, what is asked changes
    what is heard. Nodes are the tokens of all modalities; a token's neighbours are the one before
    it, the one after it, and those of all other modalities. Departs from the paper: around each
    layer stands what stands around attention in a Transformer (norm, residual, feed-forward part);
    no dropout on alpha.

    A modality that is a graph has its own edges instead, of whatever kind: relations are not told
    apart (`mmbench.models.graphs.edges_of`; `rgcn` does).

    Args:
        modalities: Their names.
        width: D.
        heads: Attention heads; their D / `heads` numbers each lie side by side.
        slope: Of the LeakyReLU below 0.
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
        heads: Positive = 4,
        slope: float = 0.2,
        depth: Count = 2,
        nearest: Count = 0,
        residual: bool = True,
        dropout: Decay = 0.0,
        inputs: Mapping[str, Modality] | None = None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        layers = [_Layer(width, heads, slope) for _ in range(depth)]
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
    """s of the attention-weighted sum over a node and its neighbours."""

    def __init__(self, width: int, heads: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.hearer = nn.Linear(width, width)  # W_l
        self.speaker = nn.Linear(width, width)  # W_r
        self.attention = nn.Parameter(torch.empty(heads, width // heads))  # a
        self.bias = nn.Parameter(torch.zeros(width))
        for layer in (self.hearer, self.speaker):
            nn.init.normal_(layer.weight, std=width**-0.5)
            nn.init.zeros_(layer.bias)
        # Scores of about unit variance from the start, so that neighbours are not heard alike.
        nn.init.normal_(self.attention, std=(width // heads) ** -0.5)

    def weights(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Return alpha [B, N, N, H]: how much node i listens to node j, head by head."""
        parts = zip(
            self.hearer(nodes).chunk(len(self.attention), dim=-1),
            self.speaker(nodes).chunk(len(self.attention), dim=-1),
            self.attention,
            strict=True,
        )
        # Head by head: N x N pairs of all D numbers at once are four times as slow.
        each = [
            F.leaky_relu(hearer[:, :, None] + speaker[:, None], self.slope, inplace=True) @ a
            for hearer, speaker, a in parts
        ]
        scores = torch.stack(each, dim=-1)
        heard = with_self(edges.any(dim=1))
        alpha: Tensor = scores.masked_fill(~heard[..., None], -torch.inf).softmax(dim=2)
        return alpha

    def attend(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Return what is inside of s: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        values = self.speaker(nodes).unflatten(2, self.attention.shape)
        heard = torch.einsum("bijh,bjhd->bihd", self.weights(nodes, edges), values)
        return heard.flatten(2) + self.bias

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Send messages: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        return self.attend(nodes, edges).relu()
