"""What all text heads share: teacher forcing, the loss, and reading out by beam search."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import (
    Combined,
    Combiner,
    Head,
    HeadOut,
    present_of,
    split_out,
    stack,
)
from mmbench.models.decoding import beam_search
from mmbench.models.layers import drop
from mmbench.models.whole import as_whole
from mmbench.spec import Decay
from mmbench.text import BOS, EOS, PAD, UNK, Vocabulary
from mmbench.types import Branch, Output

#: What a head keeps between two words: name -> tensor whose first axis is the hypothesis.
State = dict[str, Tensor]


class TextHead(Head):
    """An autoregressive decoder that attends to a branch's memory.

    One set of weights serves all branches (Vaswani et al.'s decoder or a recurrent one run once
    on each memory), so that branches differ in what they heard, not in how they speak.

    Args:
        output: ``text``, with its vocabulary and the most tokens of a target.
        width: D.
        dropout: Probability on embeddings and residual branches.
    """

    kind = "text"
    shared = True

    def __init__(self, output: Output, width: int, dropout: Decay = 0.0) -> None:
        super().__init__()
        self.vocabulary = Vocabulary(output.vocabulary)
        self.limit = output.size
        self.embed = nn.Embedding(len(output.vocabulary), width)
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(len(output.vocabulary)))
        self.dropout = drop(dropout)

    @abstractmethod
    def teach(self, branch: Branch, words: Tensor) -> Tensor:
        """Return the states [B, L, D] after each word of ``words`` [B, L]; word 0 is <bos>."""

    @abstractmethod
    def begin(self, branch: Branch, beams: int) -> State:
        """Prepare B x `beams` hypotheses, those of an item side by side."""

    @abstractmethod
    def advance(self, state: State, words: Tensor, step: int) -> tuple[Tensor, State]:
        """Read one word per hypothesis [B k]: the states [B k, D] after it, and what to keep."""

    #: Entries of the state that are the same for all hypotheses of an item, or kept once an item:
    #: never reordered.
    fixed: tuple[str, ...] = ()

    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Predict each word of the target [B, L] from those before it."""
        first = torch.full_like(target[:, :1], BOS)
        words = torch.cat([first, target[:, :-1]], dim=1).long()
        states = self.teach(branch, words)
        return HeadOut(states, self.log_probs(states))

    def log_probs(self, states: Tensor) -> Tensor:
        """Score all words; embeddings are tied (Press and Wolf 2017, arXiv:1608.05859)."""
        logits = F.linear(states, self.embed.weight, self.bias)
        return logits.float().log_softmax(dim=-1)

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return nats per word, padding left out."""
        mean = F.nll_loss(answer.flatten(0, 1), target.flatten().long(), ignore_index=PAD)
        return as_whole(mean, (target != PAD).sum())

    def read_out(
        self,
        heads: Sequence[Head],
        branches: Sequence[Branch],
        combiner: Combiner,
        options: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Search for the likeliest texts under the mixture.

        Returns:
            B texts, and the column ``gate``: for each text its words' weights, one list per word
            (the end mark included) of one weight per branch.
        """
        del heads  # they are all this one
        beams = int(options["beams"])
        present = present_of(branches).repeat_interleave(beams, dim=0)

        count = len(branches)
        items = len(branches[0].present)
        together = stack(branches)

        def step(state: State, words: Tensor, at: int) -> tuple[Combined, State]:
            hidden, following = self.advance(state, words.repeat(count), at)
            outs = split_out(HeadOut(hidden, self.log_probs(hidden)), count)
            return combiner(outs, present), following

        def reorder(state: State, index: Tensor) -> State:
            # Hypotheses of branch k lie k * items * beams further down.
            shift = torch.arange(count, device=index.device)[:, None] * (items * beams)
            everywhere = (shift + index).flatten()
            return {name: x if name in self.fixed else x[everywhere] for name, x in state.items()}

        found = beam_search(
            self.begin(together, beams),
            step,
            reorder,
            items=items,
            beams=beams,
            limit=self.limit,
            bos=BOS,
            eos=EOS,
            forbidden=(PAD, BOS, UNK),
            length_penalty=float(options["length_penalty"]),
            device=branches[0].seq.device,
        )
        texts = [" ".join(self.vocabulary.decode(words)) for words in found.words]
        return texts, {"gate": found.weights}
