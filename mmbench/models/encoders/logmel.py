"""Sound encoder: convolutions over a log-mel spectrogram, each step of time one token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.layers import Positions
from mmbench.types import Modality


class LogMel(Encoder):
    """Two convolutions over time whose channels are the mel bands of all audio channels.

    Frequencies are features, not a second axis: a band's place is its meaning, and so is the
    level difference between left and right.

    Args:
        modality: ``spectrogram``, shape [C, T, F], uint8.
        width: D.
        hidden: Channels between.
        stride: Frames per token.
    """

    kinds = ("spectrogram",)

    def __init__(
        self, modality: Modality, width: int, hidden: int = 64, stride: int = 2
    ) -> None:
        super().__init__()
        channels, frames, bands = modality.shape
        self.stride = stride
        self.spread = nn.Conv1d(channels * bands, hidden, 3, padding=1)
        self.step = nn.Conv1d(hidden, hidden, 3, stride=stride, padding=1)
        self.project = nn.Sequential(nn.Linear(hidden, width), nn.LayerNorm(width))
        self.positions = Positions((frames + stride - 1) // stride, width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode spectrograms [B, C, T, F] uint8; see `Encoder.forward`."""
        frames = x.float() / 127.5 - 1.0
        heard = torch.ones(x.shape[0], x.shape[2], dtype=torch.bool, device=x.device)
        if lengths is not None:
            heard = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
        # Zeroed before every convolution: what lies beyond the end must not leak back.
        flat = frames.permute(0, 1, 3, 2).flatten(1, 2) * heard[:, None]
        hidden = torch.relu(self.spread(flat)) * heard[:, None]
        tokens = torch.relu(self.step(hidden)).transpose(1, 2)
        return self.positions(self.project(tokens)), heard[:, :: self.stride]
