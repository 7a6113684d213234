"""Losses of the branches, weighed by how well each generalises."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmbench.models.contract import Objective
from mmbench.models.model import Model
from mmbench.spec import Weight
from mmbench.types import Batch, Fused


class GradientBlending(Objective):
    """Sum of w_k NLL(p_k) over the branches and their combination, w_k by generalisation.

    Wang, Tran and Feiszli 2020, arXiv:1905.12681, the online form: at each validation, with the
    losses on items that are trained on (T) and on validation items (V) then and at the validation
    before, a part's gain is G = V_before - V and its overfitting O = (V - T) - (V_before -
    T_before); w is proportional to G / O^2 and adds up to the number of parts. It departs from the
    paper in two points: a part that gained nothing has the weight `least` instead of none, so that
    it can come back, and |O| is never taken to be less than `tiny`.

    With a single branch the combination is that branch, and this is the plain supervised loss.

    Args:
        least: The smallest share of the weights that a part has, times the number of parts.
        tiny: The least overfitting, in nats.
        auxiliary_weight: Weight of each auxiliary loss that the fusion names.
    """

    def __init__(
        self, least: float = 0.1, tiny: float = 0.01, auxiliary_weight: Weight = 1.0
    ) -> None:
        self.least = least
        self.tiny = tiny
        self.auxiliary_weight = auxiliary_weight
        self.weights: Tensor | None = None
        self.before: tuple[Tensor, Tensor] | None = None

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of a batch, summed over the task's outputs."""
        fused = model.fuse(batch)
        parts = self._parts(model, batch, fused)
        weights = torch.ones_like(parts) if self.weights is None else self.weights.to(parts)
        total = (weights * parts).sum()
        for value in fused.losses.values():
            total = total + self.auxiliary_weight * value
        return total

    @torch.no_grad()
    def review(self, model: Model, seen: Batch, unseen: Batch) -> None:
        """Weigh the parts anew, from items that are trained on and items that are not."""
        now = tuple(self._parts(model, batch, model.fuse(batch)) for batch in (seen, unseen))
        if self.before is not None:
            self.weights = self.blend(self.before, (now[0], now[1]))
        self.before = (now[0], now[1])

    def state(self) -> dict[str, Tensor]:
        """Return the weights, and the losses at the validation before."""
        found = {} if self.weights is None else {"weights": self.weights}
        if self.before is not None:
            found |= {"seen": self.before[0], "unseen": self.before[1]}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` returned."""
        self.weights = state.get("weights")
        self.before = (state["seen"], state["unseen"]) if "seen" in state else None

    def blend(self, before: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> Tensor:
        """Return the weights [K] from losses [K] of (seen, unseen) items, then and now."""
        gain = (before[1] - now[1]).clamp(min=0.0)
        over = ((now[1] - now[0]) - (before[1] - before[0])).abs().clamp(min=self.tiny)
        raw = gain / over.square()
        count = len(raw)
        if not bool(raw.sum() > 0):
            return torch.ones_like(raw)
        shares = (raw / raw.sum() * count).clamp(min=self.least)
        return shares / shares.sum() * count

    def _parts(self, model: Model, batch: Batch, fused: Fused) -> Tensor:
        """Return NLL of the combination and of each branch, summed over outputs: [K + 1] or [1]."""
        total: Tensor | None = None
        for name, target in batch.targets.items():
            verdict = model.verdict(name, fused.branches, target)
            head = model.head_of(name, 0)
            said = [verdict.combined.answer]
            if len(verdict.outs) > 1:
                said += [out.answer for out in verdict.outs]
            each = torch.stack([head.nll(answer, target) for answer in said])
            total = each if total is None else total + each
        assert total is not None
        return total
