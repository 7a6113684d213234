"""Graphs over the tokens of all modalities, and the layers that send messages along their edges.

A node is a token. A graph is its edges ``[B, R, N, N]``, R kinds of edge: ``edges[b, r, i, j]`` is
True where node j speaks to node i of item b. Dense: at the sizes of fusion, tens of nodes of which
most are neighbours, one matrix product beats lists of edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmbench.models.layers import FeedForward, drop
from mmbench.types import Stream

#: How an adjacency matrix is normalised.
Norm = Literal["none", "row", "sym"]


def relations(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of edge of a graph over these modalities, in the order of `edges_of`.

    ``next``: from a token to the one after it. ``previous``: to the one before it. ``cross``:
    between tokens of two modalities; none where there is one modality only.
    """
    return ("next", "previous", "cross")[: 3 if len(modalities) > 1 else 2]


def edges_of(streams: Sequence[Stream], nearest: int = 0) -> Tensor:
    """Join tokens with their neighbours: -> [B, R, N, N] bool, N the sum of all T_m.

    What is masked has no edge. An absent modality is one node, its null token.

    Args:
        streams: Modalities whose tokens lie one after the other.
        nearest: Cross-modal neighbours of a token in each other modality, those nearest in time
            (an edge counts for both ends, and of equally near ones all do); 0: all of them.
    """
    mask = torch.cat([stream.mask for stream in streams], dim=1)
    both = mask[:, :, None] & mask[:, None, :]
    counts = torch.tensor([stream.x.shape[1] for stream in streams], device=mask.device)
    owner = torch.arange(len(streams), device=mask.device).repeat_interleave(counts)
    same = owner[:, None] == owner
    order = torch.arange(len(owner), device=mask.device)
    after = same & (order[:, None] == order + 1)  # i comes after j
    kinds = [after & both, after.T & both]
    if len(streams) > 1:
        near = near_in_time(streams, nearest) if nearest else torch.ones_like(both)
        kinds.append(~same & both & near)
    return torch.stack(kinds, dim=1)


def near_in_time(streams: Sequence[Stream], count: int) -> Tensor:
    """Return [B, N, N] bool, symmetric: of each modality the `count` tokens nearest in time."""
    rows = []
    for one in streams:
        blocks = []
        for other in streams:
            apart = (one.time[:, :, None] - other.time[:, None, :]).abs()
            apart = apart.masked_fill(~other.mask[:, None, :], torch.inf)
            kept = min(count, apart.shape[2])
            blocks.append(apart <= apart.topk(kept, largest=False).values[..., -1:])
        rows.append(torch.cat(blocks, dim=2))
    near = torch.cat(rows, dim=1)
    return near | near.transpose(1, 2)


def normalised(adjacency: Tensor, norm: Norm) -> Tensor:
    """Return A (``none``), D^-1 A (``row``) or D^-1/2 A D^-1/2 (``sym``) of A [B, N, N] bool.

    D holds the number of nodes that speak to each; one that hears nobody keeps a row of zeros.
    """
    weights = adjacency.float()
    if norm == "none":
        return weights
    degree = weights.sum(dim=2).clamp(min=1.0)
    if norm == "row":
        return weights / degree[:, :, None]
    return weights * degree.rsqrt()[:, :, None] * degree.rsqrt()[:, None, :]


def with_self(adjacency: Tensor) -> Tensor:
    """Let every node speak to itself: A + I of A [B, N, N] bool."""
    return adjacency | torch.eye(adjacency.shape[1], dtype=torch.bool, device=adjacency.device)


class GraphStack(nn.Module):
    """Lays a graph over the tokens of all modalities and sends them through layers.

    A step is a Transformer's, with a graph layer in the place of attention: the layer reads
    normalised nodes and adds what it says to them, then a feed-forward network does so node by
    node. With ``residual = False`` what the layer says replaces the nodes.

    Args:
        modalities: Their names.
        width: D.
        layers: Modules that take nodes [B, N, D] and edges [B, R, N, N] and return [B, N, D].
        nearest: See `edges_of`.
        residual: Whether layers add to the nodes or replace them.
        dropout: Probability on what is added.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        layers: Sequence[nn.Module],
        nearest: int = 0,
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if nearest < 0:
            raise ValueError(f"nearest = {nearest}: expected 0 (all tokens) or more")
        self.nearest = nearest
        self.residual = residual
        self.types = nn.ParameterDict({m: torch.randn(width) for m in modalities})
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in layers)
        self.own_norms = nn.ModuleList(nn.LayerNorm(width) for _ in layers)
        self.own = nn.ModuleList(FeedForward(width, 2 * width) for _ in layers)
        self.dropout = drop(dropout)

    def forward(self, streams: Mapping[str, Stream]) -> tuple[Tensor, Tensor]:
        """Return the nodes [B, N, D] after the last layer, and their mask [B, N]."""
        nodes = torch.cat([streams[m].x + mark for m, mark in self.types.items()], dim=1)
        mask = torch.cat([streams[m].mask for m in self.types], dim=1)
        edges = edges_of([streams[m] for m in self.types], self.nearest)
        nodes = nodes.masked_fill(~mask[..., None], 0.0)
        for norm, layer, own_norm, own in zip(
            self.norms, self.layers, self.own_norms, self.own, strict=True
        ):
            said = self.dropout(layer(norm(nodes), edges))
            nodes = nodes + said if self.residual else said
            nodes = nodes + self.dropout(own(own_norm(nodes)))
        return nodes, mask
