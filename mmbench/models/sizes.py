"""The width with which a model has as many parameters as a task wants."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec
import torch

from mmbench.errors import SpecError
from mmbench.models.build import build
from mmbench.spec import ModelSpec
from mmbench.types import Signature

#: Widths are multiples of this, so that every number of attention heads in use divides them.
STEP = 4
#: The widest model that is looked for.
WIDEST = 1024
#: Of how many steps a component may want widths to be multiples: one of eight heads wants two.
STRIDES = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32)


def matched_width(model: ModelSpec, signature: Signature, parameters: int) -> int:
    """Return the width whose number of parameters is nearest to `parameters`.

    Models of one strategy grow with their width: the search doubles it until there are enough, and
    then halves the widths that are left. Nothing much wider than what is wanted is ever built: the
    full tensor of three wide modalities would fit into no memory. On a tie, and where even the
    narrowest is too large, the narrower one is taken. Where a component refuses some widths, only
    multiples of the first one that it takes are looked at.

    Raises:
        SpecError: No width will do.
    """

    @cache
    def count(times: int) -> int:
        return counted(times * stride)

    def counted(steps: int) -> int:
        wide = msgspec.structs.replace(model, width=steps * STEP)
        # Not on the meta device, which draws nothing, but loads torch's compiler to do so.
        with torch.random.fork_rng(devices=[]):
            built = build(wide, signature)
        return sum(p.numel() for p in built.parameters() if p.requires_grad)

    stride = _stride(counted)
    if not stride:
        counted(model.width // STEP)  # says what is wrong with a width that the user knows
        return model.width
    most = WIDEST // STEP // stride
    low, high = 1, 1
    while high < most and count(high) < parameters:
        low, high = high + 1, min(2 * high, most)
    while low < high:
        middle = (low + high) // 2
        if count(middle) < parameters:
            low = middle + 1
        else:
            high = middle
    nearest = min((s for s in (low - 1, low) if s), key=lambda s: abs(count(s) - parameters))
    return nearest * stride * STEP


def _stride(counted: Callable[[int], int]) -> int:
    """Return of how many steps widths have to be multiples; 0 if nothing can be built."""
    for stride in STRIDES:
        try:
            counted(stride)
        except SpecError:
            continue
        return stride
    return 0
