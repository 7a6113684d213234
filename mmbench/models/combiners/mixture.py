"""A mixture of the branches' distributions: p = sum_k w_k p_k."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbench.models.combiners._gate import SEES, Gate
from mmbench.models.contract import Combined, Combiner, HeadOut


class Mixture(Combiner):
    """Weigh the branches' probabilities; the weights add up to one.

    Args:
        branches: Their names, K of them.
        width: D of the heads' states.
        gate: ``static``, ``equal``, ``own`` or ``joint``: see `Gate`.
    """

    kinds = ("text", "transcript", "label", "multilabel", "frames")

    def __init__(self, branches: Sequence[str], width: int, gate: str = "static") -> None:
        super().__init__()
        self.gate = Gate(branches, width, gate)

    @property
    def sees(self) -> str:
        """What the weights depend on; with a gate ``own`` still on all branches.

        They are made to add up to one, item by item, so that each depends on what every branch
        says of itself. Such a mixture can tell the exclusive or of two modalities a quarter of a
        bit, which no late fusion can.
        """
        return "joint" if self.gate.kind == "own" else SEES[self.gate.kind]

    def forward(self, outs: Sequence[HeadOut], present: Tensor) -> Combined:
        """Merge K answers [B, ..., C]; weights [B, ..., K]."""
        if len(outs) == 1:
            return Combined(outs[0].answer, torch.ones_like(outs[0].states[..., :1]))
        logits, usable = self.gate(outs, present)
        weights = logits.masked_fill(~usable, float("-inf")).log_softmax(dim=-1)
        each = torch.stack([out.answer for out in outs], dim=-1)  # [B, ..., C, K]
        spread = weights.view(*weights.shape[:-1], *[1] * (each.dim() - weights.dim()), -1)
        return Combined(torch.logsumexp(each + spread, dim=-1), weights.exp())
