"""Encoder of sequences: embeddings and one long short-term memory that reads forward."""

from __future__ import annotations

from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._tokens import Tokens
from mmbench.models.layers import drop
from mmbench.spec import Decay
from mmbench.types import Modality


class LSTMForward(Encoder):
    """Embedding, then an LSTM of D units in the order of time; a token is the state at a step.

    The text half of the textbook example of sentiment from text and image. Unlike the encoder
    `lstm`, which reads in both directions with half the units each, the last state here has read
    everything, so that it can stand for the whole text, which the example needs and forgets: it
    hands on the states of all steps, and those cannot be laid beside an image. A fusion that
    takes the last token mends that.

    Args:
        modality: ``text`` [L] with its vocabulary (token 0 is padding), or ``sequence`` [T, d],
            whose steps are projected instead of embedded.
        width: D, of the embeddings and of the states.
        dropout: Probability on the embeddings.
    """

    kinds = ("text", "sequence")

    def __init__(self, modality: Modality, width: int, dropout: Decay = 0.0) -> None:
        super().__init__()
        self.tokens = Tokens(modality, width)
        self.dropout = drop(dropout)
        self.cell = nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, T, ...]; see `Encoder.forward`. Padding comes after all that is real."""
        embedded, mask = self.tokens(x, lengths)
        return self.cell(self.dropout(embedded))[0], mask
