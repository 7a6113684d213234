"""Encoder of sequences: a bidirectional long short-term memory."""

from __future__ import annotations

from torch import nn

from mmbench.models.encoders._recurrent import Recurrent


class LSTM(Recurrent):
    """The LSTM of Hochreiter and Schmidhuber 1997 (doi:10.1162/neco.1997.9.8.1735), as torch's."""

    layer = nn.LSTM
