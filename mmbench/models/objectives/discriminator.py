"""What the discriminator of an adversarial fusion is trained by."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbench.errors import IncompatibleError
from mmbench.models.contract import Adversarial, Objective
from mmbench.models.model import Model
from mmbench.models.whole import as_whole
from mmbench.types import GALLERY, QUERY, Batch


class Discriminator(Objective):
    """-log of the probability with which the right modality is guessed, in nats a feature.

    Features are taken as they are: no gradient reaches what made them, so that the recipe's
    objectives play against one another and neither acts for the other.
    """

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of a batch, the mean over what is there.

        Raises:
            IncompatibleError: The model's fusion has no discriminator.
        """
        # Of retrieval either side may have one; a side of one modality has nothing to tell apart.
        sides: list[tuple[object, str]] = [(model.fusion, QUERY), (model.gallery, GALLERY)]
        players = [(fusion, role) for fusion, role in sides if isinstance(fusion, Adversarial)]
        if not players:
            raise IncompatibleError(
                "the objective 'discriminator' needs a fusion that has one, such as 'adversarial', "
                f"and this model's is {type(model.fusion).__name__}"
            )
        total = torch.zeros((), device=next(model.parameters()).device)
        count = total
        for fusion, role in players:
            with torch.no_grad():
                streams = model.streams(batch, role)
                features = fusion.features(streams)
            for at, (name, guess) in enumerate(fusion.discriminate(features).items()):
                here = streams[name].present
                total = total - torch.where(here, guess[:, at], 0.0).sum()
                count = count + here.sum()
        return as_whole(total / count.clamp(min=1), count)
