"""Encoder of sets of points: each point and the company it is in, summed up by a few queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._tokens import Tokens, with_a_key
from mmbench.models.layers import Attention, FeedForward, pool
from mmbench.spec import Decay, Positive
from mmbench.types import Modality


class PointEncoder(Encoder):
    """Tokens of a set: in whatever order its points come, they are the same.

    Each point passes a network beside the mean of all (Zaheer et al. 2017, arXiv:1703.06114);
    learned queries then attend to all points, each making one token of what it looks for (pooling
    by attention, Lee et al. 2019, arXiv:1810.00825). Beside the paper's, one round of company and
    no network on the queries. The squares of coordinates are given too: distances, which tell most
    of what a set of points shows, are then sums.

    Args:
        modality: ``points`` [N, d], N points at most.
        width: D.
        tokens: How many tokens a set becomes.
        depth: Rounds in which points hear of the others.
        dropout: Probability inside of the networks.
    """

    kinds = ("points",)
    usual_for = ("points",)

    def __init__(
        self,
        modality: Modality,
        width: int,
        tokens: Positive = 4,
        depth: Positive = 2,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.points = Tokens(Modality("points", (modality.shape[0], 2 * modality.shape[1])), width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.own = nn.ModuleList(FeedForward(width, width, dropout) for _ in range(depth))
        self.company = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.queries = nn.Parameter(torch.randn(tokens, width) * 0.5)
        self.heard = nn.LayerNorm(width)
        self.gather = Attention(width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, N, d]; see `Encoder.forward`."""
        x = x.float()
        points, mask = self.points(torch.cat([x, x.square()], dim=-1), lengths)
        for norm, own, company in zip(self.norms, self.own, self.company, strict=True):
            normed = norm(points)
            points = points + own(normed + company(pool(normed, mask))[:, None])
        queries = self.queries.expand(len(x), -1, -1)
        found = queries + self.gather(queries, self.heard(points), with_a_key(mask))
        # A set without points has no token.
        return found, mask.any(dim=1, keepdim=True).expand(-1, found.shape[1])
