"""What says how much each branch counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbench.errors import IncompatibleError
from mmbench.models.contract import HeadOut

#: What a gate may be, and what it sees (see `Combiner.sees`).
SEES = {"static": "nothing", "equal": "nothing", "own": "own", "joint": "joint"}

#: Logit of the joint branch at the start, the others' being 0: weight 0.96 beside two others.
JOINT_START = 4.0


class Gate(nn.Module):
    """Logits of the branches' weights.

    Args:
        branches: Their names, K of them.
        width: D of the heads' states.
        kind: ``static``: learned numbers that see no input, as decision-level fusion demands.
            ``equal``: all the same for ever. ``own``: for each branch ``v_k . s_k + b_k`` of its
            own state alone, so that a branch may say how sure it is; where a branch hears one
            modality, that is still decision-level. ``joint``: ``W s`` of the joint branch's state
            s, for a text at every word; it sees all modalities, which makes the model hybrid, not
            late.
    """

    def __init__(self, branches: Sequence[str], width: int, kind: str) -> None:
        super().__init__()
        if kind not in SEES:
            raise IncompatibleError(
                f"combiner.params.gate = {kind!r}: expected one of {', '.join(SEES)}"
            )
        if kind == "joint" and "joint" not in branches:
            raise IncompatibleError(
                f"combiner.params.gate = 'joint' needs a branch named joint; the fusion has "
                f"{', '.join(branches)}: use gate = 'static'"
            )
        self.kind = kind
        self.count = len(branches)
        self.joint = branches.index("joint") if kind == "joint" else None
        if self.count == 1:
            return
        if kind == "static":
            self.logits = nn.Parameter(torch.zeros(self.count))
        elif kind == "own":
            self.scores = nn.ModuleList(nn.Linear(width, 1) for _ in branches)
            for score in self.scores:
                nn.init.zeros_(score.weight)  # type: ignore[arg-type]
                nn.init.zeros_(score.bias)  # type: ignore[arg-type]
        elif self.joint is not None:
            self.score = nn.Linear(width, self.count)
            # Begin by trusting the joint branch. From equal weights the single modalities, which
            # learn faster, take over the mixture, and what only the joint branch could say is
            # never learned.
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)
            with torch.no_grad():
                self.score.bias[self.joint] = JOINT_START

    def forward(self, outs: Sequence[HeadOut], present: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, ..., K] and what may be used, of that shape or broadcast to it.

        Where nothing at all was heard there is nobody to prefer: all branches stay in.
        """
        shape = outs[0].states.shape[:-1]
        if self.kind == "own" and self.count > 1:
            pairs = zip(self.scores, outs, strict=True)
            logits = torch.cat([score(out.states) for score, out in pairs], dim=-1)
        elif self.joint is not None and self.count > 1:
            logits = self.score(outs[self.joint].states)
        elif self.kind == "static" and self.count > 1:
            logits = self.logits.expand(*shape, self.count)
        else:
            logits = outs[0].states.new_zeros(*shape, self.count)
        usable = present | ~present.any(dim=1, keepdim=True)
        return logits.float(), usable.view(len(usable), *[1] * (len(shape) - 1), self.count)
