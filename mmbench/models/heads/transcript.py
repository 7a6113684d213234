"""Head for transcripts: what was said, step by step, by connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.errors import DataError, SpecError
from mmbench.models.contract import Combined, Combiner, Head, HeadOut, present_of
from mmbench.models.ctc import BLANK, greedy, prefix_beam
from mmbench.models.layers import drop
from mmbench.spec import Decay
from mmbench.types import Branch, Output

#: Log-probability of a symbol where an item has no step any more: the blank is certain there.
#: Finite, since a weight of 0 times an infinity is no number.
NEVER = -1e4


class Transcript(Head):
    """Log-probabilities of C symbols, the blank among them, at every step of a clock.

    CTC (Graves et al. 2006, doi:10.1145/1143844.1143891). Each branch has a layer of its own;
    because all branches stand on one clock, a combiner merges them step by step. Steps beyond an
    item's end say the blank for certain, which changes neither loss nor text.

    Args:
        output: ``transcript``: its vocabulary is the blank, then the symbols; its clock.
        width: D.
        dropout: Probability on the hidden layer.
    """

    kind = "transcript"

    def __init__(self, output: Output, width: int, dropout: Decay = 0.0) -> None:
        super().__init__()
        self.clock = output.clock
        kind, _, steps = output.clock.partition(":")
        if kind == "latent" and int(steps) < output.size:
            raise SpecError(
                f"a clock of {steps} steps is too short: a transcript of the data takes "
                f"{output.size} (its symbols, and a blank between equal ones): write "
                f"clock = 'latent:{output.size}' or more"
            )
        self.symbols = output.vocabulary
        self.norm = nn.LayerNorm(width)
        self.dropout = drop(dropout)
        self.last = nn.Linear(width, len(output.vocabulary))

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Score all symbols at every step: states [B, T, D], answer [B, T, C].

        The target [B, L] is only held against the clock; none: [0].

        Raises:
            DataError: A target has more symbols than its clock has steps for.
        """
        if target.dim() == 2:
            _check_fits(target, branch.mask)
        states = self.dropout(self.norm(branch.seq))
        answer = self.last(states).float().log_softmax(dim=-1)
        beyond = answer.new_full((len(self.symbols),), NEVER)
        beyond[BLANK] = 0.0
        return HeadOut(states, torch.where(branch.mask[..., None], answer, beyond))

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return nats per symbol of the targets [B, L] (0 is padding): -log of all their paths."""
        lengths = (target != BLANK).sum(dim=1)
        steps = torch.full_like(lengths, answer.shape[1])
        summed = F.ctc_loss(
            answer.transpose(0, 1), target.long(), steps, lengths, blank=BLANK, reduction="sum"
        )
        return summed / lengths.sum().clamp(min=1)

    def read_out(
        self,
        heads: Sequence[Head],
        branches: Sequence[Branch],
        combiner: Combiner,
        options: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Say the likeliest texts: of the best path with one beam, else by a search of prefixes.

        A length penalty has no place here: all texts of an item explain the same steps.

        Returns:
            B texts, and the column ``gate``: each branch's weight, the mean over the item's steps.
        """
        nothing = torch.empty(0, device=branches[0].seq.device)
        outs = [head(branch, nothing) for head, branch in zip(heads, branches, strict=True)]
        merged: Combined = combiner(outs, present_of(branches))
        beams = int(options["beams"])
        real = branches[0].mask
        counts = real.sum(dim=1).tolist()
        texts = []
        for said, count in zip(merged.answer.double().cpu().numpy(), counts, strict=True):
            heard = said[:count]
            texts.append(self._spell(greedy(heard) if beams == 1 else prefix_beam(heard, beams)))
        weight = real[..., None].double()
        mean = (merged.weights.double() * weight).sum(dim=1) / weight.sum(dim=1)
        return texts, {"gate": mean.tolist()}

    def _spell(self, symbols: Sequence[int]) -> str:
        """Write symbols down: characters where a blank space is one of them, words otherwise."""
        between = "" if " " in self.symbols else " "
        return between.join(self.symbols[symbol] for symbol in symbols)


def _check_fits(target: Tensor, mask: Tensor) -> None:
    """Refuse targets [B, L] that do not fit into the real steps of mask [B, T]."""
    said = target != BLANK
    twice = (target[:, 1:] == target[:, :-1]) & said[:, 1:]
    needed, there = said.sum(dim=1) + twice.sum(dim=1), mask.sum(dim=1)
    short = needed > there
    if bool(short.any()):
        row = int(short.nonzero()[0])
        raise DataError(
            f"a transcript of {int(said[row].sum())} symbols takes {int(needed[row])} steps of its "
            f"clock, and its item has {int(there[row])}: an encoder with a smaller stride, or a "
            f"clock 'latent:L' with more steps, has room for it"
        )
