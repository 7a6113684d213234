"""Decoders that give back what the encoders read, for fusions that are held to reconstruct it.

Each is a likelihood of one item's raw input given a vector. Likelihoods are per dimension (number,
pixel, word), so that a long modality does not drown a short one, and without their constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.types import Modality, Stream

#: Channels of a picture's decoder, and how often it doubles height and width.
CHANNELS, DOUBLINGS = 16, 3
#: The kinds of modality that are pixels from 0 to 255: [C, H, W], of a video [T, H, W].
PIXELS = ("image", "spectrogram", "video")
#: Points around which a decoded set of points lies.
CENTRES = 16


class Decoder(nn.Module):
    """-log p(x | z) per dimension, by the kind of modality.

    ``image``, ``spectrogram`` and ``video`` (its frames as channels): Bernoulli of pixels scaled to
    [0, 1], decoded by transposed convolutions. ``text``: multinomial, a bag of words. ``points``:
    each is drawn from an even mixture of Gaussians of unit variance around `CENTRES` points, so
    that their order says nothing. ``sequence``, ``vector``, ``set``, ``graph`` and all other kinds,
    which are numbers: Gaussian of unit variance.

    Args:
        modality: What one item looks like.
        size: L, numbers in z.
        hidden: Width of the hidden layer.
    """

    def __init__(self, modality: Modality, size: int, hidden: int) -> None:
        super().__init__()
        self.kind = modality.kind
        self.shape = modality.shape
        self.hidden = nn.Sequential(nn.Linear(size, hidden), nn.GELU())
        self.last: nn.Module
        if self.kind == "text":
            self.last = nn.Linear(hidden, len(modality.vocabulary))
        elif self.kind in PIXELS:
            self.last = _Picture(hidden, self.shape)
        elif self.kind == "points":
            self.last = nn.Linear(hidden, CENTRES * self.shape[1])
        elif modality.vocabulary:
            raise ValueError(f"cannot reconstruct a modality of kind {self.kind!r}")
        else:
            self.last = nn.Linear(hidden, math.prod(self.shape))

    def forward(self, z: Tensor, raw: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [B] nats per dimension of raw [B, ...] given z [B, L]; padding does not count."""
        said = self.last(self.hidden(z)).float()
        real = self._real(raw, lengths)
        if self.kind == "text":
            words = torch.where(real, raw, 0).long()
            each = -said.log_softmax(dim=-1).gather(1, words)
        else:
            raw = torch.where(real, raw, 0).float()
            if self.kind == "points":
                return _of_points(said.view(len(said), CENTRES, -1), raw, real)
            said = said.view(-1, *self.shape)[tuple(slice(0, n) for n in (None, *raw.shape[1:]))]
            if self.kind in PIXELS:
                target = (raw / 255.0).clamp(0.0, 1.0)
                each = F.binary_cross_entropy_with_logits(said, target, reduction="none")
            else:
                each = 0.5 * (raw - said).square()
        counts = real.expand_as(each).flatten(1)
        total: Tensor = (each.flatten(1) * counts).sum(dim=1)
        return total / counts.sum(dim=1).clamp(min=1)

    def _real(self, raw: Tensor, lengths: Tensor | None) -> Tensor:
        """Return what of raw [B, ...] is no padding, of a shape that broadcasts to it."""
        axis = 2 if self.kind == "spectrogram" else 1
        if lengths is None:
            return raw != 0 if self.kind == "text" else torch.ones_like(raw, dtype=torch.bool)
        real = torch.arange(raw.shape[axis], device=raw.device) < lengths[:, None]
        return real.view(len(raw), *[n if a == axis else 1 for a, n in enumerate(raw.shape)][1:])


def _of_points(centres: Tensor, raw: Tensor, real: Tensor) -> Tensor:
    """Return [B] nats per number of points [B, N, d] drawn around centres [B, K, d].

    Args:
        centres: Those of the even mixture.
        raw: The points.
        real: [B, N, 1] or of raw's shape, which of them are no padding.
    """
    squares = (raw[:, :, None] - centres[:, None]).square().sum(dim=-1)  # [B, N, K]
    each = math.log(centres.shape[1]) - torch.logsumexp(-0.5 * squares, dim=-1)
    there = real[..., 0]
    total: Tensor = (each * there).sum(dim=1)
    return total / (raw.shape[-1] * there.sum(dim=1)).clamp(min=1)


class _Picture(nn.Module):
    """Logits [B, C, H, W] of pixels from a vector [B, hidden]: a coarse map, doubled in steps."""

    def __init__(self, hidden: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, self.height, self.breadth = shape
        step = 2**DOUBLINGS
        self.coarse = (CHANNELS, -(-self.height // step), -(-self.breadth // step))
        self.first = nn.Linear(hidden, math.prod(self.coarse))
        stages: list[nn.Module] = []
        for at in range(DOUBLINGS):
            out = channels if at == DOUBLINGS - 1 else CHANNELS
            stages += [nn.GELU(), nn.ConvTranspose2d(CHANNELS, out, 4, stride=2, padding=1)]
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.stages(self.first(x).view(-1, *self.coarse))
        return maps[..., : self.height, : self.breadth]


class Decoders(nn.Module):
    """One decoder for each modality.

    Args:
        inputs: Modality -> what one item looks like.
        size: L, numbers in what they decode.
        hidden: Width of their hidden layers.
        weights: Modality -> weight of its likelihood (lambda); 1 for those not named.

    Raises:
        ValueError: A weight is of a modality that is not there.
    """

    def __init__(
        self,
        inputs: Mapping[str, Modality],
        size: int,
        hidden: int,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        strange = sorted(set(weights or {}) - set(inputs))
        if strange:
            known = ", ".join(inputs) or "none"
            raise ValueError(f"weights.{strange[0]}: there is no such modality: it has {known}")
        self.weights = {name: (weights or {}).get(name, 1.0) for name in inputs}
        self.each = nn.ModuleDict({n: Decoder(m, size, hidden) for n, m in inputs.items()})

    def forward(self, name: str, z: Tensor, stream: Stream) -> Tensor:
        """Return [B], the weighted loss of giving back a modality from z [B, L]."""
        assert stream.raw is not None
        loss: Tensor = self.each[name](z, stream.raw, stream.lengths)
        return self.weights[name] * loss
