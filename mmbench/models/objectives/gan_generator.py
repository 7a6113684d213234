"""What a generator of pictures is trained by: to be taken for real, and for what was asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbench.models.contract import Objective, adversaries
from mmbench.models.model import Model
from mmbench.models.pictures import still
from mmbench.models.whole import as_whole
from mmbench.spec import Weight
from mmbench.types import Batch


class GANGenerator(Objective):
    """-D(G(z, c), c), the generator's side of the hinge loss (Lim and Ye 2017, arXiv:1705.02894).

    Args:
        conditions: Whether gradients reach what made c, encoders and fusion, too. Leave that to
            the discriminator's objective unless they are to learn from both.
        auxiliary_weight: Weight of each auxiliary loss that the fusion names; with `conditions`.
    """

    def __init__(self, conditions: bool = False, auxiliary_weight: Weight = 1.0) -> None:
        self.conditions = conditions
        self.auxiliary_weight = auxiliary_weight

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of a batch, the mean over items and branches.

        Raises:
            IncompatibleError: A head of the model has no discriminator.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.conditions):
            fused = model.fuse(batch)
        total = torch.zeros((), device=fused.branches[0].pooled.device)
        for name in batch.targets:
            for head, branch in adversaries(model, name, fused.branches, "gan_generator"):
                with still(head.discriminator):
                    said = head.discriminator(head.drawn(branch), branch.pooled)[0]
                count = torch.tensor(float(len(said)), device=said.device)
                total = total - as_whole(said.mean(), count) / len(fused.branches)
        for value in fused.losses.values() if self.conditions else ():
            total = total + self.auxiliary_weight * value
        return total
