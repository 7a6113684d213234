"""Adversarial fusion: features that hide which modality they are of, joined in a graph (ARGF)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Adversarial, Fusion
from mmbench.models.joint import Mix, of_vector, own_towers, summaries
from mmbench.models.latents import mean_where
from mmbench.spec import Count, Decay, Weight
from mmbench.types import Fused, Stream


class AdversarialGraph(Fusion, Adversarial):
    """Align the modalities' features by a game against a discriminator, then join them.

    ARGF (Mai, Hu and Xing 2020, arXiv:1911.07848). A discriminator guesses which modality a feature
    z_m came from; the encoders are trained to leave it nothing to guess from. The aligned features
    are then fused as a graph whose nodes are interactions: of one modality, and of two. Departs
    from the paper: one discriminator tells all modalities apart, where the paper maps all others
    into the distribution of one; the encoders' loss is how far the discriminator's guess is from
    saying nothing (a uniform one), which has its least value where the game ends; no
    reconstruction; the graph's vertices stop at pairs, weighed by a learned score that sees both.

    The recipe needs the objective `discriminator`, which trains ``fusion.discriminator.*``, and has
    to leave these out of what the task's loss trains.

    Args:
        modalities: Their names.
        width: D.
        confusion: Weight of the encoders' loss.
        depth: Layers of each modality's own encoder.
        dropout: Probability on residual branches.
    """

    refuses: Mapping[str, str] = {
        "transcript": "it tells modalities apart by one summary of a whole item, and has no step "
        "of time; early, late, hybrid, concat and cross_attention serve it",
        "frames": "it tells modalities apart by one summary of a whole item, and has no step "
        "of time; early, late, hybrid, concat and cross_attention serve it",
    }
    at_least = 2
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        confusion: Weight = 0.1,
        depth: Count = 1,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        self.align = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for m in modalities}
        )
        self.discriminator = nn.Sequential(
            nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, len(self.towers))
        )
        self.own = nn.ModuleDict({m: nn.Linear(width, width) for m in modalities})
        self.pair = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, width), nn.GELU())
            for _ in combinations(modalities, 2)
        )
        self.score = nn.Linear(width, 1, bias=False)
        self.merge = nn.Linear(2 * width, width)
        self.mix = Mix(width, dropout)
        self.confusion = confusion

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def features(self, streams: Mapping[str, Stream]) -> dict[str, Tensor]:
        """Return z_m of each modality, [B, D]."""
        found = summaries(self.towers, streams)
        return {name: self.align[name](x) for name, x in found.items()}

    def discriminate(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Guess from each z_m [B, D] which modality it is of: log-probabilities [B, M]."""
        return {m: F.log_softmax(self.discriminator(z).float(), -1) for m, z in features.items()}

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token."""
        features = self.features(streams)
        singles = torch.stack([self.own[m](z) for m, z in features.items()], dim=1)
        pairs = torch.stack(
            [
                join(torch.cat([one, other], dim=-1))
                for join, (one, other) in zip(
                    self.pair, combinations(features.values(), 2), strict=True
                )
            ],
            dim=1,
        )
        both = torch.cat([self.weighed(singles), self.weighed(pairs)], dim=-1)
        fused = of_vector(self.mix(self.merge(both)), streams)
        if self.training:
            fused.losses = {"confusion": self.confusion * self.fool(features, streams)}
        return fused

    def weighed(self, vertices: Tensor) -> Tensor:
        """Return the mean [B, D] of vertices [B, K, D], weighed by their scores."""
        weights = self.score(vertices).softmax(dim=1)
        mean: Tensor = (weights * vertices).sum(dim=1)
        return mean

    def fool(self, features: Mapping[str, Tensor], streams: Mapping[str, Stream]) -> Tensor:
        """Return KL(uniform || guess), the mean over what is there: 0 if nothing can be told."""
        guesses = self.discriminate(features)
        each = torch.stack([-guess.mean(dim=1) for guess in guesses.values()], dim=1)
        here = torch.stack([streams[name].present for name in guesses], dim=1)
        least = torch.log(torch.tensor(float(len(guesses)), device=each.device))
        return mean_where(each - least, here)
