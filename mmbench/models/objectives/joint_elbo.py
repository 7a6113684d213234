"""The evidence lower bound of inputs and picture together, and of parts of them (MVAE)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbench.errors import IncompatibleError
from mmbench.models.contract import Inferring, Objective
from mmbench.models.heads.image_latent import ImageLatent
from mmbench.models.latents import Gaussian, divergence, mean_where, product
from mmbench.models.model import Model
from mmbench.spec import Weight
from mmbench.types import Batch


class JointELBO(Objective):
    """Sum over subsets S of sum_{m in S} -lambda_m log p(x_m | z) + kl KL(q(z | x_S) || N(0, 1)).

    MVAE (Wu and Goodman 2018, arXiv:1802.05335): q(z | x_S) is the product of the experts of S and
    the prior. The subsets are everything, each modality alone, the picture among them, and the
    inputs without the picture, which is what it is asked with. As in the paper, a subset gives back
    its own members only. Departs from it in that: no random subsets beside those; in nats a pixel,
    and the inputs' own losses are per word, pixel or number, with the weight `inputs`.

    For a fusion whose modalities are experts (`product_of_experts`) and the head `image_latent`.

    Args:
        inputs: Weight of giving back inputs (lambda of captions and sounds).
        kl: Weight of the KL term (beta); 1 is the bound on the likelihood of pictures.
    """

    def __init__(self, inputs: Weight = 0.1, kl: Weight = 1.0) -> None:
        self.inputs = inputs
        self.kl = kl

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of a batch, summed over the task's outputs and averaged over subsets.

        Raises:
            IncompatibleError: The model is made of other parts.
        """
        fusion = model.fusion
        heads = {name: model.head_of(name, 0) for name in batch.targets}
        other = next((h for h in heads.values() if not isinstance(h, ImageLatent)), None)
        if not isinstance(fusion, Inferring) or other is not None:
            raise IncompatibleError(
                "the objective 'joint_elbo' needs the fusion 'product_of_experts' and the head "
                f"'image_latent', and this model has {type(fusion).__name__} and "
                f"{type(other or next(iter(heads.values()))).__name__}"
            )
        streams = model.streams(batch)
        names = list(streams)
        mean, log_variance, here = fusion.judge(streams)
        total = torch.zeros((), device=mean.device)
        for output, head in heads.items():
            assert isinstance(head, ImageLatent)
            target = batch.targets[output]
            seen = head.of_picture(target)
            experts = Gaussian(
                torch.cat([mean, seen.mean[:, None]], dim=1),
                torch.cat([log_variance, seen.log_variance[:, None]], dim=1),
            )
            there = torch.cat([here, torch.ones_like(here[:, :1])], dim=1)
            subsets = _subsets(len(names))
            for subset in subsets:
                counts = there & torch.tensor(subset, device=there.device)
                some = counts.any(dim=1)
                found = product(experts, counts)
                z = found.sample()
                each = self.kl * divergence(found) / head.pixels
                if subset[-1]:
                    each = each + head.distance(head.from_latent(z), target)
                for at, name in enumerate(names):
                    if subset[at]:
                        again = fusion.recollect(name, z, streams[name])
                        each = each + self.inputs * torch.where(counts[:, at], again, 0.0)
                total = total + mean_where(each, some) / len(subsets)
        return total


def _subsets(inputs: int) -> Sequence[Sequence[bool]]:
    """Return which of the inputs, and last the picture, belong to each subset; none twice.

    >>> _subsets(1)
    [(True, True), (True, False), (False, True)]
    """
    every = [True] * inputs
    alone = [[at == one for at in range(inputs + 1)] for one in range(inputs + 1)]
    found = [[*every, True], [*every, False], *alone]
    return list(dict.fromkeys(tuple(subset) for subset in found))
