"""How long one item takes, from arrays of the host to what is said about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmbench.errors import DataError
from mmbench.spec import DecodingSpec
from mmbench.types import Split

if TYPE_CHECKING:
    import torch

    from mmbench.models.model import Model

#: Items at most; and those that are predicted before any is timed.
MOST, WARM = 100, 3
#: Below so many times a 95th percentile would be little else than the longest of them.
FEWEST = 20
#: How many times the seconds that it may take it takes, so that there is a 95th percentile.
PATIENCE = 5


class Latency(NamedTuple):
    """Seconds of a prediction at batch size 1.

    Attributes:
        p50: The median.
        p95: The 95th percentile; None where fewer than `FEWEST` were timed.
        items: How many were timed.
    """

    p50: float
    p95: float | None
    items: int


def latency(
    model: Model, split: Split, decoding: DecodingSpec, seconds: float, limit: int | None = None
) -> Latency:
    """Predict single items as `mmbench.predict` does, decoding included, each timed once.

    The items lie evenly over the split, since those beside one another may be alike in length.
    For retrieval, the gallery was read before: what is timed is a query that looks through it.
    Nothing is drawn: torch's random state is as it was, and so are the weights.

    Args:
        model: On its device, trained.
        split: The items.
        decoding: How texts are read out.
        seconds: After so many no further item is begun, if `FEWEST` are timed by then; at the
            latest after `PATIENCE` times as many, and one is timed at least.
        limit: Of the first `limit` items only.

    Raises:
        DataError: The split is empty.
    """
    import torch

    from mmbench.predict import predict, read_gallery

    device = next(model.parameters()).device
    count = len(split) if limit is None else min(limit, len(split))
    if count == 0:
        raise DataError("the split is empty: nothing to predict")
    chosen = np.unique(np.linspace(0, count - 1, min(MOST, count)).round().astype(np.int64))
    times: list[float] = []
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        read: dict[str, Any] = {}
        if split.gallery is not None:
            read["entries"] = read_gallery(model, split)
        for _ in range(WARM):
            predict(model, split.take(chosen[:1]), decoding, **read)
            if time.perf_counter() - began > seconds / 4:
                break
        for at in chosen:
            item = split.take(np.array([at]))
            _wait(device)
            start = time.perf_counter()
            predict(model, item, decoding, **read)
            _wait(device)
            times.append(time.perf_counter() - start)
            spent = time.perf_counter() - began
            if spent > seconds and (len(times) >= FEWEST or spent > PATIENCE * seconds):
                break
    return percentiles(times)


def percentiles(times: list[float]) -> Latency:
    """Return the percentiles of some times, between neighbours by their distance.

    >>> percentiles([0.1, 0.2, 0.4])
    Latency(p50=0.2, p95=None, items=3)
    """
    p95 = float(np.quantile(times, 0.95)) if len(times) >= FEWEST else None
    return Latency(float(np.median(times)), p95, len(times))


def _wait(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
