"""Head for a picture: a generator, and the discriminator that it plays against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Generative, HeadOut
from mmbench.models.heads._painted import PaintedHead
from mmbench.models.pictures import Looker
from mmbench.models.whole import normal_like
from mmbench.spec import Above0, Positive
from mmbench.types import Branch, Output


class ImageGAN(PaintedHead, Generative):
    """Paint from the summary c and from noise z; a discriminator judges pictures beside c (cGAN).

    The discriminator is a projection (Miyato and Koyama 2018, arXiv:1802.05637),
    D(x, c) = psi(phi(x)) + <V c, phi(x)>: whether a picture is real, and whether it is the one that
    was asked for. It is trained by the objective `gan_discriminator`, the rest by `gan_generator`;
    its parameters are ``heads.*.discriminator.*``. Departs from the paper: phi keeps where things
    are (a linear layer on the map instead of its sum), and no spectral normalisation, but the
    gradient penalty of the objective.

    Args:
        output: ``image``.
        width: D.
        channels: Of the finest map, a multiple of 8.
        spread: Standard deviation of a pixel for the likelihood, which only a supervised objective
            looks at.
        latent: L, numbers in z.
    """

    def __init__(
        self,
        output: Output,
        width: int,
        channels: Positive = 32,
        spread: Above0 = 0.1,
        latent: Positive = 32,
    ) -> None:
        super().__init__(output, width, channels, spread, latent)
        self.discriminator = Projection(output.shape, width, channels)

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Paint from noise while training, else from the noise's mean."""
        del target
        return HeadOut(branch.pooled, self.drawn(branch).flatten(1))

    def drawn(self, branch: Branch) -> Tensor:
        """Paint pictures [B, C, H, W] of -1..1 from noise of torch's own stream."""
        z = branch.pooled.new_zeros(len(branch.pooled), self.latent)
        return self.paint(branch, normal_like(z) if self.training else z)


class Projection(nn.Module):
    """psi(phi(x)) + <V c, phi(x)>.

    Args:
        shape: C, H, W.
        width: Numbers in c.
        channels: Of the finest map.
    """

    def __init__(self, shape: tuple[int, ...], width: int, channels: int) -> None:
        super().__init__()
        size = 4 * channels
        self.look = Looker(shape, size, channels)
        self.real = nn.Linear(size, 1)
        self.fits = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def forward(self, picture: Tensor, *known: Tensor) -> Tensor:
        """Judge pictures [B, C, H, W] of -1..1 beside each of K conditions [B, D]: [K, B]."""
        seen = nn.functional.leaky_relu(self.look(picture), 0.2)
        fits = torch.stack([(self.fits(one) * seen).sum(dim=1) for one in known])
        judged: Tensor = (self.real(seen)[:, 0] + fits).float()
        return judged
