"""Generative fusion: each modality is an expert on a latent variable, and they multiply (MVAE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion, Inferring
from mmbench.models.joint import Mix, of_vector, own_towers, summaries
from mmbench.models.latents import (
    Expert,
    Gaussian,
    divergence,
    mean_where,
    product,
    side_by_side,
)
from mmbench.models.reconstruction import Decoders
from mmbench.spec import Count, Decay, Positive, Weight
from mmbench.types import Fused, Modality, Stream


class ProductOfExperts(Fusion, Inferring):
    """Infer z by the product of the modalities' Gaussians and the prior; decide on z.

    MVAE (Wu and Goodman 2018, arXiv:1802.05335): an absent modality leaves the product. Beside the
    task's own loss stands the negative ELBO of all modalities together and of each alone, so that
    no expert leans on the others: reconstruction of what the subset's encoders read, and the KL
    divergence from the prior. Departs from the paper: trained for a task, whose head reads z; the
    KL term is weak (with the paper's 1, z forgets whatever takes two modalities to be of use), of
    random subsets there are none; both terms are per dimension.

    Training draws z, evaluation takes its mean. Where nothing is there, the experts judge the null
    tokens.

    Args:
        modalities: Their names.
        width: D.
        inputs: Modality -> what one item looks like.
        latent: L, numbers in z.
        reconstruction: Weight of the reconstruction.
        kl: Weight of the KL term (beta).
        weights: Modality -> weight of its reconstruction (lambda_m); 1 for those not named.
        depth: Layers of each modality's own encoder.
        dropout: Probability on residual branches.
    """

    refuses: Mapping[str, str] = {
        "transcript": "it makes whole items again from one vector, and has no step "
        "of time; early, late, hybrid, concat and cross_attention serve it",
        "frames": "it makes whole items again from one vector, and has no step "
        "of time; early, late, hybrid, concat and cross_attention serve it",
    }
    draws = True
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        inputs: Mapping[str, Modality],
        latent: Positive = 32,
        reconstruction: Weight = 0.5,
        kl: Weight = 2e-3,
        weights: dict[str, float] | None = None,
        depth: Count = 1,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        self.experts = nn.ModuleDict({m: Expert(width, latent) for m in modalities})
        self.decoders = Decoders(inputs, latent, width, weights)
        self.project = nn.Linear(latent, width)
        self.mix = Mix(width, dropout)
        self.latent = latent
        self.reconstruction = reconstruction
        self.kl = kl

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token, from z."""
        mean, log_variance, here = self.judge(streams)
        experts = Gaussian(mean, log_variance)
        joint = product(experts, here | ~here.any(dim=1, keepdim=True))
        z = joint.sample() if self.training else joint.mean
        fused = of_vector(self.mix(self.project(z)), streams)
        fused.branches[0].belief = (joint.mean, joint.log_variance)
        if self.training:
            fused.losses = self.elbo(z, joint, experts, here, streams)
        return fused

    def judge(self, streams: Mapping[str, Stream]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what each modality says of z: mean and log-variance [B, M, L], who is there."""
        summary = summaries(self.towers, streams)
        experts = side_by_side([self.experts[m](x) for m, x in summary.items()])
        here = torch.stack([streams[m].present for m in summary], dim=1)
        return experts.mean, experts.log_variance, here

    def recollect(self, name: str, z: Tensor, stream: Stream) -> Tensor:
        """Return [B], the weighted loss of giving back what a modality's encoder read."""
        if name not in self.decoders.each:
            return z.new_zeros(len(z))
        loss: Tensor = self.decoders(name, z, stream)
        return loss

    def elbo(
        self,
        z: Tensor,
        joint: Gaussian,
        experts: Gaussian,
        here: Tensor,
        streams: Mapping[str, Stream],
    ) -> dict[str, Tensor]:
        """Return the terms of the negative ELBO, averaged over items and subsets."""
        size = z.shape[1]
        given = torch.zeros((), device=z.device)
        apart = mean_where(divergence(joint), here.any(dim=1)) / size
        for at, name in enumerate(self.experts):
            only = torch.arange(len(self.experts), device=z.device) == at
            alone = product(experts, (here | ~here.any(dim=1, keepdim=True)) & only)
            apart = apart + mean_where(divergence(alone), here[:, at]) / size
            if name in self.decoders.each:
                for drawn in (z, alone.sample()):
                    loss = self.decoders(name, drawn, streams[name])
                    given = given + mean_where(loss, here[:, at])
        subsets = 1 + len(self.experts)
        return {
            "reconstruction": self.reconstruction * given / subsets,
            "kl": self.kl * apart / subsets,
        }
