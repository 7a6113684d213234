"""Metrics of generated images: how their features differ from real ones, and what they show.

Item i is a real image and the one that was generated for it (from its caption, say); the two may
have much in common, and no metric here takes them for independent. All but `attribute_accuracy`
depend on the network or recipe that the features are from, and are comparable only for one.
They need every image: a generated one that is missing is refused, not made up.

`kid` and `fid_infinite` estimate a distance between distributions, without bias (`kid`) or nearly
so; `fid` and the shares of neighbours depend on the number of images, and are comparable only for
one. Values are the same on one machine; another BLAS or LAPACK may change their last digits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics import _frechet, _mmd, _neighbours
from mmbench.metrics._contract import metric, ratio
from mmbench.metrics._generated import both, lacks_features
from mmbench.metrics._settled import COLUMNS, settle, settled

if TYPE_CHECKING:
    from mmbench.metrics._items.image import ImageItems
    from mmbench.metrics._neighbours import Cover
    from mmbench.types import Floats


# --- distances -----------------------------------------------------------------------------------


def _u_statistic(rows: Floats) -> tuple[float, Floats]:
    """Return the mean of placements, and pseudo-values: the delete-one jackknife's."""
    size, value = len(rows), float(rows[:, 0].mean())
    return value, value + 2 * (size - 1) / (size - 2) * (rows[:, 0] - value)


@metric(
    kind="image",
    columns=("placement",),
    whole=_u_statistic,
    higher_is_better=False,
    local=False,
    settings="kernel:(x.y/D+1)^3|pairs:all but an item's own",
    check=lacks_features,
)
def kid(items: ImageItems) -> Floats:
    """KID: the squared maximum mean discrepancy of the features, unbiased.

    The mean over all pairs of items of
    ``k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)`` with ``k(x, y) = (x . y / D + 1)^3``
    (Binkowski et al., ICLR 2018, 1801.01401; the U-statistic of Gretton et al., JMLR 2012). Lower
    is better; 0 for equal distributions, and as often below 0 as its bias is zero.

    Where we depart from common code: all pairs count, where torchmetrics averages over random
    subsets; and ``k(x_i, y_i)`` is left out, because an image and the one generated for it are
    alike, which would be rewarded by ``2 / N`` times their likeness. With independent images both
    have the same mean.

    Pseudo-values are the jackknife's, twice the distance of an item's placement. Near 0 the
    statistic is degenerate and they spread up to 1.4 times too far: the interval covers 99 %
    there, and 94-97 % where the distance is clear of 0.

    Returns:
        [N, 1]: the mean of each item's pairs.
    """
    return _mmd.placements(*both(items))[:, None]


@metric(
    kind="image",
    columns=COLUMNS,
    whole=settled,
    bounds=(0.0, None),
    higher_is_better=False,
    local=False,
    settings="covariance:unbiased",
    check=lacks_features,
)
def fid(items: ImageItems) -> Floats:
    """FID: the Frechet distance of the features, with the bias that N images have.

    ``|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))`` (Heusel et al., NeurIPS 2017). Lower is
    better, at least 0. It is biased upwards, by about ``c / N`` with c a matter of the model, so
    that fewer images always score worse, and two models may change places: rank by `fid_infinite`
    or `kid`. The interval is about the FID of other samples OF THE SAME SIZE, not about the
    distance between the distributions, which may lie far below it. (A bootstrap would not even
    hold the estimate: repeated images add to the bias.)

    Returns:
        [N, 2]: the value, and by how much each item's pseudo-value differs.
    """
    value, moves = _frechet.frechet(*both(items))
    return settle(max(value, 0.0), max(value, 0.0) + moves)


@metric(
    kind="image",
    columns=COLUMNS,
    whole=settled,
    higher_is_better=False,
    local=False,
    settings=f"covariance:unbiased|sizes:N and N - N/{_frechet.GROUPS}",
    check=partial(lacks_features, fewest=2 * _frechet.GROUPS, per_feature=2),
)
def fid_infinite(items: ImageItems) -> Floats:
    """FID at infinitely many images: FID with its bias of ``c / N`` taken away.

    Chong and Forsyth (CVPR 2020, 1911.07023) draw a line through the FIDs of random samples of
    several sizes, over 1 / size, and read it at 0. Here the sizes are N and 0.9 N, each item being
    left out once, and nothing is random; both sides shrink, where they keep the real one whole.
    Lower is better; for equal distributions it is 0 on average, and may be negative.

    Pseudo-values are exact first derivatives by the items. In simulation with normal features the
    bias is about a tenth of the standard error at 3 images a feature and less from there on; the
    interval covers 94-98 % where the distance is clear of 0, and 99 % near 0, where it is 1.4 times
    too wide. It costs eleven FIDs.

    Returns:
        [N, 2]: the value, and by how much each item's pseudo-value differs.
    """
    value, moves = _frechet.extrapolated(*both(items))
    return settle(value, value + moves)


# --- neighbours ----------------------------------------------------------------------------------


