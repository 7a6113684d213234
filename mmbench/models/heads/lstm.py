"""Text head: a long short-term memory decoder with attention."""

from __future__ import annotations

from torch import nn

from mmbench.models.heads._recurrent import RecurrentHead


class LSTM(RecurrentHead):
    """A `RecurrentHead` on an LSTM (Hochreiter and Schmidhuber 1997)."""

    cell_type = nn.LSTM
