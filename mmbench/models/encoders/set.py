"""Encoder of sets: no element has a place, only company."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._tokens import Tokens
from mmbench.models.layers import FeedForward, pool
from mmbench.spec import Decay
from mmbench.types import Links, Modality


class SetEncoder(Encoder):
    """Each element, and the mean of all, through small networks (Zaheer et al. 2017, 1703.06114).

    A permutation-equivariant layer of the paper: element i becomes f(x_i) + g(mean of all x). In
    whatever order the elements come, each gets the same token.

    Args:
        modality: ``set`` or ``sequence`` [T, d] (T elements), or ``text`` [L] (a bag of words).
        width: D.
        hidden: Width between the two layers of f and g; 2 D if 0.
        dropout: Probability between the two layers.
    """

    kinds = ("text", "sequence", "set")
    usual_for = ("set",)

    def __init__(
        self, modality: Modality, width: int, hidden: int = 0, dropout: Decay = 0.0
    ) -> None:
        super().__init__()
        self.kind = modality.kind
        self.tokens = Tokens(modality, width)
        self.norm = nn.LayerNorm(width)
        self.own = FeedForward(width, hidden or 2 * width, dropout)
        self.company = FeedForward(width, hidden or 2 * width, dropout)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, T, ...]; see `Encoder.forward`."""
        elements, mask = self.tokens(x, lengths)
        normed = self.norm(elements)
        all_of_it = pool(normed, mask)[:, None]
        return elements + self.own(normed) + self.company(all_of_it), mask

    def links(self, x: Tensor, mask: Tensor) -> Links | None:
        """Say that elements of a set do not follow one another; see `Encoder.links`."""
        if self.kind != "set":
            return None
        size, count = mask.shape
        return Links(torch.zeros(size, 0, count, count, dtype=torch.bool, device=mask.device))
