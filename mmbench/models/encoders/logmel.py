"""Sound encoder: convolutions over a log-mel spectrogram, each step of time one token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.layers import Positions
from mmbench.spec import Positive
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
        self, modality: Modality, width: int, hidden: int = 64, stride: Positive = 2
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
        heard = torch.ones(x.shape[0], x.shape[2], dtype=torch.bool, device=x.device)
        if lengths is not None:
            heard = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
        # Zeroed before every convolution: what lies beyond the end must not leak back. Filled at
        # first, since a NaN times 0 stays one.
        x = x.float().masked_fill(~heard[:, None, :, None], 0.0)
        flat = self._standardise(x, heard) * heard[:, None]
        hidden = torch.relu(self.spread(flat)) * heard[:, None]
        tokens = torch.relu(self.step(hidden)).transpose(1, 2)
        return self.positions(self.project(tokens)), heard[:, :: self.stride]

    @staticmethod
    def _standardise(x: Tensor, heard: Tensor) -> Tensor:
        """Give an item mean 0 and variance 1 over all it holds: [B, C, T, F] -> [B, C F, T].

        Recordings are mostly quiet: raw levels would be one large constant, and what differs
        between items a ripple on it. Level differences between channels and bands stay.
        """
        flat = x.permute(0, 1, 3, 2).flatten(1, 2)
        weight = heard[:, None].to(flat.dtype)
        count = (weight.sum(dim=2, keepdim=True) * flat.shape[1]).clamp(min=1.0)
        mean = (flat * weight).sum(dim=(1, 2), keepdim=True) / count
        spread = (((flat - mean) * weight) ** 2).sum(dim=(1, 2), keepdim=True) / count
        return (flat - mean) / (spread + 1.0).sqrt()  # silence, spread 0, stays silence
