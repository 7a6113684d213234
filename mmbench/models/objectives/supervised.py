"""Maximum likelihood of the merged prediction, and of each branch's own."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbench.models.contract import Objective
from mmbench.models.model import Model
from mmbench.spec import Weight
from mmbench.types import Batch


class Supervised(Objective):
    """NLL(p) + `branch_weight` x mean over branches of NLL(p_k), in nats per symbol.

    The second term keeps every branch a predictor of its own; with one branch it is left out,
    since it would only repeat the first.

    Args:
        branch_weight: Weight of the branches' own losses.
        auxiliary_weight: Weight of each auxiliary loss that the fusion names.
    """

    def __init__(self, branch_weight: Weight = 0.5, auxiliary_weight: Weight = 1.0) -> None:
        self.branch_weight = branch_weight
        self.auxiliary_weight = auxiliary_weight

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of a batch, summed over the task's outputs."""
        fused = model.fuse(batch)
        total = torch.zeros((), device=fused.branches[0].seq.device)
        for name, target in batch.targets.items():
            verdict = model.verdict(name, fused.branches, target)
            head = model.head_of(name, 0)
            total = total + head.nll(verdict.combined.answer, target)
            if len(verdict.outs) > 1 and self.branch_weight:
                own = torch.stack([head.nll(out.answer, target) for out in verdict.outs])
                total = total + self.branch_weight * own.mean()
        for value in fused.losses.values():
            total = total + self.auxiliary_weight * value
        return total
