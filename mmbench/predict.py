"""Prediction: a trained model reads a split, in the split's order. And what one item costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError
from mmbench.spec import DecodingSpec
from mmbench.types import GALLERY, QUERY, Array, Predictions, Split

if TYPE_CHECKING:
    from mmbench.models.model import Model

#: Items per batch; texts are decoded together, and no result depends on it.
BATCH = 125
#: Items over which operations are counted.
COUNTED = 8
#: Entries of the gallery that a prediction of retrieval names; metrics look at all.
NAMED = 10


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
        the weights in an ``OUTPUT.gate`` column belong to. Of retrieval, the columns
        ``OUTPUT.embedding`` [N, E] and ``OUTPUT.gallery`` [M, E], float32, say how alike each item
        and each entry are, by their cosine; the prediction names the `NAMED` most alike entries.

    Raises:
        DataError: The split is empty.
    """
    import torch

    from mmbench.models.feed import Feed

    device = next(model.parameters()).device
    feeds = [(QUERY, Feed(split, device, model.of_role(QUERY), limit))]
    size = len(feeds[0][1])
    if size == 0:
        raise DataError("the split is empty: nothing to predict")
    if split.gallery is not None:
        feeds.append((GALLERY, Feed(split.gallery, device, model.of_role(GALLERY))))
    options = {"beams": decoding.beams, "length_penalty": decoding.length_penalty}
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    before, total = 0, sum(len(feed) for _, feed in feeds)
    model.eval()
    for role, feed in feeds:
        outputs: dict[str, Any] = {}
        columns: dict[str, Any] = {}
        for start in range(0, len(feed), BATCH):
            index = np.arange(start, min(start + BATCH, len(feed)), dtype=np.int64)
            with torch.no_grad():
                said, more = model.read_out(feed.batch(index), options, role)
            for table, part in ((outputs, said), (columns, more)):
                for name, values in part.items():
                    table.setdefault(name, []).extend(values)
            if progress is not None:
                progress(before + int(index[-1]) + 1, total)
        before += len(feed)
        found.append((outputs, columns))
    outputs, columns = found[0]
    if split.gallery is not None:
        _look_up(outputs, columns, found[1][1])
    columns["branches"] = [model.branches] * size
    return Predictions(list(split.ids[:size]), outputs, columns)


def _look_up(outputs: dict[str, Any], columns: dict[str, Any], gallery: Mapping[str, Any]) -> None:
    """Lay both sides of each output out as arrays, and name what each item finds first."""
    for name in outputs:
        queries = np.stack(columns[f"{name}.embedding"])
        entries = np.stack(gallery[f"{name}.embedding"])
        columns[f"{name}.embedding"], columns[f"{name}.gallery"] = queries, entries
        outputs[name] = [
            row
            for start in range(0, len(queries), BATCH)
            for row in _nearest(queries[start : start + BATCH] @ entries.T)
        ]


def _nearest(scores: Array) -> list[list[int]]:
    """Return the numbers of the `NAMED` largest of each row [M], the largest first."""
    count = min(NAMED, scores.shape[1])
    some = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1).tolist()  # type: ignore[no-any-return]


def flops_per_item(model: Model, split: Split) -> int:
    """Count the floating-point operations of one forward pass, per item.

    A multiplication and an addition are two. What is counted are products of matrices,
    convolutions and attention, as `torch.utils.flop_counter` counts them, over the first
    `COUNTED` items; texts are read along, not decoded, so that the number of beams does not matter.
    For retrieval, an item is a query and one entry of the gallery.
    Nothing is trained and no random number of the run is drawn.

    Args:
        model: On its device.
        split: The items, with targets.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from mmbench.models.operations import Operations
    from mmbench.models.pairs import feed_for

    device = next(model.parameters()).device
    feed = feed_for(split, device, list(model.encoders), min(COUNTED, len(split)))
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
