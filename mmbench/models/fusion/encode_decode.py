"""Intermediate fusion: what the encoders say goes to the decoder as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmbench.models.clock import timeline
from mmbench.models.contract import Fusion
from mmbench.models.joint import anything
from mmbench.models.layers import pool
from mmbench.types import Branch, Fused, Stream


class EncodeDecode(Fusion):
    """Lay the features of all modalities side by side; modalities meet in the head alone.

    The textbook example of a multimodal language model in two lines: encode an image or a text,
    decode the features to a text. As printed it calls ``encode_image``, ``encode_text`` and
    ``decode_text`` of a variable that nothing defines, misspelt besides; it is a sketch of a model
    and none. And it encodes one modality at a time, so there is nothing that it fuses.

    Mended: the encoders are those of the recipe, the decoder is its text head, which attends to
    the features of all modalities at once; for classes and numbers, which have no decoder, a head
    on their mean takes its place. A norm and a learned mark of the modality, without which the
    decoder cannot tell an image's feature from a word's, is all that stands between.

    Args:
        modalities: Their names.
        width: D.
    """

    timed = True
    unordered = True

    def __init__(self, modalities: Sequence[str], width: int) -> None:
        super().__init__()
        self.marks = nn.ParameterDict({m: torch.randn(width) * 0.3 for m in modalities})
        self.norms = nn.ModuleDict({m: nn.LayerNorm(width) for m in modalities})

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m, D]."""
        features = {
            name: norm(streams[name].x) + self.marks[name] for name, norm in self.norms.items()
        }
        means = [pool(x, streams[name].mask) for name, x in features.items()]
        seq = torch.cat(list(features.values()), dim=1)
        mask = torch.cat([streams[name].mask for name in features], dim=1)
        pooled = torch.stack(means).mean(dim=0)  # each modality counts alike, long or short
        return Fused([Branch("joint", seq, mask, pooled, anything(streams), *timeline(streams))])
