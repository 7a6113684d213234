"""Prediction: a trained model reads a split, in the split's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError
from mmbench.spec import DecodingSpec
from mmbench.types import Predictions, Split

if TYPE_CHECKING:
    from mmbench.models.model import Model

#: Items per batch; texts are decoded together, and no result depends on it.
BATCH = 125


def predict(
    model: Model,
    split: Split,
    decoding: DecodingSpec,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predict every output for every item.

    Args:
        model: On its device.
        split: The items.
        decoding: How texts are read out.
        limit: The first `limit` items only.
        progress: Called with (items done, items in all).

    Returns:
        Predictions in the order of the split. The column ``branches`` names, for each item, what
        the weights in an ``OUTPUT.gate`` column belong to.

    Raises:
        DataError: The split is empty.
    """
    import torch

    from mmbench.models.feed import Feed

    device = next(model.parameters()).device
    feed = Feed(split, device, list(model.encoders), limit)
    if len(feed) == 0:
        raise DataError("the split is empty: nothing to predict")
    options = {"beams": decoding.beams, "length_penalty": decoding.length_penalty}
    outputs: dict[str, list[Any]] = {}
    columns: dict[str, list[Any]] = {}
    model.eval()
    with torch.no_grad():
        for start in range(0, len(feed), BATCH):
            index = np.arange(start, min(start + BATCH, len(feed)), dtype=np.int64)
            said, more = model.read_out(feed.batch(index), options)
            for table, part in ((outputs, said), (columns, more)):
                for name, values in part.items():
                    table.setdefault(name, []).extend(values)
            if progress is not None:
                progress(int(index[-1]) + 1, len(feed))
    columns["branches"] = [list(model.fusion.branches)] * len(feed)
    return Predictions(list(split.ids[: len(feed)]), outputs, columns)
