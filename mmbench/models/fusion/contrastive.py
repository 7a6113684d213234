"""Contrastive fusion: pull together the modalities of one item, then put them side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import Mix, of_vector, own_towers, summaries
from mmbench.models.whole import gathered
from mmbench.spec import Above0, Count, Decay, Weight
from mmbench.types import Fused, Stream

#: The logits of the contrast are at most this many times a cosine.
LARGEST_SCALE = 100.0


class Contrastive(Fusion):
    """Align pooled features by InfoNCE while concatenating them.

    The loss of CLIP (Radford et al. 2021, arXiv:2103.00020; van den Oord et al. 2018,
    arXiv:1807.03748): of two modalities' features, projected and of length 1, S holds the cosines
    of all items with all, and 1/2 [CE(S / tau) + CE(S^T / tau)] asks for each item's own partner;
    tau is learned, from 0.07, its inverse at most 100. Of more than two modalities, the mean over
    pairs; only items in which both are present take part. Departs from the paper: trained together
    with the task (or before it, by the objective `alignment`), and the features that are fused are
    those before the projection. Alignment keeps what modalities share, so the weight is small.

    Args:
        modalities: Their names.
        width: D.
        alignment: Weight of the contrastive loss.
        temperature: tau at the start.
        depth: Layers of each modality's own encoder.
        dropout: Probability on residual branches.
    """

    refuses: Mapping[str, str] = {
        "transcript": "it holds the summaries of whole items against each other, and has no step "
        "of time; early, late, hybrid, concat and cross_attention serve it",
        "frames": "it holds the summaries of whole items against each other, and has no step "
        "of time; early, late, hybrid, concat and cross_attention serve it",
    }
    at_least = 2
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        alignment: Weight = 0.1,
        temperature: Above0 = 0.07,
        depth: Count = 1,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        self.project = nn.ModuleDict({m: nn.Linear(width, width) for m in modalities})
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.merge = nn.Linear(len(self.towers) * width, width)
        self.mix = Mix(width, dropout)
        self.alignment = alignment

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        summary = summaries(self.towers, streams)
        joint = self.merge(torch.cat(list(summary.values()), dim=-1))
        fused = of_vector(self.mix(joint), streams)
        if self.training:
            fused.losses = {"alignment": self.alignment * self.contrast(summary, streams)}
        return fused

    def contrast(self, summary: Mapping[str, Tensor], streams: Mapping[str, Stream]) -> Tensor:
        """Return InfoNCE in nats, the mean over pairs of modalities, from summaries [B, D]."""
        points = {m: F.normalize(self.project[m](x).float(), dim=-1) for m, x in summary.items()}
        scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
        each = [
            info_nce(points[a], points[b], scale, streams[a].present & streams[b].present)
            for a, b in combinations(points, 2)
        ]
        return torch.stack(each).mean()


def info_nce(one: Tensor, other: Tensor, scale: Tensor, both: Tensor) -> Tensor:
    """Return 1/2 [CE(S / tau) + CE(S^T / tau)] of points [B, D] of length 1, 1 / tau = `scale`.

    Items for which `both` [B] is False are neither asked nor among the answers; 0 if none is left.
    """
    one, other, both = gathered(one), gathered(other), gathered(both)
    with torch.autocast(one.device.type, enabled=False):  # a cosine times 100 needs its digits
        logits = scale * one @ other.T  # [B, B]
    # Where an item is left out, all answers are, and a row of nothing but -inf has no softmax.
    logits = logits.masked_fill(~(both[:, None] & both), torch.finfo(logits.dtype).min)
    forth = logits.log_softmax(dim=1).diagonal()
    back = logits.log_softmax(dim=0).diagonal()
    return -0.5 * torch.where(both, forth + back, 0.0).sum() / both.sum().clamp(min=1)
