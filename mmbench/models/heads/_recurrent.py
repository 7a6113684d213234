"""A recurrent text decoder with attention, for any recurrent cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.heads._text import State, TextHead
from mmbench.models.layers import Attention
from mmbench.spec import Decay, Positive
from mmbench.types import Branch, Output


class RecurrentHead(TextHead):
    """Cell over the words, then attention from its state to the memory (Luong et al. 2015).

    The cell starts from the pooled branch. Attention comes after the cell and does not feed back
    into it (arXiv:1508.04025 without input feeding), so that a whole text is taught in one call.

    Args:
        output: ``text``.
        width: D.
        dropout: Probability on the embeddings and the state.
        heads: Attention heads.
    """

    #: ``nn.LSTM`` or ``nn.GRU``.
    cell_type: type[nn.LSTM] | type[nn.GRU]
    fixed = ("keys", "values", "mask")

    def __init__(
        self, output: Output, width: int, dropout: Decay = 0.0, heads: Positive = 4
    ) -> None:
        super().__init__(output, width, dropout)
        self.cell = self.cell_type(width, width, batch_first=True)
        self.start = nn.Linear(width, width)
        self.attention = Attention(width, heads)
        self.merge = nn.Linear(2 * width, width)

    def teach(self, branch: Branch, words: Tensor) -> Tensor:
        """See `TextHead.teach`."""
        embedded = self.dropout(self.embed(words))
        read, _ = self.cell(embedded, self._pack(torch.tanh(self.start(branch.pooled))))
        heard = self.attention(read, branch.seq, branch.mask)
        return self._state(read, heard)

    def begin(self, branch: Branch, beams: int) -> State:
        """See `TextHead.begin`."""
        keys, values = self.attention.keys_values(branch.seq)
        hidden = torch.tanh(self.start(branch.pooled))
        memory = {"hidden": hidden, "keys": keys, "values": values, "mask": branch.mask}
        state = {name: x.repeat_interleave(beams, dim=0) for name, x in memory.items()}
        state["cell"] = torch.zeros_like(state["hidden"])
        return state

    def advance(self, state: State, words: Tensor, step: int) -> tuple[Tensor, State]:
        """See `TextHead.advance`."""
        hidden = self._pack(state["hidden"], state["cell"])
        read, after = self.cell(self.embed(words)[:, None], hidden)
        heard = self.attention.attend(read, state["keys"], state["values"], state["mask"])
        last, memory = after if isinstance(after, tuple) else (after, after)
        kept = {**state, "hidden": last[0], "cell": memory[0]}
        return self._state(read, heard)[:, 0], kept

    def _pack(self, hidden: Tensor, cell: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Shape a state [B, D] as the cell wants it."""
        if self.cell_type is nn.LSTM:
            memory = torch.zeros_like(hidden) if cell is None else cell
            return hidden[None].contiguous(), memory[None].contiguous()
        return hidden[None].contiguous()

    def _state(self, read: Tensor, heard: Tensor) -> Tensor:
        return torch.tanh(self.merge(self.dropout(torch.cat([read, heard], dim=-1))))
