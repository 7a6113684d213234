"""Intermediate fusion: one after the other enters the joint state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmbench.models.contract import Fusion
from mmbench.models.joint import anything, encode, own_towers, summaries
from mmbench.spec import Count, Decay
from mmbench.types import Branch, Fused, Stream


class Sequential(Fusion):
    """A GRU takes in one modality, or one token, after the other: u_0 = 0, u_k = GRU(u_k-1, z_k).

    The GRU is that of Cho et al. 2014 (arXiv:1406.1078), with the same weights at every step. The
    last state sums up; all states are the memory.

    Args:
        modalities: Their names.
        width: D.
        axis: ``modality``: step k reads the summary of the k-th modality; ``time``: the GRU reads
            the tokens of all modalities, sorted by when they are.
        order: Names of all modalities in the order in which they are read; along ``time``, the
            order of tokens at the same moment. Empty: the task's order.
        depth: Layers that each modality has of its own before.
        dropout: Probability on residual branches.

    Raises:
        ValueError: `order` does not name every modality once.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        axis: Literal["modality", "time"] = "modality",
        order: Sequence[str] = (),
        depth: Count = 0,
        dropout: Decay = 0.0,
    ) -> None:
        super().__init__()
        if order and sorted(order) != sorted(modalities):
            raise ValueError(
                f"order names {', '.join(order)}, and has to name each of "
                f"{', '.join(modalities)} once"
            )
        self.order = tuple(order or modalities)
        self.axis = axis
        self.timed = axis == "time"
        self.towers = own_towers(modalities, width, depth, dropout)
        # A norm of its own tells the GRU which modality it reads.
        self.norms = nn.ModuleDict({m: nn.LayerNorm(width) for m in modalities})
        self.gru = nn.GRU(width, width, batch_first=True)

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, K, D], K steps.

        K is the number of modalities, or along time that of all tokens, the padding last.
        """
        if self.axis == "time":
            steps, mask, time = self._in_time(encode(self.towers, streams), streams)
        else:
            summary = summaries(self.towers, streams)
            steps = torch.stack([self.norms[m](summary[m]) for m in self.order], dim=1)
            mask = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
            time = None
        states, _ = self.gru(steps)
        # Padding comes last, so what the GRU makes of it reaches no state before it.
        last = mask.sum(dim=1) - 1
        final = states[torch.arange(len(states), device=states.device), last]
        return Fused([Branch("joint", states, mask, final, anything(streams), time)])

    def _in_time(
        self, tokens: Mapping[str, Tensor], streams: Mapping[str, Stream]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        every = torch.cat([self.norms[m](tokens[m]) for m in self.order], dim=1)
        mask = torch.cat([streams[m].mask for m in self.order], dim=1)
        time = torch.cat([streams[m].time for m in self.order], dim=1)
        rank = time.masked_fill(~mask, torch.inf).argsort(dim=1, stable=True)
        sorted_ = every.gather(1, rank[..., None].expand_as(every))
        return sorted_, mask.gather(1, rank), time.gather(1, rank)
