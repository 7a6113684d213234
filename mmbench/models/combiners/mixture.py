"""A mixture of the branches' distributions: p = sum_k w_k p_k."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbench.errors import IncompatibleError
from mmbench.models.contract import Combined, Combiner, HeadOut

#: Logit of the joint branch at the start, the others' being 0: weight 0.96 beside two others.
JOINT_START = 4.0


class Mixture(Combiner):
    """Weigh the branches' probabilities.

    Args:
        branches: Their names, K of them.
        width: D of the heads' states.
        gate: ``static``: learned weights that see no input, as decision-level fusion demands.
            ``joint``: ``softmax(W s)`` of the joint branch's state s, for a text at every word;
            it sees all modalities, which makes the model hybrid, not late.
    """

    def __init__(self, branches: Sequence[str], width: int, gate: str = "static") -> None:
        super().__init__()
        if gate not in ("static", "joint"):
            raise IncompatibleError(f"combiner.params.gate = {gate!r}: expected static or joint")
        if gate == "joint" and "joint" not in branches:
            raise IncompatibleError(
                f"combiner.params.gate = 'joint' needs a branch named joint; the fusion has "
                f"{', '.join(branches)}: use gate = 'static'"
            )
        self.joint = branches.index("joint") if gate == "joint" else None
        self.count = len(branches)
        if self.count > 1:
            if self.joint is None:
                self.logits = nn.Parameter(torch.zeros(self.count))
            else:
                self.score = nn.Linear(width, self.count)
                # Begin by trusting the joint branch. From equal weights the single modalities,
                # which learn faster, take over the mixture, and what only the joint branch could
                # say is never learned.
                nn.init.zeros_(self.score.weight)
                nn.init.zeros_(self.score.bias)
                with torch.no_grad():
                    self.score.bias[self.joint] = JOINT_START

    def forward(self, outs: Sequence[HeadOut], present: Tensor) -> Combined:
        """Merge K outs with log_probs [B, ..., C]; weights [B, ..., K]."""
        if self.count == 1:
            only = outs[0].log_probs
            return Combined(only, torch.ones_like(only[..., :1]))
        if self.joint is None:
            logits = self.logits.expand(*outs[0].states.shape[:-1], self.count)
        else:
            logits = self.score(outs[self.joint].states)
        # Where nothing at all was heard there is nobody to prefer: all branches stay in.
        usable = present | ~present.any(dim=1, keepdim=True)
        usable = usable.view(len(usable), *[1] * (logits.dim() - 2), self.count)
        weights = logits.float().masked_fill(~usable, float("-inf")).log_softmax(dim=-1)
        each = torch.stack([out.log_probs for out in outs], dim=-1)  # [B, ..., C, K]
        mixed = torch.logsumexp(each + weights.unsqueeze(-2), dim=-1)
        return Combined(mixed, weights.exp())
