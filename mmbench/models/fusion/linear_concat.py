"""Intermediate fusion: one vector of each modality side by side, and one linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import anything
from mmbench.models.layers import pool
from mmbench.types import Branch, Fused, Stream


def _first(x: Tensor, mask: Tensor) -> Tensor:
    """Return the first token: [B, T, D] -> [B, D]."""
    del mask  # the first token is always real
    return x[:, 0]


def _last(x: Tensor, mask: Tensor) -> Tensor:
    """Return the last real token: [B, T, D] -> [B, D]."""
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
    return x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]


#: How the tokens of a modality become one vector.
TAKES = {"mean": pool, "first": _first, "last": _last}


class LinearConcat(Fusion):
    """``Linear(M * D, D)`` on the concatenation of one vector per modality.

    The fusion layer of textbook examples, which fuse an image and a text. As printed they are
    lacking. One feeds the layer from two more linear layers and returns what comes out: there is
    no head, so nothing is predicted and nothing can be trained; and text and image have to be
    vectors already. Another takes the first token of a pretrained encoder of words and of one of
    patches, and passes no attention mask, so that padding is read as words. A third concatenates
    the states of all steps of a text [B, L, D] with the map of an image [B, H, W, D], which have
    unlike axes and cannot be concatenated.

    Mended: every modality of the task has a place, each is summed up as `take` says before it is
    concatenated, what is masked is never taken, and a head stands on the branch. A single linear
    layer behind it, as in the third, makes no other model of it: two linear layers are one.

    Args:
        modalities: Their names, M of them.
        width: D.
        take: ``mean`` of the real tokens, the ``first`` (where an encoder begins with a summary)
            or the ``last`` real one (where an encoder reads forward).
    """

    def __init__(self, modalities: Sequence[str], width: int, take: str = "mean") -> None:
        super().__init__()
        if take not in TAKES:
            raise ValueError(f"take: expected one of {', '.join(TAKES)}, got {take!r}")
        self.modalities = tuple(modalities)
        self.take = TAKES[take]
        self.fusion_layer = nn.Linear(len(self.modalities) * width, width)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        vectors = [self.take(streams[name].x, streams[name].mask) for name in self.modalities]
        fused = self.fusion_layer(torch.cat(vectors, dim=1))  # [B, D]
        one = torch.ones(len(fused), 1, dtype=torch.bool, device=fused.device)
        return Fused([Branch("joint", fused[:, None], one, fused, anything(streams))])
