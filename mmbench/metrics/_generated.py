"""What metrics that compare features of generated images with those of real ones need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.metrics._items.image import ImageItems
    from mmbench.types import Floats


def lacks_features(items: ImageItems, fewest: int = 3, per_feature: int = 0) -> str:
    """Say what is missing to compare features, or return an empty string."""
    if items.generated is None:
        return "the predictions have no column 'features': give those of each generated image"
    gone = np.flatnonzero(items.missing)
    if len(gone):
        return (
            f"{len(gone)} generated images are missing (item {gone[0]} first): a set of images "
            f"cannot be compared in part; score all, or only the items that there are"
        )
    need = max(fewest, per_feature * items.real.shape[1])
    if len(items) < need:
        return (
            f"{len(items)} images are too few: it needs {need} for {items.real.shape[1]} features"
        )
    return ""


def both(items: ImageItems, fewest: int = 3) -> tuple[Floats, Floats]:
    """Return the features of real and of generated images, [N, D] each.

    Raises:
        UsageError: There are none, some are missing, or they are too few.
    """
    reason = lacks_features(items, fewest)
    if items.generated is None or reason:
        raise UsageError(reason)
    return items.real, items.generated
