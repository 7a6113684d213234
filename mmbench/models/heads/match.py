"""Head for retrieval: how alike a query and an entry of the gallery are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Additive, Combiner, Head, HeadOut
from mmbench.models.layers import drop
from mmbench.models.whole import gathered
from mmbench.spec import Above0, Count, Decay
from mmbench.types import GALLERY, QUERY, Branch, Output

#: Similarities are at most this many times a cosine.
LARGEST_SCALE = 100.0
LOSSES = ("contrast", "hardest")


class Match(Head):
    """``s <q, t>``: the cosine of two projections of length 1, times a learned scale.

    Two losses, both over the pairs of a batch, in both directions, their mean:

    * ``contrast``: every item has to find its own entry among those of the batch, and every entry
      its item: InfoNCE as in CLIP (van den Oord et al. 2018, arXiv:1807.03748; Radford et al. 2021,
      arXiv:2103.00020), in nats; the scale begins as 1 / `temperature` and is at most 100;
    * ``hardest``: the best wrong entry has to be `margin` less alike than the right one (VSE++,
      Faghri et al. 2018, arXiv:1707.05612); the scale is 1.

    An entry that is right for several items of a batch is wrong for none of them: it stands in no
    sum, and is no hard one. Departs from both papers in that.

    Args:
        output: ``match``.
        width: D.
        size: E, numbers of a projection; D if 0.
        temperature: Of ``contrast``, at the start.
        loss: ``contrast`` or ``hardest``.
        margin: Of ``hardest``, in cosines.
        dropout: Probability before the projection.
    """

    kind = "match"

    def __init__(
        self,
        output: Output,
        width: int,
        size: Count = 0,
        temperature: Above0 = 0.07,
        loss: str = "contrast",
        margin: Above0 = 0.2,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        del output
        if loss not in LOSSES:
            raise ValueError(f"loss = {loss!r}: expected one of {', '.join(LOSSES)}")
        self.query, self.entry = (
            nn.Sequential(nn.LayerNorm(width), drop(dropout), nn.Linear(width, size or width))
            for _ in range(2)
        )
        self.margin = margin if loss == "hardest" else 0.0
        if self.margin:
            self.log_scale: Tensor
            self.register_buffer("log_scale", torch.zeros(()))
        else:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    @property
    def scale(self) -> Tensor:
        """What a cosine is multiplied by, a scalar."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

    def embed(self, branch: Branch, role: str) -> Tensor:
        """Project the branch of one side: [B, E] of length 1, or 0 where it has heard nothing."""
        project = self.entry if role == GALLERY else self.query
        # In full precision: a cosine times 100 needs its digits.
        points = F.normalize(project(branch.pooled).float(), dim=-1)
        return torch.where(branch.present[:, None], points, torch.zeros_like(points))

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Compare B items with the B entries of their partners: answer [B, B].

        Of a batch that several processes share, B are the items of all of them.
        """
        del target
        assert branch.partner is not None
        queries = gathered(self.embed(branch, QUERY))
        entries = gathered(self.embed(branch.partner, GALLERY))
        with torch.autocast(queries.device.type, enabled=False):
            return HeadOut(branch.pooled, self.scale * queries @ entries.T)

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return the loss of similarities [B, B], the same for all that share the batch.

        Args:
            answer: What `forward` said of them.
            target: [B, 1 + R] numbers of entries: the one that stands beside an item, and all that
                are right for it, -1 behind them.
        """
        target = right_ones(gathered(target))
        own = answer.diagonal()
        partner = torch.eye(len(own), dtype=torch.bool, device=answer.device)
        least = torch.finfo(answer.dtype).min
        if self.margin:
            wrong = answer.masked_fill(target | partner, least)
            pair = [(self.margin + wrong.amax(dim=way) - own).clamp(min=0.0) for way in (1, 0)]
        else:
            kept = answer.masked_fill(target & ~partner, least)
            pair = [kept.logsumexp(dim=way) - own for way in (1, 0)]
        return 0.5 * torch.stack(pair).sum(dim=0).mean()

    def read_out(
        self,
        heads: Sequence[Head],
        branches: Sequence[Branch],
        combiner: Combiner,
        options: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Return the column ``embedding`` of one side, [B, K E + 2] float32, and no answers yet.

        The inner product of a query's and an entry's is the sum of their similarities, over the
        most that it can be. What a side lacks stands in a number of its own, which the other side
        has as 0: all vectors have length 1, so that the cosine, by which retrieval is scored, is
        the inner product.

        ``options["role"]`` says which side the branches are of.
        """
        assert isinstance(combiner, Additive)
        role = str(options["role"])
        own = [head for head in heads if isinstance(head, Match)]
        scales = torch.stack([head.scale for head in own]).double()
        shares = combiner.weights().to(scales) * scales
        shares = shares / shares.sum()
        points = [
            share.sqrt() * head.embed(branch, role).double()
            for share, head, branch in zip(shares, own, branches, strict=True)
        ]
        there = torch.stack([branch.present for branch in branches], dim=1).double()  # [B, K]
        lacking = (1.0 - there @ shares).clamp(min=0.0).sqrt()[:, None]
        none = torch.zeros_like(lacking)
        rest = [none, lacking] if role == GALLERY else [lacking, none]
        vectors = torch.cat([*points, *rest], dim=1).float().cpu().numpy()
        columns: dict[str, list[Any]] = {"embedding": list(vectors)}
        if role != GALLERY:
            columns["gate"] = [shares.tolist()] * len(vectors)
        return [None] * len(vectors), columns


def right_ones(target: Tensor) -> Tensor:
    """Return [B, B] bool: whether the entry beside item j is right for item i.

    >>> right_ones(torch.tensor([[4, 4, 7], [7, 7, -1]])).tolist()
    [[True, True], [False, True]]
    """
    beside, right = target[:, 0], target[:, 1:]
    return (right[:, :, None] == beside).any(dim=1)
