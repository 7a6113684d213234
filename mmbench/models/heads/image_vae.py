"""Head for a picture: a conditional variational autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbench.models.contract import HeadOut
from mmbench.models.heads._painted import PaintedHead
from mmbench.models.latents import Expert, Gaussian, divergence
from mmbench.models.pictures import Looker, to_unit
from mmbench.models.whole import as_whole, normal_like
from mmbench.spec import Above0, Positive, Weight
from mmbench.types import Branch, Output


class ImageVAE(PaintedHead):
    """Paint from the summary and from a latent variable z that holds what is not told (CVAE).

    Sohn, Lee and Yan 2015 (NIPS; "Learning structured output representation using deep conditional
    generative models"): while training, a recognition network sees the right picture and the
    summary and says q(z | x, c); the loss is the negative ELBO,
    -E_q[log p(x | z, c)] + kl KL(q || p(z)), in nats a pixel. To generate, z is drawn from the
    prior. Departs from the paper: the prior is N(0, 1) whatever is told, and pixels are normal with
    a fixed standard deviation.

    Training draws z, evaluation with a target takes the mean of q.

    Args:
        output: ``image``.
        width: D.
        channels: Of the finest map, a multiple of 8.
        spread: Standard deviation of a pixel, of the range -1..1.
        latent: L, numbers in z.
        kl: Weight of the KL term (beta); 1 is the bound on the likelihood.
    """

    def __init__(
        self,
        output: Output,
        width: int,
        channels: Positive = 32,
        spread: Above0 = 0.1,
        latent: Positive = 32,
        kl: Weight = 1.0,
    ) -> None:
        super().__init__(output, width, channels, spread, latent)
        self.kl = kl
        self.looker = Looker(output.shape, width, channels)
        self.expert = Expert(2 * width, latent)

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Paint the target again, from what its z tells: pixels, then mean and log-variance of q.

        With an empty target, z is the prior's mean.
        """
        if not len(target):
            none = branch.pooled.new_zeros(len(branch.pooled), self.latent)
            return HeadOut(branch.pooled, self._answer(self.paint(branch, none), none, none))
        seen = self.looker(to_unit(target))
        found: Gaussian = self.expert(torch.cat([branch.pooled, seen], dim=1))
        z = found.mean
        if self.training:
            z = z + normal_like(z) * (0.5 * found.log_variance).exp()
        picture = self.paint(branch, z)
        return HeadOut(branch.pooled, self._answer(picture, found.mean, found.log_variance))

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return the negative ELBO in nats a pixel."""
        rest = answer[:, self.pixels :].float()
        found = Gaussian(*rest.chunk(2, dim=1))
        each = self.distance(answer, target) + self.kl * divergence(found) / self.pixels
        return as_whole(each.mean(), torch.tensor(float(len(target)), device=target.device))

    def _answer(self, picture: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        return torch.cat([picture.flatten(1), mean, log_variance], dim=1)
