"""Graph fusion by the first graph attention network (GAT), whose attention is static."""

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


class GAT(Fusion):
    """Weigh neighbours by attention, e_ij = LeakyReLU(a_l . W h_i + a_r . W h_j).

    h_i' = s(sum_j alpha_ij W h_j), alpha the softmax of e over i and its neighbours, s = ReLU:
    Velickovic et al. 2018, arXiv:1710.10903. What i asks and what j offers are added up as numbers,
    so the order of neighbours is the same for every node: the nonlinearity cannot change it. It is
    here to be compared with `gatv2`, which mends that. Nodes are the tokens of all modalities; a
    token's neighbours are the one before it, the one after it, and those of all other modalities.
    Departs from the paper: ReLU for ELU; around each layer stands what stands around attention in a
    Transformer (norm, residual, feed-forward part); no dropout on alpha.

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
        self.weight = nn.Linear(width, width, bias=False)  # W
        self.hearer = nn.Parameter(torch.empty(heads, width // heads))  # a_l
        self.speaker = nn.Parameter(torch.empty(heads, width // heads))  # a_r
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.weight.weight, std=width**-0.5)
        # Scores of about unit variance from the start, so that neighbours are not heard alike.
        for part in (self.hearer, self.speaker):
            nn.init.normal_(part, std=(width // heads) ** -0.5)

    def weights(self, values: Tensor, edges: Tensor) -> Tensor:
        """Return alpha [B, N, N, H] of values W h [B, N, H, D/H]: how much i listens to j."""
        asks = (values * self.hearer).sum(dim=-1)
        offers = (values * self.speaker).sum(dim=-1)
        scores = F.leaky_relu(asks[:, :, None] + offers[:, None], self.slope)
        heard = with_self(edges.any(dim=1))
        alpha: Tensor = scores.masked_fill(~heard[..., None], -torch.inf).softmax(dim=2)
        return alpha

    def attend(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Return what is inside of s: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        values = self.weight(nodes).unflatten(2, self.hearer.shape)
        heard = torch.einsum("bijh,bjhd->bihd", self.weights(values, edges), values)
        return heard.flatten(2) + self.bias

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Send messages: nodes [B, N, D], edges [B, R, N, N] -> [B, N, D]."""
        return self.attend(nodes, edges).relu()
