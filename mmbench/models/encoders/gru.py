"""Encoder of sequences: a bidirectional gated recurrent unit."""

from __future__ import annotations

from torch import nn

from mmbench.models.encoders._recurrent import Recurrent


class GRU(Recurrent):
    """The gated recurrent unit of Cho et al. 2014 (arXiv:1406.1078), in torch's form."""

    layer = nn.GRU
