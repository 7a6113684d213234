"""Head for a picture: the decoder of a latent variable that the fusion infers."""

from __future__ import annotations

from torch import Tensor

from mmbench.errors import IncompatibleError
from mmbench.models.contract import Fusion, HeadOut, Inferring
from mmbench.models.heads._painted import Noise, PaintedHead
from mmbench.models.latents import Expert, Gaussian
from mmbench.models.pictures import Looker, to_unit
from mmbench.spec import Above0, Positive
from mmbench.types import Branch, Output


class ImageLatent(PaintedHead):
    """Paint from z alone, which the fusion infers; a picture is an expert on z as well.

    What MVAE needs of an output that is a modality to it (Wu and Goodman 2018, arXiv:1802.05335):
    p(x | z), and the expert q(z | x) that the objective `joint_elbo` multiplies with those of the
    inputs. To generate, z is drawn from what the inputs that are there say of it.

    Args:
        output: ``image``.
        width: D.
        channels: Of the finest map, a multiple of 8.
        spread: Standard deviation of a pixel, of the range -1..1.
        latent: L, as many as the fusion's z has.
    """

    def __init__(
        self,
        output: Output,
        width: int,
        channels: Positive = 32,
        spread: Above0 = 0.1,
        latent: Positive = 32,
    ) -> None:
        super().__init__(output, width, channels, spread, latent, told=False)
        self.looker = Looker(output.shape, width, channels)
        self.expert = Expert(width, latent)

    def check(self, fusion: Fusion) -> None:
        """Refuse a fusion without a latent variable, or with one of another size."""
        if not isinstance(fusion, Inferring):
            raise IncompatibleError(
                f"the head 'image_latent' paints from a latent variable that the fusion infers, "
                f"and {type(fusion).__name__} has none: name product_of_experts, or another head"
            )
        if fusion.latent != self.latent:
            raise IncompatibleError(
                f"heads.image.params.latent = {self.latent}, and the fusion's is {fusion.latent}: "
                f"they are the same numbers: write {fusion.latent}"
            )

    def of_picture(self, target: Tensor) -> Gaussian:
        """Return what pictures [B, C, H, W] of 0..255 say of z, [B, L]."""
        found: Gaussian = self.expert(self.looker(to_unit(target)))
        return found

    def from_latent(self, z: Tensor) -> Tensor:
        """Paint z [B, L]: an answer [B, C H W]."""
        painted: Tensor = self.painter(z)
        return painted.flatten(1)

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Paint z as the inputs tell it: drawn while training, else its mean."""
        del target
        believed = self._belief(branch)
        z = believed.sample() if self.training else believed.mean
        return HeadOut(branch.pooled, self.from_latent(z))

    def imagine(self, branch: Branch, noise: Noise) -> Tensor:
        """Paint z drawn from what the inputs tell."""
        believed = self._belief(branch)
        drawn = noise(self.latent) * (0.5 * believed.log_variance).exp()
        return self.paint(branch, believed.mean + drawn)

    def _belief(self, branch: Branch) -> Gaussian:
        assert branch.belief is not None
        return Gaussian(*branch.belief)