def _jackknife(rows: Floats) -> tuple[float, Floats]:
    """Return the mean of item scores, and pseudo-values from the values without each item."""
    value, without = float(rows[:, 0].mean()), rows[:, 1]
    return value, value + (len(rows) - 1) * (without.mean() - without)


def _neighbour_rows(
    items: ImageItems,
    k: int,
    of: Callable[[Cover], tuple[Floats, Floats]],
    closed: bool,
    around_real: bool = True,
) -> Floats:
    if k < 1:
        raise UsageError(f"k = {k}: expected the number of a nearest neighbour, at least 1")
    real, generated = both(items, k + 2)
    sides = (real, generated) if around_real else (generated, real)
    return np.stack(of(_neighbours.cover(*sides, k, closed)), axis=1)


_NEIGHBOURS: dict[str, Any] = {
    "kind": "image",
    "columns": ("score", "without"),
    "whole": _jackknife,
    "local": False,
    "check": lacks_features,
}


@metric(**_NEIGHBOURS, bounds=(0.0, 1.0), settings="balls:closed", options={"k": 3}, shown=("k",))
def image_precision(items: ImageItems, k: int) -> Floats:
    """Precision: share of generated images that look real.

    Those within the distance of a real image to its k-th nearest real neighbour (Kynkaanniemi et
    al., NeurIPS 2019, 1904.06991). Range 0 to 1, proven; higher is better. The interval is the
    delete-one jackknife's, both images of an item left out at once.

    Returns:
        [N, 2]: whether it does, and the share without the item.
    """
    return _neighbour_rows(items, k, _neighbours.covered_points, closed=True)


@metric(**_NEIGHBOURS, bounds=(0.0, 1.0), settings="balls:closed", options={"k": 3}, shown=("k",))
def image_recall(items: ImageItems, k: int) -> Floats:
    """Recall: share of real images that the generator could have made.

    Those within the distance of a generated image to its k-th nearest generated neighbour; else as
    `image_precision`.

    Returns:
        [N, 2]: whether it could, and the share without the item.
    """
    return _neighbour_rows(items, k, _neighbours.covered_points, closed=True, around_real=False)


@metric(**_NEIGHBOURS, bounds=(0.0, None), settings="balls:open", options={"k": 5}, shown=("k",))
def image_density(items: ImageItems, k: int) -> Floats:
    """Density: how many real neighbourhoods a generated image lies in, over k.

    A neighbourhood reaches from a real image up to its k-th nearest real neighbour (Naeem et al.,
    ICML 2020, 2002.09797). From 0; 1 on average for equal distributions, and more where generated
    images crowd where real ones are dense. One real outlier does not make it rise, as it does
    precision.

    Returns:
        [N, 2]: the number over k, and the mean without the item.
    """
    return _neighbour_rows(items, k, _neighbours.mean_balls, closed=False)


@metric(**_NEIGHBOURS, bounds=(0.0, 1.0), settings="balls:open", options={"k": 5}, shown=("k",))
def image_coverage(items: ImageItems, k: int) -> Floats:
    """Coverage: share of real images with a generated one in their neighbourhood.

    Neighbourhoods as in `image_density`. Range 0 to 1, proven; higher is better. For equal
    distributions it is about ``1 - 2^-k``.

    Returns:
        [N, 2]: whether there is one, and the share without the item.
    """
    return _neighbour_rows(items, k, _neighbours.covered_balls, closed=False)


# --- attributes ----------------------------------------------------------------------------------


def _lacks_attributes(items: ImageItems) -> str:
    if not items.true:
        return "the references name no attribute: it needs a dataset that plants some"
    lacking = [name for name in items.true if name not in items.said]
    if len(lacking) == len(items.true):
        return (
            "the predictions say nothing of any attribute: give a column for each of "
            f"{', '.join(items.true)}"
        )
    return ""


@metric(
    kind="image",
    columns=("right", "asked"),
    value=lambda sums: ratio(sums[..., 0], sums[..., 1]),
    bounds=(0.0, 1.0),
    oracle="bound",
    settings="missing:wrong",
    options={"attribute": "all"},
    check=_lacks_attributes,
)
def attribute_accuracy(items: ImageItems, attribute: str) -> Floats:
    """Attribute accuracy: share of attributes that the generated images show as they have to.

    Over all attributes of the references, or the one that is asked for. Range 0 to 1, proven;
    higher is better. An image that is missing, or of which nothing was read, is wrong.

    Returns:
        [N, 2]: right attributes, attributes.
    """
    names = list(items.true) if attribute == "all" else [attribute]
    lacking = [name for name in names if name not in items.true or name not in items.said]
    if lacking:
        both = [name for name in items.true if name in items.said]
        raise UsageError(
            f"attribute {lacking[0]!r}: expected one that both references and predictions have: "
            f"{', '.join(both)}"
        )
    right = sum((items.said[name] == items.true[name]).astype(np.float64) for name in names)
    return np.stack([np.asarray(right), np.full(len(items), float(len(names)))], axis=1)
