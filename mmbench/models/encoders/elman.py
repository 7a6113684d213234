"""Encoder of sequences: the textbook's simple recurrent cell, with its sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._tokens import Tokens
from mmbench.models.layers import drop
from mmbench.spec import Decay
from mmbench.types import Modality


class Elman(Encoder):
    """h_t = sigmoid(W_h h_{t-1} + W_x x_t + b_h), o_t = sigmoid(W_o h_t + b_o).

    Elman 1990 (doi:10.1207/s15516709cog1402_1), forward in time, h_0 = 0. torch's own simple cell
    has tanh or ReLU instead of the sigmoid, and no second layer. The outputs lie in (0, 1), so a
    norm follows them.

    Args:
        modality: ``text`` [L] with its vocabulary (token 0 is padding), or ``sequence`` [T, d].
        width: D of states and outputs.
        dropout: Probability on the embeddings.
    """

    kinds = ("text", "sequence")

    def __init__(self, modality: Modality, width: int, dropout: Decay = 0.0) -> None:
        super().__init__()
        self.tokens = Tokens(modality, width)
        self.dropout = drop(dropout)
        self.from_state = nn.Linear(width, width, bias=False)  # W_h
        self.from_input = nn.Linear(width, width)  # W_x and b_h
        self.out = nn.Linear(width, width)  # W_o and b_o
        self.norm = nn.LayerNorm(width)
        # A sigmoid shrinks what passes by 4 and more: with torch's default a cell has forgotten a
        # step after the next one.
        nn.init.orthogonal_(self.from_state.weight, gain=4.0)

    def states(self, inputs: Tensor) -> Tensor:
        """Return the states [B, T, D] of inputs [B, T, D]."""
        driven = self.from_input(inputs)
        state = torch.zeros_like(driven[:, 0])
        found = []
        for step in driven.unbind(dim=1):
            state = torch.sigmoid(self.from_state(state) + step)
            found.append(state)
        return torch.stack(found, dim=1)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, T, ...]; see `Encoder.forward`. Reading forward, no step hears padding."""
        embedded, mask = self.tokens(x, lengths)
        outputs = torch.sigmoid(self.out(self.states(self.dropout(embedded))))
        return self.norm(outputs), mask
