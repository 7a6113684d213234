"""Text head: a gated recurrent unit decoder with attention."""

from __future__ import annotations

from torch import nn

from mmbench.models.heads._recurrent import RecurrentHead


class GRU(RecurrentHead):
    """A `RecurrentHead` on a GRU (Cho et al. 2014, arXiv:1406.1078)."""

    cell_type = nn.GRU
