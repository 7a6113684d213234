"""The auxiliary losses of a fusion by themselves: training without labels."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbench.errors import IncompatibleError
from mmbench.models.contract import Objective
from mmbench.models.model import Model
from mmbench.types import Batch


class Alignment(Objective):
    """The sum of the losses that the fusion names; what the task wants is not looked at.

    For stages that come before the task's own: contrastive alignment, or reconstruction.
    """

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of a batch.

        Raises:
            IncompatibleError: The model's fusion names no loss.
        """
        losses = model.fuse(batch).losses
        if model.training and not losses:
            raise IncompatibleError(
                "the objective 'alignment' needs a fusion with losses of its own, such as "
                f"'contrastive', and this model's is {type(model.fusion).__name__}"
            )
        return torch.stack([torch.zeros((), device=_device(model)), *losses.values()]).sum()


def _device(model: Model) -> torch.device:
    return next(model.parameters()).device
