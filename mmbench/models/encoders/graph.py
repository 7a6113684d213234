"""Encoder of graphs: a token for each node, and one for all that leaves it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._tokens import with_a_key
from mmbench.models.layers import FeedForward
from mmbench.spec import Decay
from mmbench.types import Links, Modality


class Graph(Encoder):
    """Nodes by themselves, and their edges twice: as edges, and as tokens.

    The first N tokens are the nodes; each knows nothing but its own numbers. What sends messages
    takes them, and the edges from `links`. N further tokens tell the edges to what knows tokens
    only: token N + i says who node i is and whom it points at by which relation (the numbers of
    those, added up, through weights of the relation's own), and is there if node i points at
    anybody. With them a Transformer hears of every edge, as in Kim et al. 2022 (arXiv:2207.02505),
    whose tokens are one an edge and name their ends by random directions; here ends are named by
    their own numbers. In whatever order nodes come, each gets the same tokens.

    Args:
        modality: ``graph`` [1 + R, N, W], see `mmbench.types.Links`; R at least 1, W at least N.
        width: D.
        hidden: Width between the two layers that every token passes; D if 0.
        dropout: Probability between these.
    """

    kinds = ("graph",)
    usual_for = ("graph",)

    def __init__(
        self, modality: Modality, width: int, hidden: int = 0, dropout: Decay = 0.0
    ) -> None:
        super().__init__()
        shape = modality.shape
        if len(shape) != 3 or shape[0] < 2 or shape[2] < max(shape[1], 2):
            raise ValueError(
                f"a graph of shape {list(shape)}: expected [1 + R, N, W], R kinds of edge, at "
                f"least 1, N nodes, and rows of W numbers, at least N and 2"
            )
        planes, self.nodes, numbers = shape
        self.node = nn.Linear(numbers - 1, width)
        self.tail = nn.Linear(numbers - 1, width)
        self.heads = nn.Linear((planes - 1) * (numbers - 1), width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.mix = FeedForward(width, hidden or width, dropout)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, 1 + R, N, W] -> [B, 2 N, D]; see `Encoder.forward`."""
        names, points = self._read(x)
        there = names > 0
        about = torch.where(there[..., None], x[:, 0, :, 1:], 0).float()  # [B, N, W - 1]
        aims = points.float() @ about[:, None]  # [B, R, N, W - 1]
        aims = self.heads(aims.transpose(1, 2).flatten(2))
        tokens = torch.cat([self.node(about), self.tail(about) + aims], dim=1)
        mask = torch.cat([there, points.any(dim=1).any(dim=-1)], dim=1)
        return tokens + self.mix(self.norm(tokens)), with_a_key(mask)

    def links(self, x: Tensor, mask: Tensor) -> Links:
        """Return who is who, and who points at whom; see `Encoder.links`."""
        names, points = self._read(x)
        return Links(points.transpose(2, 3), names)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return names [B, N] and edges [B, R, N, N], True where i points at j: both are there."""
        names = x[:, 0, :, 0].long()
        there = names > 0
        points = x[:, 1:, :, : self.nodes] > 0.5
        return names, points & there[:, None, :, None] & there[:, None, None, :]
