"""Prediction: a trained model reads a split, in the split's order. And what one item costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import devices, rng
from mmbench.errors import DataError
from mmbench.room import USUAL, Allowance
from mmbench.spec import DecodingSpec
from mmbench.types import GALLERY, QUERY, Array, Predictions, Split

if TYPE_CHECKING:
    from torch import Tensor

    from mmbench.models.model import Model

#: Values by name, one for each item.
Columns = dict[str, Any]

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
    memory: Allowance = USUAL,
    entries: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> Predictions:
    """Predict every output for every item.

    Args:
        model: On its device.
        split: The items.
        decoding: How texts are read out.
        limit: The first `limit` items only.
        progress: Called with (items done, items in all).
        memory: What data may take; results do not depend on it.
        entries: For retrieval, what `read_gallery` returned; None: the gallery is read now.
        seed: The run's. What is drawn for an item, where a model draws, is from a stream of that
            seed and the item's id.

    Returns:
        Predictions in the order of the split. The column ``branches`` names, for each item, what
        the weights in an ``OUTPUT.gate`` column belong to. Of retrieval, the columns
        ``OUTPUT.embedding`` [N, E] and ``OUTPUT.gallery`` [M, E], float32, say how alike each item
        and each entry are, by their cosine; the prediction names the `NAMED` most alike entries.

    Raises:
        DataError: The split is empty.
    """
    size = len(split) if limit is None else min(limit, len(split))
    if size == 0:
        raise DataError("the split is empty: nothing to predict")
    unread = len(split.gallery) if split.gallery is not None and entries is None else 0

    def items(done: int) -> None:
        if progress is not None:
            progress(done, size + unread)

    options = {"beams": decoding.beams, "length_penalty": decoding.length_penalty}
    outputs, columns = _read(model, split, QUERY, size, options, memory, items, seed)
    if split.gallery is not None:
        if entries is None:
            entries = read_gallery(model, split, memory, lambda done: items(size + done))
        _look_up(outputs, columns, entries)
    columns["branches"] = [model.branches] * size
    return Predictions(list(split.ids[:size]), outputs, columns)


def read_gallery(
    model: Model,
    split: Split,
    memory: Allowance = USUAL,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Array]:
    """Return what is compared of the entries that a split's items look for: output -> [M, E].

    Args:
        model: On its device.
        split: The items, with a gallery.
        memory: What data may take.
        progress: Called with the entries done.
    """
    assert split.gallery is not None
    size = len(split.gallery)
    said, columns = _read(model, split.gallery, GALLERY, size, {}, memory, progress)
    return {name: np.stack(columns[f"{name}.embedding"]) for name in said}


def _read(
    model: Model,
    split: Split,
    role: str,
    size: int,
    options: Mapping[str, Any],
    memory: Allowance,
    progress: Callable[[int], None],
    seed: int = 0,
) -> tuple[Columns, Columns]:
    """Return predictions by output, and further columns, of the first `size` items of a side."""
    import torch

    from mmbench.models.feed import Feed

    group = devices.group()
    device = next(model.parameters()).device
    parts: list[tuple[dict[str, list[Any]], dict[str, list[Any]]]] = []
    model.eval()
    # Batches are the same whoever reads them; processes that share a run take turns.
    order = [
        np.arange(start, min(start + BATCH, size), dtype=np.int64)
        for start in range(group.rank * BATCH, size, group.count * BATCH)
    ]
    with torch.no_grad(), Feed(split, device, model.of_role(role), size, memory=memory) as feed:
        feed.plan(order)
        for index in order:
            drawn = {"noise": _Noise(seed, [split.ids[i] for i in index.tolist()])}
            parts.append(model.read_out(feed.batch(index), {**options, **drawn}, role))
            progress(int(index[-1]) + 1)
    outputs: Columns = {}
    columns: Columns = {}
    for said, more in group.gathered(parts):
        for table, part in ((outputs, said), (columns, more)):
            for name, values in part.items():
                table.setdefault(name, []).extend(values)
    for name, values in outputs.items():
        if isinstance(values[0], np.ndarray):  # pictures
            outputs[name] = np.stack(values)
    return outputs, columns


class _Noise:
    """Draws standard normal numbers for the items of a batch, each from a stream of its own.

    Args:
        seed: The run's.
        ids: The items'.
    """

    def __init__(self, seed: int, ids: Sequence[str]) -> None:
        self.seed, self.ids = seed, ids

    def __call__(self, size: int) -> Tensor:
        """Return [B, size] float32; the same for an item whatever is beside it."""
        import torch

        rows = [rng.normal(self.seed, "sampling", name, count=size) for name in self.ids]
        return torch.from_numpy(np.stack(rows).astype(np.float32))


def _look_up(outputs: Columns, columns: Columns, gallery: Mapping[str, Array]) -> None:
    """Lay both sides of each output out as arrays, and name what each item finds first."""
    for name in outputs:
        queries, entries = np.stack(columns[f"{name}.embedding"]), gallery[name]
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
    size = min(COUNTED, len(split))
    with feed_for(split, device, list(model.encoders), size) as feed:
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
