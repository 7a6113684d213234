"""What the statistics ask of their arguments, each refused in one line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mmbench.types import Floats


def fraction(name: str, value: float) -> float:
    """Return `value` if it lies strictly between 0 and 1.

    Raises:
        UsageError: It does not.
    """
    if not 0 < value < 1:
        raise UsageError(f"{name} must lie between 0 and 1, got {value}")
    return value


def at_least(name: str, value: float, least: float) -> float:
    """Return `value` if it is finite and not below `least`.

    Raises:
        UsageError: It is neither.
    """
    if not math.isfinite(value) or value < least:
        raise UsageError(f"{name} must be at least {least}, got {value}")
    return value


def one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    """Return `value` if it is among `known`.

    Raises:
        UsageError: It is not.
    """
    if value not in known:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
    return value


def one_or_two_sides(sides: int) -> int:
    """Return `sides` if it is 1 or 2.

    Raises:
        UsageError: It is not.
    """
    if sides not in (1, 2):
        raise UsageError(f"sides must be 1 or 2, got {sides}")
    return sides


def numbers(name: str, values: ArrayLike, shape: str, *ranks: int) -> Floats:
    """Return `values` as finite float64 with one of the numbers of dimensions `ranks`.

    Raises:
        UsageError: They are ragged, empty, not finite, or of another shape than `shape` says.
    """
    try:
        x: Floats = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: expected numbers of shape {shape}, all rows alike") from None
    if x.ndim not in ranks or not x.size:
        raise UsageError(f"{name}: expected numbers of shape {shape}, got {x.shape}")
    if not np.isfinite(x).all():
        raise UsageError(f"{name}: expected finite numbers, got some that are not")
    return x
