"""Prediction: a trained model reads a split, in the split's order. And what one item costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import devices
from mmbench.errors import DataError
from mmbench.room import USUAL, Allowance
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
    memory: Allowance = USUAL,
) -> Predictions:
    """Predict every output for every item.

    Args:
        model: On its device.
        split: The items.
        decoding: How texts are read out.
        limit: The first `limit` items only.
        progress: Called with (items done, items in all).
        memory: What data may take; results do not depend on it.

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
    size = len(split) if limit is None else min(limit, len(split))
    if size == 0:
        raise DataError("the split is empty: nothing to predict")
    options = {"beams": decoding.beams, "length_penalty": decoding.length_penalty}
    parts: list[tuple[dict[str, list[Any]], dict[str, list[Any]]]] = []
    model.eval()
    # Batches are the same whoever reads them; processes that share a run take turns.
    order = [
        np.arange(start, min(start + BATCH, size), dtype=np.int64)
        for start in range(group.rank * BATCH, size, group.count * BATCH)
    ]
    with torch.no_grad(), Feed(split, device, list(model.encoders), size, memory=memory) as feed:
        feed.plan(order)
        for index in order:
            parts.append(model.read_out(feed.batch(index), options))
            if progress is not None:
                progress(int(index[-1]) + 1, size)
    outputs: dict[str, list[Any]] = {}
    columns: dict[str, list[Any]] = {}
    for said, more in group.gathered(parts):
        for table, part in ((outputs, said), (columns, more)):
            for name, values in part.items():
                table.setdefault(name, []).extend(values)
    columns["branches"] = [list(model.fusion.branches)] * size
    return Predictions(list(split.ids[:size]), outputs, columns)


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
    size = min(COUNTED, len(split))
    with Feed(split, device, list(model.encoders), size, targets=True) as feed:
        batch = feed.batch(np.arange(size, dtype=np.int64))
    model.eval()
    counter = Operations()
    # Fused kernels of attention and of recurrent layers are one operation that nobody counts;
    # without them the same products are done one by one, and so are layers that know no gradient.
    with _unfused(), sdpa_kernel(SDPBackend.MATH), torch.enable_grad(), counter:
        branches = model.fuse(batch).branches
        for name in model.heads:
            model.verdict(name, branches, batch.targets[name])
    return round(counter.total / size)


@contextmanager
def _unfused() -> Iterator[None]:
    """Let recurrent layers compute by plain products."""
    import torch

    with warnings.catch_warnings(), torch.backends.cudnn.flags(enabled=False):
        warnings.simplefilter("ignore")  # about accelerators that are not there
        with torch.backends.mkldnn.flags(enabled=False):
            yield
