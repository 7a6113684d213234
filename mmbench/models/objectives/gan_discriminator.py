"""What the discriminator of generated pictures is trained by: hinge, wrong conditions, R1."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbench.models.contract import Generative, Objective, adversaries
from mmbench.models.model import Model
from mmbench.models.pictures import to_unit
from mmbench.models.whole import among_first, as_whole, of_another
from mmbench.spec import Fraction, Weight
from mmbench.types import Batch, Branch


class GANDiscriminator(Objective):
    """Hinge loss of real, generated and mismatched pictures, and R1.

    [1 - D(x, c)]+ + (1 - m) [1 + D(G(z, c), c)]+ + m [1 + D(x, c')]+ + r1 / 2 |grad_x D(x, c)|^2.
    The hinge loss with what makes it aware of matching (GAN-CLS, Reed et al. 2016,
    arXiv:1605.05396): a real picture beside another item's condition c' counts as wrong as well, so
    that what was asked for is learned before generated pictures are any good. The last term is R1
    (Mescheder, Geiger and Nowozin 2018, arXiv:1801.04406), over a share of the items.

    No gradient reaches what painted the pictures. It does reach what made c, if the recipe lets
    this objective train that: whoever tells conditions apart by pictures learns what they say.

    Args:
        mismatched: m, the share that wrong conditions have of what is wrong.
        r1: Weight of the penalty (gamma); 0: none.
        penalised: The share of a batch that it is computed on.
    """

    def __init__(
        self, mismatched: Fraction = 0.5, r1: Weight = 1.0, penalised: Fraction = 0.25
    ) -> None:
        self.mismatched = mismatched
        self.r1 = r1
        self.penalised = penalised

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of a batch, the mean over items and branches.

        Raises:
            IncompatibleError: A head of the model has no discriminator.
        """
        fused = model.fuse(batch)
        total = torch.zeros((), device=fused.branches[0].pooled.device)
        for name, target in batch.targets.items():
            for head, branch in adversaries(model, name, fused.branches, "gan_discriminator"):
                each = self._of_branch(head, branch, to_unit(target))
                total = total + each / len(fused.branches)
        return total

    def _of_branch(self, head: Generative, branch: Branch, real: Tensor) -> Tensor:
        with torch.no_grad():
            painted = head.drawn(branch)
        known = branch.pooled
        unlike = of_another(known)
        right, other = head.discriminator(real, known, unlike)
        # Two that ask for the same are no mismatch; nor is an item beside itself.
        differs = (known != unlike).flatten(1).any(dim=1).to(other.dtype)
        (made,) = head.discriminator(painted, known)
        hinge = (1.0 - right).relu()
        hinge = hinge + (1.0 - self.mismatched) * (1.0 + made).relu()
        hinge = hinge + self.mismatched * differs * (1.0 + other).relu()
        loss = as_whole(hinge.mean(), _count(len(real), real))
        if not self.r1:
            return loss
        few = among_first(self.penalised, len(real))
        slope = self._slope(head, known[:few].detach(), real[:few]) if few else real.new_zeros(())
        return loss + 0.5 * self.r1 * as_whole(slope, _count(few, real))

    def _slope(self, head: Generative, known: Tensor, real: Tensor) -> Tensor:
        """Return the mean square of the slope of D at real pictures, a scalar."""
        picture = real.detach().requires_grad_()
        with torch.enable_grad():
            judged = head.discriminator(picture, known).sum()
            (slope,) = torch.autograd.grad(judged, picture, create_graph=True)
        return slope.square().flatten(1).sum(dim=1).mean()


def _count(items: int, like: Tensor) -> Tensor:
    return torch.tensor(float(items), device=like.device)
