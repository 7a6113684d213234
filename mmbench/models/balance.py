"""Keeping one modality from learning at the others' expense: recipe options, not strategies.

Whatever the fusion, the modality that is easiest to learn from leaves the others little to learn.
Two remedies act on any model: taking modalities away at random, and slowing the one that leads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmbench import rng
from mmbench.types import Batch

if TYPE_CHECKING:
    from mmbench.models.model import Model


def drop_modalities(
    batch: Batch,
    chance: float,
    seed: int,
    *names: object,
    sides: Sequence[Sequence[str]] | None = None,
    start: int = 0,
    whole: int | None = None,
) -> Batch:
    """Take each modality away from each item with a probability, but never its last one.

    ModDrop (Neverova et al. 2015, arXiv:1501.00102), item by item. An item keeps the modality
    whose draw was the highest where all would go; what an item lacks anyway stays away.

    Args:
        batch: B items of M modalities.
        chance: The probability.
        seed: The run's seed.
        *names: The random stream.
        sides: The modalities that belong to one item, by item, where a batch is of pairs: each of
            the two keeps one at least.
        start: Where these items begin in a batch that is worked on in parts.
        whole: How many items that batch has; None: these are all.
    """
    for side in sides if sides is not None else [list(batch.present)]:
        batch = _drop(batch, side, chance, seed, *names, start=start, whole=whole)
        names = (*names, "gallery")
    return batch


def _drop(
    batch: Batch,
    side: Sequence[str],
    chance: float,
    seed: int,
    *names: object,
    start: int,
    whole: int | None,
) -> Batch:
    own = {name: batch.present[name] for name in side}
    if len(own) < 2:
        return batch
    present = torch.stack(list(own.values()), dim=1)  # [B, M]
    count, modalities = present.shape
    drawn = rng.uniform(seed, *names, count=(whole or count) * modalities)
    drawn = drawn[start * modalities : (start + count) * modalities]
    draws = torch.from_numpy(drawn).to(present.device).view_as(present)
    draws = torch.where(present, draws, -1.0)
    last = draws == draws.amax(dim=1, keepdim=True)
    left = present & ((draws >= chance) | last)
    kept = dict(zip(own, left.unbind(dim=1), strict=True))
    return replace(batch, present={**batch.present, **kept})


@torch.no_grad()
def confidence(model: Model, batch: Batch) -> dict[str, float]:
    """Return, for each modality, how likely the right answers are from it alone, in (0, 1].

    ``exp(-NLL)`` of the main output, the other modalities being absent: for classes the geometric
    mean of the right ones' probabilities. It can be had of any fusion.
    """
    output = model.signature.main
    found = {}
    for name in model.encoders:
        alone = {m: p if m == name else torch.zeros_like(p) for m, p in batch.present.items()}
        branches = model.fuse(replace(batch, present=alone)).branches
        target = batch.targets[output]
        said = model.verdict(output, branches, target).combined.answer
        found[name] = float((-model.head_of(output, 0).nll(said, target)).exp())
    return found


def coefficients(found: dict[str, float], alpha: float) -> dict[str, float]:
    """Return by how much each modality's gradient is multiplied, in (0, 1].

    OGM: with rho the ratio of a modality's confidence to the mean of the others', k = 1 -
    tanh(alpha rho) where rho > 1, else 1.

    >>> {m: round(k, 3) for m, k in coefficients({"text": 0.6, "audio": 0.3}, 0.5).items()}
    {'text': 0.238, 'audio': 1.0}
    """
    total = sum(found.values())
    result = {}
    for name, value in found.items():
        others = (total - value) / max(len(found) - 1, 1)
        rho = value / max(others, 1e-12)
        result[name] = 1.0 - math.tanh(alpha * rho) if rho > 1.0 else 1.0
    return result


def modulate(
    model: Model,
    batch: Batch,
    alpha: float,
    seed: int,
    *names: object,
    everywhere: Callable[[dict[str, float]], dict[str, float]] | None = None,
) -> dict[str, float]:
    """Slow the encoder of the modality that leads, in place, after a backward pass: OGM-GE.

    Peng et al. 2022, arXiv:2203.15332: a gradient g becomes k g + noise, with the noise normal and
    as spread as g itself (it makes up for what a smaller step explores less). Departs from the
    paper in how a modality's confidence is had (see `confidence`; theirs splits the weights of a
    concatenation), in comparing more than two modalities, and in acting on all parameters of the
    encoders, not on those of convolutions alone.

    Args:
        model: After a backward pass.
        batch: What it saw.
        alpha: Strength.
        seed: The run's seed.
        *names: The random stream of the noise.
        everywhere: Turns the confidences on a part of a batch into those on all of it.

    Returns:
        Modality -> k.
    """
    if len(model.encoders) < 2:
        return dict.fromkeys(model.encoders, 1.0)
    sure = confidence(model, batch)
    found = coefficients(sure if everywhere is None else everywhere(sure), alpha)
    stream = torch.Generator().manual_seed(rng.torch_seed(seed, *names))
    for name, k in found.items():
        for gradient in _gradients(list(model.encoders[name].parameters())):
            spread = gradient.std() if gradient.numel() > 1 else gradient.new_zeros(())
            noise = torch.randn(gradient.shape, generator=stream, dtype=gradient.dtype)
            gradient.mul_(k).add_(noise.to(gradient.device) * spread)
    return found


def _gradients(parameters: Sequence[torch.nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
