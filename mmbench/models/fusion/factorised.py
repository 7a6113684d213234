"""Generative fusion: one factor for the task, one for what is each modality's own (MFM)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import Mix, anything, of_vector, own_towers, summaries
from mmbench.models.latents import discrepancy, mean_where
from mmbench.models.reconstruction import Decoders
from mmbench.spec import Count, Decay, Positive, Weight
from mmbench.types import Fused, Modality, Stream


class Factorised(Fusion):
    """Split what is heard: z_y decides, z_m and z_y together give modality m back.

    MFM (Tsai et al. 2019, arXiv:1806.06176): z_y is inferred from all modalities, z_m from m alone,
    so that what only serves to reconstruct has a place outside of z_y. As in the paper's code, each
    latent variable is a deterministic function whose distribution the maximum mean discrepancy
    draws to the prior N(0, 1), and x_m is decoded from the factors f_y(z_y) and f_m(z_m). Departs
    from the paper: a discrepancy for each latent variable in place of one for all together, and
    reconstruction per dimension.

    Args:
        modalities: Their names.
        width: D.
        inputs: Modality -> what one item looks like.
        latent: Numbers in z_y, and in each z_m.
        reconstruction: Weight of the reconstruction.
        prior: Weight of the discrepancies.
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
        prior: Weight = 0.1,
        weights: dict[str, float] | None = None,
        depth: Count = 1,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        self.towers = own_towers(modalities, width, depth, dropout)
        self.shared = nn.Linear(len(self.towers) * width, latent)
        self.own = nn.ModuleDict({m: nn.Linear(width, latent) for m in inputs})
        self.shared_factor = nn.Sequential(nn.Linear(latent, width), nn.GELU())
        self.own_factors = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(latent, width), nn.GELU()) for m in inputs}
        )
        self.decoders = Decoders(inputs, 2 * width, width, weights)
        self.project = nn.Linear(width, width)
        self.mix = Mix(width, dropout)
        self.reconstruction = reconstruction
        self.prior = prior

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch with a memory of one token, from z_y."""
        summary = summaries(self.towers, streams)
        z = self.shared(torch.cat(list(summary.values()), dim=-1))  # [B, L]
        factor = self.shared_factor(z)
        fused = of_vector(self.mix(self.project(factor)), streams)
        if self.training:
            fused.losses = self.generate(z, factor, summary, streams)
        return fused

    def generate(
        self,
        z: Tensor,
        factor: Tensor,
        summary: Mapping[str, Tensor],
        streams: Mapping[str, Stream],
    ) -> dict[str, Tensor]:
        """Return the losses of giving back what was read, and of the latent variables' spread."""
        given = torch.zeros((), device=z.device)
        apart = discrepancy(z.float(), anything(streams))
        for name, infer in self.own.items():
            own = infer(summary[name])
            here = streams[name].present
            both = torch.cat([self.own_factors[name](own), factor], dim=-1)
            given = given + mean_where(self.decoders(name, both, streams[name]), here)
            apart = apart + discrepancy(own.float(), here)
        count = len(self.towers)
        return {
            "reconstruction": self.reconstruction * given / count,
            "prior": self.prior * apart / (count + 1),
        }
