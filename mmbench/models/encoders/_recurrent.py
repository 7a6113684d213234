"""What recurrent encoders share: padding never reaches the cell."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._tokens import Tokens
from mmbench.models.layers import drop
from mmbench.spec import Decay
from mmbench.types import Modality


class Recurrent(Encoder):
    """A token per step, read in both directions by one of torch's recurrent layers.

    Args:
        modality: ``text`` [L] with its vocabulary (token 0 is padding), or ``sequence`` [T, d].
        width: D; half of it in each direction.
        dropout: Probability on the embeddings.
    """

    kinds = ("text", "sequence")
    #: torch's layer.
    layer: type[Any] = nn.GRU

    def __init__(self, modality: Modality, width: int, dropout: Decay = 0.0) -> None:
        super().__init__()
        self.tokens = Tokens(modality, width)
        self.dropout = drop(dropout)
        self.cell = self.layer(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, T, ...]; see `Encoder.forward`."""
        embedded, mask = self.tokens(x, lengths)
        embedded = self.dropout(embedded)
        if lengths is None:
            return self.cell(embedded)[0], mask
        # Packing keeps the backward direction from starting in the padding; it needs length >= 1.
        packed = nn.utils.rnn.pack_padded_sequence(
            embedded, lengths.clamp(min=1).cpu().long(), batch_first=True, enforce_sorted=False
        )
        tokens, _ = nn.utils.rnn.pad_packed_sequence(
            self.cell(packed)[0], batch_first=True, total_length=embedded.shape[1]
        )
        return tokens, mask
