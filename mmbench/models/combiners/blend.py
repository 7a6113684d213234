"""A weighted mean of the branches' pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mmbench.models.combiners._gate import SEES, Gate
from mmbench.models.contract import Combined, Combiner, HeadOut


class Blend(Combiner):
    """Average pictures, pixel by pixel: the mean of the mixture of what the branches paint.

    A mean of two pictures shows both, each half as clear. So this is for a fusion that has a joint
    branch, which the weights can leave alone; decision-level fusion of pictures is refused.

    Args:
        branches: Their names, K of them.
        width: D of the heads' states.
        gate: ``static``, ``equal``, ``own`` or ``joint``: see `Gate`.
    """

    kinds = ("image",)

    def __init__(self, branches: Sequence[str], width: int, gate: str = "static") -> None:
        super().__init__()
        self.gate = Gate(branches, width, gate)

    @property
    def sees(self) -> str:
        """What the weights depend on; with a gate ``own`` on all branches, as they add up to 1."""
        return "joint" if self.gate.kind == "own" else SEES[self.gate.kind]

    def forward(self, outs: Sequence[HeadOut], present: torch.Tensor) -> Combined:
        """Merge K answers [B, C]; weights [B, K]."""
        if len(outs) == 1:
            return Combined(outs[0].answer, torch.ones_like(outs[0].states[..., :1]))
        logits, usable = self.gate(outs, present)
        weights = logits.masked_fill(~usable, float("-inf")).softmax(dim=-1)
        each = torch.stack([out.answer for out in outs], dim=-1)  # [B, C, K]
        return Combined((each * weights[:, None]).sum(dim=-1), weights)
