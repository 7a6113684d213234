"""Head for frames: one class at every step of a clock, the events that they form, key frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.errors import DataError
from mmbench.models.contract import Combined, Combiner, Head, HeadOut, present_of
from mmbench.models.layers import drop
from mmbench.models.whole import as_whole
from mmbench.spec import Decay
from mmbench.types import Branch, Output

#: The target of a frame whose class is not known, or that an item does not have.
UNKNOWN = -1


class Frames(Head):
    """Log-probabilities of C classes at every step of a clock, a step for each frame.

    The same small network at every step: norm, one hidden layer, the classes. Each branch has one
    of its own; because all branches stand on one clock, a combiner merges them frame by frame.

    Args:
        output: ``frames``: its vocabulary is the C class names; its background and its clock.
        width: D.
        dropout: Probability on the hidden layer.
    """

    kind = "frames"

    def __init__(self, output: Output, width: int, dropout: Decay = 0.0) -> None:
        super().__init__()
        self.clock = output.clock
        self.classes = output.vocabulary
        self.background = output.background
        self.hidden = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), drop(dropout)
        )
        self.last = nn.Linear(width, len(output.vocabulary))

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Score all classes at every step: states [B, T, D], answer [B, T, C].

        The target [B, T] is only held against the clock; none: [0].

        Raises:
            DataError: The clock has another number of steps than the recordings have frames.
        """
        if target.dim() == 2:
            _on_clock(target, branch.seq.shape[1], self.clock)
        states = self.hidden(branch.seq)
        return HeadOut(states, self.last(states).float().log_softmax(dim=-1))

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return nats per frame whose class is known; target [B, T] int, -1 where it is not."""
        target = _on_clock(target, answer.shape[1], self.clock).long()
        summed = F.nll_loss(
            answer.flatten(0, 1), target.flatten(), ignore_index=UNKNOWN, reduction="sum"
        )
        known = (target != UNKNOWN).sum()
        return as_whole(summed / known.clamp(min=1), known)

    def read_out(
        self,
        heads: Sequence[Head],
        branches: Sequence[Branch],
        combiner: Combiner,
        options: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Say the likeliest class of every real step.

        Returns:
            B lists of class names; the columns ``keys``, the frames at which an event begins (see
            `onsets`), and ``gate``, each branch's weight, the mean over the item's steps.
        """
        del options
        nothing = torch.empty(0, device=branches[0].seq.device)
        outs = [head(branch, nothing) for head, branch in zip(heads, branches, strict=True)]
        merged: Combined = combiner(outs, present_of(branches))
        real = branches[0].mask
        likeliest = merged.answer.double().argmax(dim=-1).tolist()
        counts = real.sum(dim=1).tolist()
        rows = [row[:count] for row, count in zip(likeliest, counts, strict=True)]
        weight = real[..., None].double()
        mean = (merged.weights.double() * weight).sum(dim=1) / weight.sum(dim=1)
        keys = [onsets(row, self.background) for row in rows]
        return [[self.classes[k] for k in row] for row in rows], {
            "keys": keys,
            "gate": mean.tolist(),
        }


def onsets(frames: Sequence[int], background: int | None) -> list[int]:
    """Return the frames at which an event begins, a run of one class that is not the background.

    >>> onsets([0, 2, 2, 3, 0, 3], background=0)
    [1, 3, 5]
    """
    return [
        k for k, now in enumerate(frames) if now != background and (k == 0 or now != frames[k - 1])
    ]


def _on_clock(target: Tensor, steps: int, clock: str) -> Tensor:
    """Return targets [B, steps] of targets [B, L]; recordings shorter than L may end early."""
    length = target.shape[1]
    if length == steps:
        return target
    if length > steps and not bool((target[:, steps:] != UNKNOWN).any()):
        return target[:, :steps]
    raise DataError(
        f"the clock {clock!r} has {steps} steps here and the recordings have {length} frames, each "
        f"with a class of its own: write clock = 'latent:{length}', or name a modality with a "
        f"token for each frame"
    )
