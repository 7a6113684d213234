"""Intermediate fusion: torch's own Transformer encoders, then attention from each to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbench.models.clock import timeline
from mmbench.models.contract import Fusion
from mmbench.models.joint import anything
from mmbench.models.layers import pool
from mmbench.spec import Count, Positive
from mmbench.types import Branch, Fused, Stream


def _encoder(width: int, heads: int, depth: int, hidden: int) -> nn.TransformerEncoder:
    """Return torch's encoder, without the modules that drop nothing."""
    layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    for part in encoder.modules():
        for name, child in part.named_children():
            if isinstance(child, nn.Dropout):
                setattr(part, name, nn.Identity())
    # torch copies one layer, weights and all; each has to start from its own.
    for weights in encoder.parameters():
        if weights.dim() > 1:
            nn.init.xavier_uniform_(weights)
    return encoder


class CrossTransformer(Fusion):
    """``nn.TransformerEncoder`` for each modality, and one ``nn.MultiheadAttention`` each after it.

    The textbook example of a multimodal Transformer, whose text asks an image. As printed it lacks

    - equal widths: keys and values of the image go into an attention that is made for the text's
      width, so that it fails unless the two are equal. Here encoders bring all modalities to D.
    - ``batch_first``: with torch's default the first axis is time, and [B, T, D] is attended to
      across the batch: items hear one another, and nothing fails.
    - a padding mask, in the encoders and in the attention: padding is heard.
    - positions: for attention a text is a bag of words. Here they come from the encoders below
      (``transformer`` with a depth of 0, ``cnn``, ``logmel``, ``mlp``).
    - the other direction: only the text asks. Here each modality asks all others.
    - a head, and a way from words and pixels to embeddings.

    As printed, what is handed on is what attention returns, without what asked for it.

    Args:
        modalities: Their names.
        width: D.
        heads: H, of the encoders and of the attention.
        depth: Layers of each encoder.
        hidden: Width of the encoders' feed-forward part; 4 D if 0, as 2048 to torch's 512.
    """

    at_least = 2
    timed = True
    unordered = True

    def __init__(
        self,
        modalities: Sequence[str],
        width: int,
        heads: Positive = 4,
        depth: Count = 2,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.encoders = nn.ModuleDict(
            {m: _encoder(width, heads, depth, hidden or 4 * width) for m in modalities}
        )
        self.cross_attention = nn.ModuleDict(
            {m: nn.MultiheadAttention(width, heads, batch_first=True) for m in modalities}
        )

    @property
    def branches(self) -> Sequence[str]:
        """One: ``joint``."""
        return ("joint",)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse: [B, T_m, D] of each modality -> one branch [B, sum of T_m, D]."""
        masks = {name: streams[name].mask for name in self.encoders}
        tokens = {
            name: encoder(streams[name].x, src_key_padding_mask=~masks[name])
            for name, encoder in self.encoders.items()
        }
        answers = []
        for name, attention in self.cross_attention.items():
            others = _others(tokens, name)
            unreal = ~_others(masks, name)
            found, _ = attention(
                tokens[name], others, others, key_padding_mask=unreal, need_weights=False
            )
            answers.append(found)
        seq = torch.cat(answers, dim=1)
        mask = torch.cat(list(masks.values()), dim=1)
        return Fused(
            [Branch("joint", seq, mask, pool(seq, mask), anything(streams), *timeline(streams))]
        )


def _others(parts: Mapping[str, Tensor], name: str) -> Tensor:
    return torch.cat([part for other, part in parts.items() if other != name], dim=1)
