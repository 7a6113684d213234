"""Metrics whose pseudo-values need all items and all their numbers at once: the rows hold them.

What a rank or a mean over classes needs of an item is a number for each class, too much to keep.
So such a metric is settled when it is measured; seeds, clusters and differences follow from its
rows, subgroups do not (``local=False``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmbench.types import Floats

#: What the rows hold: the value of all items, and by how much an item's pseudo-value differs.
COLUMNS = ("value", "deviation")


def settle(value: float, pseudo: Floats) -> Floats:
    """Return [N, 2] the rows of a value and its pseudo-values [N]."""
    return np.stack([np.full_like(pseudo, value), pseudo - value], axis=1)


def settled(rows: Floats) -> tuple[float, Floats]:
    """Return the value and the pseudo-values [N] of rows that `settle` has made."""
    return float(rows[0, 0]), rows[:, 0] + rows[:, 1]
