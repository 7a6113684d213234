"""Streams for tests of fusions: modalities of random tokens, some of them padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbench import registry
from mmbench.models.contract import Fusion
from mmbench.types import Stream

WIDTH = 8
ITEMS = 5
NAMES = ("text", "vision", "audio", "touch", "smell")


def streams(
    names: Sequence[str] = NAMES[:3], seed: int = 0, items: int = ITEMS
) -> dict[str, Stream]:
    """Draw items; every modality has its own number of tokens and its own padding."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for place, name in enumerate(names):
        tokens = 3 + place
        lengths = torch.randint(1, tokens + 1, (items, 1), generator=draw)
        lengths[0] = tokens
        order = torch.arange(tokens)
        found[name] = Stream(
            x=torch.randn(items, tokens, WIDTH, generator=draw),
            mask=order < lengths,
            time=(order / (lengths - 1).clamp(min=1)).clamp(max=1.0),
            present=torch.ones(items, dtype=torch.bool),
        )
    return found


def fusion(name: str, names: Sequence[str] = NAMES[:3], seed: int = 0, **params: Any) -> Any:
    """Build a fusion by name; any parameter that starts as zeros or ones is drawn instead."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: Fusion = registry.load("fusion", name)(list(names), WIDTH, **params)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def peaks(given: Mapping[str, Stream]) -> dict[str, Tensor]:
    """Sum up each modality: the largest value of every feature among its real tokens."""
    return {
        name: torch.stack([x[m].max(dim=0).values for x, m in zip(s.x, s.mask, strict=True)])
        for name, s in given.items()
    }


def normed(x: Tensor) -> Tensor:
    """Norm over the last axis, without weights."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
