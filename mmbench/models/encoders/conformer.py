"""Sound encoder: a small Conformer over a log-mel spectrogram."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._conformer import Layer, Sinusoids
from mmbench.models.encoders._tokens import with_a_key
from mmbench.spec import Count, Decay, Positive
from mmbench.types import Modality


class Conformer(Encoder):
    """Strided convolutions over time, then layers of attention and convolution.

    Gulati et al. 2020, "Conformer" (arXiv:2005.08100), small: bands are channels of the strided
    convolutions, positions are absolute. An item's spectrogram is standardised band by band. While
    training, stretches of time and of bands may be silenced (SpecAugment, Park et al. 2019,
    arXiv:1904.08779).

    Args:
        modality: ``spectrogram``, shape [C, T, F], uint8.
        width: D.
        depth: Layers.
        stride: Frames per token, a power of two.
        kernel: Steps of each layer's convolution.
        heads: Attention heads.
        dropout: Probability on residual branches.
        positions: Whether tokens know when they are.
        masks: Stretches of time, and stretches of bands, that are silenced in training.
        mask_steps: Frames of a silenced stretch at most.
        mask_bands: Bands of a silenced stretch at most.
    """

    kinds = ("spectrogram",)

    def __init__(
        self,
        modality: Modality,
        width: int,
        depth: Count = 2,
        stride: Positive = 4,
        kernel: Positive = 15,
        heads: Count = 4,
        dropout: Decay = 0.0,
        positions: bool = False,
        masks: Count = 0,
        mask_steps: Count = 20,
        mask_bands: Count = 8,
    ) -> None:
        super().__init__()
        if stride & (stride - 1):
            raise ValueError(f"stride = {stride}: expected a power of two")
        channels, frames, bands = modality.shape
        self.stride = stride
        self.masks, self.mask_steps, self.mask_bands = masks, mask_steps, mask_bands
        halvings = stride.bit_length() - 1
        self.spread = nn.Conv1d(channels * bands, width, 3, padding=1)
        self.halve = nn.ModuleList(
            nn.Conv1d(width, width, 3, stride=2, padding=1) for _ in range(halvings)
        )
        self.norm = nn.LayerNorm(width)
        self.positions = Sinusoids(-(-frames // stride), width) if positions else nn.Identity()
        self.layers = nn.ModuleList(
            Layer(width, kernel, heads, dropout=dropout) for _ in range(depth)
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode spectrograms [B, C, T, F] uint8; see `Encoder.forward`."""
        heard = torch.ones(x.shape[0], x.shape[2], dtype=torch.bool, device=x.device)
        if lengths is not None:
            heard = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
        flat = self._standardise(x, heard)
        if self.training and self.masks:
            flat = self._silence(flat, heard, x.shape[3])
        # Zeroed before every convolution: what lies beyond the end must not leak back.
        hidden = torch.relu(self.spread(flat * heard[:, None]))
        mask = heard
        for layer in self.halve:
            hidden = torch.relu(layer(hidden * mask[:, None]))
            mask = mask[:, ::2]
        tokens = self.positions(self.norm(hidden.transpose(1, 2)))
        for block in self.layers:
            tokens = block(tokens, with_a_key(mask))
        return tokens, mask

    @staticmethod
    def _standardise(x: Tensor, heard: Tensor) -> Tensor:
        """Give every band of an item mean 0 and variance 1: [B, C, T, F] -> [B, C F, T].

        A microphone's colour goes, and so does what differs between channels; where that tells
        something (who stands left?), use the encoder `logmel`.
        """
        x = x.float().masked_fill(~heard[:, None, :, None], 0.0)
        flat = x.permute(0, 1, 3, 2).flatten(1, 2)
        weight = heard[:, None].to(flat.dtype)
        count = weight.sum(dim=2, keepdim=True).clamp(min=1.0)
        mean = (flat * weight).sum(dim=2, keepdim=True) / count
        spread = (((flat - mean) * weight) ** 2).sum(dim=2, keepdim=True) / count
        return (flat - mean) / (spread + 1.0).sqrt()

    def _silence(self, flat: Tensor, heard: Tensor, bands: int) -> Tensor:
        """Set stretches of time and of bands to the mean, 0: flat [B, C F, T]."""
        size, rows, length = flat.shape
        keep_time = _gaps(size, self.masks, self.mask_steps, heard.sum(dim=1), length, flat.device)
        whole = torch.full((size,), bands, device=flat.device)
        keep_bands = _gaps(size, self.masks, self.mask_bands, whole, bands, flat.device)
        return flat * keep_time[:, None] * keep_bands.repeat(1, rows // bands)[..., None]


def _gaps(
    size: int, count: int, longest: int, lengths: Tensor, axis: int, device: torch.device
) -> Tensor:
    """Draw `count` gaps of 0 to `longest` places an item: [B, axis], False inside of them."""
    wide = torch.rand(size, count, device=device) * (longest + 1)
    start = torch.rand(size, count, device=device) * (lengths[:, None] - wide).clamp(min=0.0)
    place = torch.arange(axis, device=device)
    first, width = start.floor()[..., None], wide.floor()[..., None]
    return ~((place >= first) & (place < first + width)).any(dim=1)
