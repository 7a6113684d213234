"""A product of the branches' distributions: log p = sum_k w_k log p_k - log Z."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbench.models.combiners._gate import SEES, Gate
from mmbench.models.contract import Combined, Combiner, HeadOut


class LogLinear(Combiner):
    """Add the branches' weighted log-probabilities, and normalise.

    The logarithmic opinion pool (Genest and Zidek 1986, doi:10.1214/ss/1177013825). Where the
    modalities are independent given the answer, and the answer uniform, weights of one make it
    Bayes' rule, which is what they start with; with a gate that sees the joint branch they are
    shares that add up to one.

    Args:
        branches: Their names, K of them.
        width: D of the heads' states.
        gate: ``static``, ``equal``, ``own`` or ``joint``: see `Gate`. ``equal`` gives the
            geometric mean.
    """

    kinds = ("text", "transcript", "label", "multilabel", "frames")

    def __init__(self, branches: Sequence[str], width: int, gate: str = "static") -> None:
        super().__init__()
        self.gate = Gate(branches, width, gate)

    @property
    def sees(self) -> str:
        """What the gate sees."""
        return SEES[self.gate.kind]

    def forward(self, outs: Sequence[HeadOut], present: Tensor) -> Combined:
        """Merge K answers [B, ..., C]; weights [B, ..., K], 0 where a branch heard nothing."""
        if len(outs) == 1:
            return Combined(outs[0].answer, torch.ones_like(outs[0].states[..., :1]))
        logits, usable = self.gate(outs, present)
        logits = logits.masked_fill(~usable, float("-inf"))
        shares = self.gate.kind in ("joint", "equal")
        weights = logits.softmax(dim=-1) if shares else logits.exp()
        each = torch.stack([out.answer for out in outs], dim=-1)  # [B, ..., C, K]
        spread = weights.view(*weights.shape[:-1], *[1] * (each.dim() - weights.dim()), -1)
        return Combined((each * spread).sum(dim=-1).log_softmax(dim=-1), weights)
