"""Graphs over the tokens of all modalities, and the layers that send messages along their edges.

A node is a token, or of a modality that is a graph one of its nodes. A graph is its edges
``[B, R, N, N]``, R kinds of edge: ``edges[b, r, i, j]`` is True where node j speaks to node i of
item b. Dense: at the sizes of fusion, tens of nodes of which most are neighbours, one matrix
product beats lists of edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.layers import FeedForward, drop
from mmbench.types import Modality, Stream

#: How an adjacency matrix is normalised.
Norm = Literal["none", "row", "sym"]


def relations(
    modalities: Sequence[str], inputs: Mapping[str, Modality] | None = None
) -> tuple[str, ...]:
    """Return the kinds of edge of a graph over these modalities, in the order of `edges_of`.

    ``next``: from a token to the one after it. ``previous``: to the one before it. ``cross``:
    between tokens of two modalities; none where there is one modality only. Where a modality is a
    graph, too: ``same``, between nodes that are one thing, and its own kinds, ``relation 1`` to R.

    Args:
        modalities: Their names.
        inputs: What one item of each looks like; None: none is a graph.
    """
    own = max([(inputs or {})[m].relations for m in modalities if m in (inputs or {})], default=0)
    told = ("same", *(f"relation {r + 1}" for r in range(own))) if own else ()
    return ("next", "previous", "cross")[: 3 if len(modalities) > 1 else 2] + told


def as_nodes(streams: Mapping[str, Stream]) -> dict[str, Stream]:
    """Return streams whose tokens are nodes: of a graph, without those that tell its edges."""
    return {name: _nodes(stream) for name, stream in streams.items()}


def _nodes(stream: Stream) -> Stream:
    if stream.links is None or not stream.links.graph:
        return stream
    count = stream.links.edges.shape[-1]
    cut = {n: getattr(stream, n)[:, :count] for n in ("x", "mask", "time")}
    return replace(stream, **cut)


def edges_of(streams: Sequence[Stream], nearest: int = 0, own: int = 0) -> Tensor:
    """Join tokens with their neighbours: -> [B, R, N, N] bool, N the sum of all T_m.

    What is masked has no edge. An absent modality is one node, its null token. Only tokens that
    follow one another have a next one. Two graphs meet in what is one thing in both, and an edge
    that one of them tells holds for that thing wherever it is: messages go along the *union* of the
    graphs, one hop a layer, whichever told the hop. A word that names a thing is that thing, too.

    Args:
        streams: Modalities whose tokens lie one after the other.
        nearest: Cross-modal neighbours of a token in each other modality, those nearest in time
            (an edge counts for both ends, and of equally near ones all do); 0: all of them.
        own: Relations that graphs among them have, at most; 0: there is no graph.
    """
    mask = torch.cat([stream.mask for stream in streams], dim=1)
    both = mask[:, :, None] & mask[:, None, :]
    counts = torch.tensor([stream.x.shape[1] for stream in streams], device=mask.device)
    owner = torch.arange(len(streams), device=mask.device).repeat_interleave(counts)
    same = owner[:, None] == owner
    order = torch.arange(len(owner), device=mask.device)
    after = same & (order[:, None] == order + 1)  # i comes after j
    if any(stream.links is not None for stream in streams):
        rows = [stream.links is None or stream.links.line for stream in streams]
        line = torch.tensor(rows, device=mask.device)
        after = after & line[owner]
    kinds = [after & both, after.T & both]
    if len(streams) > 1:
        near = near_in_time(streams, nearest) if nearest else torch.ones_like(both)
        if own:  # two graphs meet by name instead
            graph = torch.tensor([_is_graph(stream) for stream in streams], device=mask.device)
            near = near & ~(graph[owner][:, None] & graph[owner])
        kinds.append(~same & both & near)
    if own:
        one, told = _union(streams, own)
        kinds.append(one & both & (order[:, None] != order))
        kinds.extend((told & both[:, None]).unbind(dim=1))
    return torch.stack(kinds, dim=1)


def _is_graph(stream: Stream) -> bool:
    return stream.links is not None and stream.links.graph


def _union(streams: Sequence[Stream], own: int) -> tuple[Tensor, Tensor]:
    """Return which nodes are one thing [B, N, N], each with itself, and all edges [B, R, N, N]."""
    names, blocks = [], []
    total = sum(stream.x.shape[1] for stream in streams)
    start = 0
    for stream in streams:
        count = stream.x.shape[1]
        end = total - start - count
        if stream.links is None or stream.links.names is None:
            names.append(torch.zeros_like(stream.mask, dtype=torch.int64))
        else:
            # An absent graph is its null token, which is nobody.
            there = stream.mask & stream.present[:, None]
            names.append(torch.where(there, stream.links.names, 0))
            if stream.links.graph:
                edges = stream.links.edges.float()
                blocks.append(F.pad(edges, (start, end, start, end, 0, own - edges.shape[1])))
        start += count
    who = torch.cat(names, dim=1)
    one = (who[:, :, None] == who[:, None, :]) & (who > 0)[:, :, None]
    spread = one.float()[:, None]
    told = sum(blocks[1:], blocks[0])
    return one, (spread @ told @ spread) > 0


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
        inputs: What one item of each modality looks like; None: none is a graph.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        layers: Sequence[nn.Module],
        nearest: int = 0,
        residual: bool = True,
        dropout: float = 0.0,
        inputs: Mapping[str, Modality] | None = None,
    ) -> None:
        super().__init__()
        self.relations = max([m.relations for m in (inputs or {}).values()], default=0)
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
        """Return the nodes [B, N, D] after the last layer, and their mask [B, N].

        Args:
            streams: Whose tokens are nodes, see `as_nodes`.
        """
        nodes = torch.cat([streams[m].x + mark for m, mark in self.types.items()], dim=1)
        mask = torch.cat([streams[m].mask for m in self.types], dim=1)
        edges = edges_of([streams[m] for m in self.types], self.nearest, self.relations)
        nodes = nodes.masked_fill(~mask[..., None], 0.0)
        for norm, layer, own_norm, own in zip(
            self.norms, self.layers, self.own_norms, self.own, strict=True
        ):
            said = self.dropout(layer(norm(nodes), edges))
            nodes = nodes + said if self.residual else said
            nodes = nodes + self.dropout(own(own_norm(nodes)))
        return nodes, mask
