"""Prediction: a trained model reads a split, in the split's order. And what one item costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import devices
from mmbench.errors import DataError
from mmbench.spec import DecodingSpec
from mmbench.types import Predictions, Split

if TYPE_CHECKING:
    from mmbench.models.model import Model

#: Items per batch; texts are decoded together, and no result depends on it.
BATCH = 125
#: Items over which operations are counted.
COUNTED = 8


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

    group = devices.group()
    device = next(model.parameters()).device
    feed = Feed(split, device, list(model.encoders), limit)
    if len(feed) == 0:
        raise DataError("the split is empty: nothing to predict")
    options = {"beams": decoding.beams, "length_penalty": decoding.length_penalty}
    parts: list[tuple[dict[str, list[Any]], dict[str, list[Any]]]] = []
    model.eval()
    with torch.no_grad():
        # Batches are the same whoever reads them; processes that share a run take turns.
        for start in range(group.rank * BATCH, len(feed), group.count * BATCH):
            index = np.arange(start, min(start + BATCH, len(feed)), dtype=np.int64)
            parts.append(model.read_out(feed.batch(index), options))
            if progress is not None:
                progress(int(index[-1]) + 1, len(feed))
    outputs: dict[str, list[Any]] = {}
    columns: dict[str, list[Any]] = {}
    for said, more in group.gathered(parts):
        for table, part in ((outputs, said), (columns, more)):
            for name, values in part.items():
                table.setdefault(name, []).extend(values)
    columns["branches"] = [list(model.fusion.branches)] * len(feed)
    return Predictions(list(split.ids[: len(feed)]), outputs, columns)


def flops_per_item(model: Model, split: Split) -> int:
    """Count the floating-point operations of one forward pass, per item.

    A multiplication and an addition are two. What is counted are products of matrices,
    convolutions and attention, as `torch.utils.flop_counter` counts them, over the first
    `COUNTED` items; texts are read along, not decoded, so that the number of beams does not matter.
    Nothing is trained and no random number of the run is drawn.

    Args:
        model: On its device.
        split: The items, with targets.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from mmbench.models.feed import Feed
    from mmbench.models.operations import Operations

    device = next(model.parameters()).device
    feed = Feed(split, device, list(model.encoders), min(COUNTED, len(split)), targets=True)
    batch = feed.batch(np.arange(len(feed), dtype=np.int64))
    model.eval()
    counter = Operations()
    # Fused kernels of attention and of recurrent layers are one operation that nobody counts;
    # without them the same products are done one by one, and so are layers that know no gradient.
    with _unfused(), sdpa_kernel(SDPBackend.MATH), torch.enable_grad(), counter:
        branches = model.fuse(batch).branches
        for name in model.heads:
            model.verdict(name, branches, batch.targets[name])
    return round(counter.total / len(feed))


@contextmanager
def _unfused() -> Iterator[None]:
    """Let recurrent layers compute by plain products."""
    import torch

    with warnings.catch_warnings(), torch.backends.cudnn.flags(enabled=False):
        warnings.simplefilter("ignore")  # about accelerators that are not there
        with torch.backends.mkldnn.flags(enabled=False):
            yield
