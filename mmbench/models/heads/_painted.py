"""What heads share that paint a picture from a branch's pooled summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbench.errors import IncompatibleError
from mmbench.models.contract import Combiner, Fusion, Head, HeadOut, present_of
from mmbench.models.pictures import Painter, to_pixels, to_unit
from mmbench.models.whole import as_whole
from mmbench.types import Branch, Output

#: Draws standard normal numbers, so many for each item of a batch: [B, size].
Noise = Callable[[int], Tensor]


class PaintedHead(Head):
    """Paint a picture from a branch's summary, and from numbers that are drawn.

    Every pixel is normal with the standard deviation `spread`; likelihoods are in nats a pixel,
    without their constant. The answer is [B, C H W] numbers of -1..1; heads that need more put it
    behind those.

    Args:
        output: ``image``.
        width: D.
        channels: Of the finest map, a multiple of 8.
        spread: Standard deviation of a pixel, of the range -1..1.
        latent: L, numbers that are drawn.
        told: Whether it paints from the summary too.
    """

    kind = "image"

    def __init__(
        self,
        output: Output,
        width: int,
        channels: int,
        spread: float,
        latent: int,
        told: bool = True,
    ) -> None:
        super().__init__()
        if len(output.shape) != 3:
            raise ValueError(f"its output has no channels, height and width: {output.shape}")
        self.shape = output.shape
        self.pixels = math.prod(output.shape)
        self.spread = spread
        self.latent = latent
        self.norm = nn.LayerNorm(width) if told else None
        self.painter = Painter(width * told + latent, output.shape, channels)

    def check(self, fusion: Fusion) -> None:
        """Refuse to draw on several branches: what is drawn apart has no common latent variable."""
        if self.latent and len(fusion.branches) > 1:
            raise IncompatibleError(
                f"the head {type(self).__name__} draws pictures, and {type(fusion).__name__} has "
                f"the branches {', '.join(fusion.branches)}: what each draws for itself cannot be "
                f"merged: name a fusion of one branch, such as early_tokens, or the head 'image'"
            )

    def paint(self, branch: Branch, noise: Tensor | None = None) -> Tensor:
        """Return pictures [B, C, H, W] of -1..1.

        Args:
            branch: What is known.
            noise: [B, latent].
        """
        known = [] if self.norm is None else [self.norm(branch.pooled)]
        drawn = [] if noise is None else [noise.to(branch.pooled.dtype)]
        painted: Tensor = self.painter(torch.cat([*known, *drawn], dim=1))
        return painted

    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return nats a pixel of targets [B, C, H, W] of 0..255."""
        return as_whole(self.distance(answer, target).mean(), _count(target))

    def distance(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return [B] nats a pixel."""
        off = answer[:, : self.pixels] - to_unit(target).flatten(1)
        return 0.5 * off.square().mean(dim=1) / self.spread**2

    def imagine(self, branch: Branch, noise: Noise) -> Tensor:
        """Return a picture for each item, [B, C, H, W] of -1..1, drawn by `noise` where it varies.

        All branches' heads are given the same noise.
        """
        return self.paint(branch, noise(self.latent) if self.latent else None)

    def read_out(
        self,
        heads: Sequence[Head],
        branches: Sequence[Branch],
        combiner: Combiner,
        options: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Return pictures, [C, H, W] uint8 each, and the column ``gate``: each branch's weight.

        ``options["noise"]`` draws (`Noise`); each item's numbers are its own, whatever is beside it
        in the batch.
        """
        device = branches[0].pooled.device
        drawn: dict[int, Tensor] = {}

        def noise(size: int) -> Tensor:
            if size not in drawn:
                drawn[size] = options["noise"](size).to(device)
            return drawn[size]

        outs = []
        for head, branch in zip(heads, branches, strict=True):
            assert isinstance(head, PaintedHead)
            outs.append(HeadOut(branch.pooled, head.imagine(branch, noise).flatten(1)))
        merged = combiner(outs, present_of(branches))
        pictures = to_pixels(merged.answer.view(-1, *self.shape)).cpu().numpy()
        return list(pictures), {"gate": merged.weights.double().flatten(1).tolist()}


def _count(target: Tensor) -> Tensor:
    return torch.tensor(float(len(target)), device=target.device)
