"""Generative fusion: a mixture of experts on a latent variable, or of their products (MoPoE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
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
from mmbench.models.whole import one_of
from mmbench.spec import Count, Decay, Positive, Weight
from mmbench.types import Fused, Modality, Stream


class MixtureOfExperts(Fusion):
    """Infer z by q(z) = mean over sets S of modalities of q_S(z); decide on z.

    With ``experts = "subsets"``, S are all sets and q_S is the product of their modalities' experts
    and the prior: MoPoE-VAE (Sutter et al. 2021, arXiv:2105.02470). With ``"single"``, S are the
    single modalities: MMVAE (Shi et al. 2019, arXiv:1911.03393). A set of which a modality is
    absent leaves the mixture. The negative ELBO stands beside the task's own loss: every item is
    reconstructed, all that is there of it, from a draw of one of its sets; the KL term is the mean
    over sets, an upper bound of the mixture's own (MoPoE's equation 6). Departs from the papers:
    what the head reads is the mean of a draw of each set, since from one draw, of one modality
    mostly, nothing can be told that takes two; one sample and the plain ELBO also for MMVAE, in
    place of a tighter bound by many; both terms are per dimension, and the KL term is weak.

    Training draws z, evaluation takes its mean. Where nothing is there, the experts judge the null
    tokens.

    Args:
        modalities: Their names.
        width: D.
        inputs: Modality -> what one item looks like.
        experts: ``subsets`` (2^M - 1 of them) or ``single`` (M).
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
        experts: Literal["subsets", "single"] = "subsets",
        latent: Positive = 32,
        reconstruction: Weight = 0.5,
        kl: Weight = 2e-3,
        weights: dict[str, float] | None = None,
        depth: Count = 1,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        if experts not in ("subsets", "single"):
            raise ValueError(f"experts = {experts!r}: expected 'subsets' or 'single'")
        self.towers = own_towers(modalities, width, depth, dropout)
        self.experts = nn.ModuleDict({m: Expert(width, latent) for m in modalities})
        self.decoders = Decoders(inputs, latent, width, weights)
        self.project = nn.Linear(latent, width)
        self.mix = Mix(width, dropout)
        self.single = experts == "single"
        largest = 1 if self.single else len(modalities)
        #: The sets, each as positions in `experts`.
        self.sets = [s for n in range(largest) for s in combinations(range(len(modalities)), n + 1)]
        self.reconstruction = reconstruction
        self.kl = kl

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token, from z."""
        summary = summaries(self.towers, streams)
        experts = side_by_side([self.experts[m](x) for m, x in summary.items()])
        here = torch.stack([streams[m].present for m in summary], dim=1)  # [B, M]
        counts = here | ~here.any(dim=1, keepdim=True)
        parts = self.components(experts)  # [B, S, L]
        weights = self.mixture(counts)  # [B, S]
        each = parts.sample() if self.training else parts.mean
        z = (weights[..., None] * each).sum(dim=1)
        fused = of_vector(self.mix(self.project(z)), streams)
        if self.training:
            fused.losses = self.elbo(each, parts, weights, here, streams)
        return fused

    def components(self, experts: Gaussian) -> Gaussian:
        """Return q_S of each set, [B, S, L], from experts [B, M, L]."""
        if self.single:
            return experts
        members = torch.zeros(len(self.sets), experts.mean.shape[1], device=experts.mean.device)
        for row, members_of in enumerate(self.sets):
            members[row, list(members_of)] = 1.0
        everyone = Gaussian(experts.mean[:, None], experts.log_variance[:, None])
        size, latent = len(experts.mean), experts.mean.shape[2]
        flat = Gaussian(
            everyone.mean.expand(-1, len(members), -1, -1).flatten(0, 1),
            everyone.log_variance.expand(-1, len(members), -1, -1).flatten(0, 1),
        )
        found = product(flat, members.bool().repeat(size, 1))
        shape = (size, len(members), latent)
        return Gaussian(found.mean.view(shape), found.log_variance.view(shape))

    def mixture(self, counts: Tensor) -> Tensor:
        """Return the weights [B, S] of the sets, equal for those whose modalities all count."""
        whole = torch.stack([counts[:, list(s)].all(dim=1) for s in self.sets], dim=1).float()
        return whole / whole.sum(dim=1, keepdim=True)

    def elbo(
        self,
        each: Tensor,
        parts: Gaussian,
        weights: Tensor,
        here: Tensor,
        streams: Mapping[str, Stream],
    ) -> dict[str, Tensor]:
        """Return the terms of the negative ELBO, averaged over items."""
        chosen = one_of(weights)
        z = each[torch.arange(len(each), device=each.device), chosen]
        given = torch.zeros((), device=z.device)
        for at, name in enumerate(self.experts):
            if name in self.decoders.each:
                given = given + mean_where(self.decoders(name, z, streams[name]), here[:, at])
        apart = (weights * divergence(parts)).sum(dim=1) / z.shape[1]
        return {
            "reconstruction": self.reconstruction * given / len(self.experts),
            "kl": self.kl * mean_where(apart, here.any(dim=1)),
        }
