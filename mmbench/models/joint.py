"""What fusions share that give one branch, ``joint``: own encoders, summaries, the branch itself.

Functions over a `torch.nn.ModuleDict` instead of a class of its own, so that a modality may have
any name that torch has a place for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.attention import quiet_block
from mmbench.models.clock import timeline
from mmbench.models.layers import FeedForward, peak
from mmbench.types import Branch, Fused, Stream


class Mix(nn.Module):
    """A residual network of two layers on a vector: [B, D] -> [B, D].

    Args:
        width: D.
        dropout: Probability on the hidden layer.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.change = FeedForward(width, 2 * width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the network says of x [B, D] to it."""
        changed: Tensor = x + self.change(self.norm(x))
        return changed


class Own(nn.Module):
    """A modality's own encoder: `depth` pre-norm blocks without a norm after them.

    What is louder stays louder, so that a summary by peaks finds the token that tells something.

    Args:
        width: D.
        depth: Number of blocks; 0 hands the tokens on as they come.
        heads: Attention heads.
        dropout: Probability on residual branches.
    """

    def __init__(self, width: int, depth: int, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(quiet_block(width, heads, dropout) for _ in range(depth))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode [B, T, D]; mask [B, T], True = real."""
        for block in self.blocks:
            x = block(x, mask)
        return x


def own_towers(
    modalities: Iterable[str], width: int, depth: int, dropout: float = 0.0
) -> nn.ModuleDict:
    """Return an encoder of `depth` layers for each modality."""
    return nn.ModuleDict({m: Own(width, depth, dropout=dropout) for m in modalities})


def encode(towers: nn.ModuleDict, streams: Mapping[str, Stream]) -> dict[str, Tensor]:
    """Encode each modality by itself: modality -> [B, T_m, D], in the order of `towers`."""
    return {name: tower(streams[name].x, streams[name].mask) for name, tower in towers.items()}


def summaries(towers: nn.ModuleDict, streams: Mapping[str, Stream]) -> dict[str, Tensor]:
    """Encode each modality by itself and sum it up by its peaks: modality -> [B, D].

    Not by the mean: one telling token among ten is a tenth of the mean, and a product of three
    tenths is a thousandth, from which products of modalities are not learned.
    """
    return {name: peak(x, streams[name].mask) for name, x in encode(towers, streams).items()}


def anything(streams: Mapping[str, Stream]) -> Tensor:
    """Return [B], True where an item has one modality at least."""
    return torch.stack([stream.present for stream in streams.values()]).any(dim=0)


def of_vector(joint: Tensor, streams: Mapping[str, Stream]) -> Fused:
    """Return the branch of a strategy that fuses to one vector [B, D]: a memory of one token."""
    joint = F.layer_norm(joint, joint.shape[-1:])
    one = torch.ones(len(joint), 1, dtype=torch.bool, device=joint.device)
    return Fused([Branch("joint", joint[:, None], one, joint, anything(streams))])


def of_tokens(seq: Tensor, mask: Tensor, streams: Mapping[str, Stream]) -> Fused:
    """Return the branch of a strategy that fuses to tokens [B, T, D]; their peaks sum it up.

    Decoders want normalised memories; the peaks are taken before that, while what is louder still
    is. The norms have no weights, since a head listens to one of the two only.
    """
    pooled = F.layer_norm(peak(seq, mask), seq.shape[-1:])
    seq = F.layer_norm(seq, seq.shape[-1:])
    time, parts = timeline(streams)
    if time.shape != mask.shape:  # tokens of no modality: they are at no time
        return Fused([Branch("joint", seq, mask, pooled, anything(streams))])
    return Fused([Branch("joint", seq, mask, pooled, anything(streams), time, parts)])
