"""A product of the branches' normal distributions: each counts by its precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbench.models.combiners._gate import SEES, Gate
from mmbench.models.contract import Combined, Combiner, HeadOut


class Precision(Combiner):
    """Average means by weighted precision: mu = sum w_k mu_k / s_k^2 over sum w_k / s_k^2.

    Inverse-variance weighting: the branches' precisions add up, as those of independent
    measurements of one number do.

    Args:
        branches: Their names, K of them.
        width: D of the heads' states.
        gate: ``static``, ``equal``, ``own`` or ``joint``: see `Gate`.
    """

    kinds = ("scalar",)

    def __init__(self, branches: Sequence[str], width: int, gate: str = "static") -> None:
        super().__init__()
        self.gate = Gate(branches, width, gate)

    @property
    def sees(self) -> str:
        """What the gate sees."""
        return SEES[self.gate.kind]

    def forward(self, outs: Sequence[HeadOut], present: Tensor) -> Combined:
        """Merge K answers [B, 2]; weights [B, K] are shares of the whole precision."""
        if len(outs) == 1:
            return Combined(outs[0].answer, torch.ones_like(outs[0].states[..., :1]))
        logits, usable = self.gate(outs, present)
        if self.gate.kind == "joint":
            logits = logits.masked_fill(~usable, float("-inf")).log_softmax(dim=-1)
        mean = torch.stack([out.answer[..., 0] for out in outs], dim=-1)
        log_precision = torch.stack([-out.answer[..., 1] for out in outs], dim=-1) + logits
        log_precision = log_precision.masked_fill(~usable, float("-inf"))
        shares = log_precision.softmax(dim=-1)
        merged = (shares * mean).sum(dim=-1)
        whole = torch.logsumexp(log_precision, dim=-1)
        return Combined(torch.stack([merged, -whole], dim=-1), shares)
