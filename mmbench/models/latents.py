"""Gaussian latent variables: experts, their products, and how far they are from the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmbench.models.whole import as_whole, gathered, normal_like

#: The logarithm of an expert's variance stays within this distance of 0.
WIDEST = 6.0


@dataclass
class Gaussian:
    """Independent normal distributions: `mean` and `log_variance`, both [..., L]."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """Draw [..., L], so that gradients reach mean and variance."""
        return self.mean + normal_like(self.mean) * (0.5 * self.log_variance).exp()

    def __getitem__(self, index: tuple[slice | int, ...]) -> Gaussian:
        return Gaussian(self.mean[index], self.log_variance[index])


class Expert(nn.Module):
    """What one modality says of the latent variable: a vector [B, D] -> a Gaussian [B, L].

    Args:
        width: D.
        latent: L.
        spread: The variance at the start is about exp(`spread`). Far below the prior's 1, so that
            what an expert says is heard through the noise before anything has been learned.
    """

    def __init__(self, width: int, latent: int, spread: float = -3.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mean = nn.Linear(width, latent)
        self.log_variance = nn.Linear(width, latent)
        nn.init.constant_(self.log_variance.bias, spread)

    def forward(self, x: Tensor) -> Gaussian:
        """Judge x [B, D]."""
        x = self.norm(x)
        raw = self.log_variance(x).float()
        return Gaussian(self.mean(x).float(), WIDEST * torch.tanh(raw / WIDEST))


def side_by_side(experts: list[Gaussian]) -> Gaussian:
    """Stack M Gaussians [B, L] to one [B, M, L]."""
    return Gaussian(
        torch.stack([e.mean for e in experts], dim=1),
        torch.stack([e.log_variance for e in experts], dim=1),
    )


def product(experts: Gaussian, counts: Tensor) -> Gaussian:
    """Multiply experts [B, M, L] with the prior N(0, 1), and normalise: -> [B, L].

    Lambda = 1 + sum_m sigma_m^-2 and mu = Lambda^-1 sum_m mu_m sigma_m^-2 (Wu and Goodman 2018,
    arXiv:1802.05335), over the experts whose `counts` [B, M] is True; with none, the prior is left.
    """
    precision = torch.exp(-experts.log_variance) * counts[..., None]
    total = 1.0 + precision.sum(dim=1)
    return Gaussian((precision * experts.mean).sum(dim=1) / total, -total.log())


def divergence(found: Gaussian) -> Tensor:
    """Return KL(found || N(0, 1)) in nats, summed over the last axis: [..., L] -> [...]."""
    each = found.mean**2 + found.log_variance.exp() - 1.0 - found.log_variance
    return 0.5 * each.sum(dim=-1)


def discrepancy(found: Tensor, counts: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy between vectors and as many draws of N(0, 1).

    Gretton et al. 2012 (JMLR 13:723), the biased estimate with the kernel
    exp(-|x - y|^2 / 2 L), whose scale is that of the prior's own distances.

    Args:
        found: [B, L].
        counts: [B] bool, the vectors that count.
    """
    found, counts = gathered(found), gathered(counts)
    drawn = normal_like(found)
    weight = counts.to(found.dtype) / counts.sum().clamp(min=1)

    def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
        apart = (x[:, None] - y[None]).square().sum(dim=-1)
        return weight @ torch.exp(-apart / (2 * found.shape[1])) @ weight

    own, theirs = mean_kernel(found, found), mean_kernel(drawn, drawn)
    return own + theirs - 2.0 * mean_kernel(found, drawn)


def mean_where(values: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of the values [...] whose `counts` [...] is True; 0 where none is."""
    kept = torch.where(counts, values, 0.0)
    count = counts.sum()
    return as_whole(kept.sum() / count.clamp(min=1), count)
