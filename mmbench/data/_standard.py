"""Features in units of their own spread: mean 0 and variance 1 over the training items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmbench.types import Array, Floats


def statistics(values: Array, lengths: Array | None = None) -> tuple[Floats, Floats]:
    """Return mean and spread of each dimension.

    Args:
        values: [N, d], or [N, T, d] with the `lengths` [N] of what is real of each.
        lengths: Given exactly for [N, T, d].

    Returns:
        Two [d] float64: the mean, and the standard deviation, 1 where a dimension is constant.
    """
    rows = values if lengths is None else values[real(values, lengths)]
    if not len(rows):
        return np.zeros(values.shape[-1]), np.ones(values.shape[-1])
    wide = rows.astype(np.float64)
    mean, spread = wide.mean(axis=0), wide.std(axis=0)
    # A constant column has a spread of rounding errors only, which nothing must be divided by.
    flat = spread <= 1e-7 * np.maximum(1.0, np.abs(mean))
    return mean, np.where(flat, 1.0, spread)


def standardise(
    splits: Mapping[str, Array], lengths: Mapping[str, Array] | None = None, train: str = "train"
) -> dict[str, Array]:
    """Return every split in units of the training items' spread, as float32; padding stays 0.

    Args:
        splits: Name -> [N, d] or [N, T, d].
        lengths: Name -> [N], for [N, T, d].
        train: Whose statistics are taken.
    """
    mean, spread = statistics(splits[train], None if lengths is None else lengths[train])
    found = {}
    for name, values in splits.items():
        scaled = ((values - mean) / spread).astype(np.float32)
        if lengths is not None:
            scaled[~real(values, lengths[name])] = 0.0
        found[name] = scaled
    return found


def real(values: Array, lengths: Array) -> Array:
    """Return [N, T] bool: which steps of [N, T, d] are not padding."""
    there: Array = np.arange(values.shape[1]) < np.asarray(lengths)[:, None]
    return there
