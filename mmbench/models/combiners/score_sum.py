"""A sum of the pairs' similarities: S = sum_k w_k s_k <q_k, t_k>."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbench.errors import IncompatibleError
from mmbench.models.combiners._gate import Gate
from mmbench.models.contract import Additive, Combined, Combiner, HeadOut

GATES = ("static", "equal")


class ScoreSum(Combiner, Additive):
    """Add similarities with weights that see nothing.

    Where modalities are independent given what is looked for, the logarithms of what each tells
    add up: weights of one, with which learned ones start, are Bayes' rule. Weights that saw an
    item would make the score more than an inner product (`mmbench.models.sides`).

    Args:
        branches: The names of the pairs, K of them.
        width: Not looked at.
        gate: ``static``, learned numbers, or ``equal``.
    """

    kinds = ("match",)

    def __init__(self, branches: Sequence[str], width: int, gate: str = "static") -> None:
        super().__init__()
        if gate not in GATES:
            raise IncompatibleError(
                f"combiner.params.gate = {gate!r}: weights of scores that are added up see no "
                f"item: expected one of {', '.join(GATES)}"
            )
        self.gate = Gate(branches, width, gate)

    def weights(self) -> Tensor:
        """Return the weights [K], 1 where nothing is learned."""
        if self.gate.kind == "static" and self.gate.count > 1:
            return self.gate.logits.exp()
        return torch.ones(self.gate.count)

    def forward(self, outs: Sequence[HeadOut], present: Tensor) -> Combined:
        """Add K similarities [B, B]; weights [B, K]. What is absent has similarities of 0."""
        weights = self.weights().to(outs[0].answer.device)
        answer = (torch.stack([out.answer for out in outs], dim=-1) * weights).sum(dim=-1)
        return Combined(answer, weights.expand(len(present), -1))
