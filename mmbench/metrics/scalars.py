"""Metrics of one number an item: the conventions of sentiment on a scale from -3 to 3, and errors.

Sentiment of videos (CMU-MOSI, CMU-MOSEI) is one number, and papers report it cut into classes in
several ways under the same names. Here each has a name of its own, and equals what MMSA computes
(``Has0``, ``Non0``, ``Mult_acc_5``, ``Mult_acc_7``, ``MAE``, ``Corr``), except that nothing is
rounded to four digits. MultiBench's accuracy without zeros is `acc2_non0`; its accuracy with them
counts 0 as negative, where MMSA and `acc2_has0` count it as positive.

An item without an answer is in no class: it is wrong, and metrics of distances refuse it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.metrics._contract import family, metric, ratio

if TYPE_CHECKING:
    from mmbench.metrics._items.scalar import ScalarItems
    from mmbench.metrics._ranking import Bools
    from mmbench.types import Floats

# --- classes -------------------------------------------------------------------------------------

_CLASSES: dict[str, Any] = {"kind": "scalar", "bounds": (0.0, 1.0)}


@metric(settings="classes:below 0, from 0 on|missing:wrong", **_CLASSES)
def acc2_has0(items: ScalarItems) -> Floats:
    """Binary accuracy, zeros counted: negative against not negative.

    Range 0 to 1, higher is better.

    Returns:
        [N] 1 or 0.
    """
    return _right(items, (items.said >= 0) == (items.truth >= 0))


def _right(items: ScalarItems, right: Bools) -> Floats:
    return (right & ~items.missing).astype(np.float64)


def _non0(items: ScalarItems) -> str:
    return "" if items.truth.any() else "the right number of every item is 0: none is left"


@metric(
    columns=("right", "not_zero"),
    value=lambda sums: ratio(sums[..., 0], sums[..., 1]),
    check=_non0,
    settings="classes:up to 0, above 0|items:not 0|missing:wrong",
    **_CLASSES,
)
def acc2_non0(items: ScalarItems) -> Floats:
    """Binary accuracy, zeros left out: positive or not, of items whose right number is not 0.

    A prediction of exactly 0 counts as negative. Range 0 to 1, higher is better.

    Returns:
        [N, 2]: 1 if it is right, 1 if it counts.
    """
    counts = items.truth != 0
    right = ((items.said > 0) == (items.truth > 0)) & counts & ~items.missing
    return np.stack([right, counts], axis=1).astype(np.float64)


#: The cells of the binary confusion matrix; ``none``: there was no answer.
_CELLS = ("neg_neg", "neg_pos", "neg_none", "pos_neg", "pos_pos", "pos_none")


def _weighted_f1(cells: Floats) -> Floats:
    """Return the mean of the F1 of both classes, weighted by how often they occur."""
    true = cells.reshape(*cells.shape[:-1], 2, 3)
    occur, said = true.sum(axis=-1), true.sum(axis=-2)[..., :2]
    hits = np.stack([cells[..., 0], cells[..., 4]], axis=-1)
    f1 = ratio(2 * hits, occur + said)
    return ratio((f1 * occur).sum(axis=-1), occur.sum(axis=-1))


def _cells(items: ScalarItems, truth: Bools, said: Bools, counts: Bools | None = None) -> Floats:
    place = 3 * truth.astype(np.int64) + np.where(items.missing, 2, said)
    rows = np.eye(len(_CELLS))[place]
    return rows if counts is None else rows * counts[:, None]


_F1: dict[str, Any] = {**_CLASSES, "columns": _CELLS, "value": _weighted_f1}


@metric(settings="average:weighted|classes:below 0, from 0 on|missing:wrong", **_F1)
def f1_has0(items: ScalarItems) -> Floats:
    """Weighted F1 of two classes, zeros counted: negative against not negative.

    The F1 of both classes, weighted by how often they occur. Range 0 to 1, higher is better.

    Returns:
        [N, 6]: 1 in the cell (right class, class said) of the item.
    """
    return _cells(items, items.truth >= 0, items.said >= 0)


@metric(
    check=_non0,
    settings="average:weighted|classes:up to 0, above 0|items:not 0|missing:wrong",
    **_F1,
)
def f1_non0(items: ScalarItems) -> Floats:
    """Weighted F1 of two classes, zeros left out: positive or not, where the truth is not 0.

    As `f1_has0`, of the items of `acc2_non0`. (Some papers and older versions of MMSA give truth
    and prediction in the wrong order, which weights by how often a class is said.)

    Returns:
        [N, 6]: 1 in the cell (right class, class said) of the item; 0 of one that is left out.
    """
    return _cells(items, items.truth > 0, items.said > 0, items.truth != 0)


def _rounded(items: ScalarItems, most: float) -> Floats:
    said, truth = (np.rint(np.clip(x, -most, most)) for x in (items.said, items.truth))
    return _right(items, said == truth)


@metric(settings="range:-2 to 2|rounding:half to even|missing:wrong", **_CLASSES)
def acc5(items: ScalarItems) -> Floats:
    """Five-class accuracy: both numbers cut off at -2 and 2 and rounded, share of equals.

    Halves go to the even neighbour. Range 0 to 1, higher is better.

    Returns:
        [N] 1 or 0.
    """
    return _rounded(items, 2.0)


@metric(settings="range:-3 to 3|rounding:half to even|missing:wrong", **_CLASSES)
def acc7(items: ScalarItems) -> Floats:
    """Seven-class accuracy: both numbers cut off at -3 and 3 and rounded, share of equals.

    Halves go to the even neighbour. Range 0 to 1, higher is better.

    Returns:
        [N] 1 or 0.
    """
    return _rounded(items, 3.0)


# --- distances -----------------------------------------------------------------------------------


def lacks_answers(items: ScalarItems) -> str:
    """Say how many items have no answer, or return an empty string."""
    without = int(items.missing.sum())
    if without:
        return (
            f"{without} of {len(items)} items have no answer, and no number stands for that: "
            f"give them all, or score acc2_has0 or acc7, where it is wrong"
        )
    return ""


_DISTANCE: dict[str, Any] = {"kind": "scalar", "check": lacks_answers}


@metric(higher_is_better=False, bounds=(0.0, None), settings="missing:refused", **_DISTANCE)
def mae(items: ScalarItems) -> Floats:
    """Mean absolute error, in the units of the numbers; lower is better.

    Returns:
        [N] the distance of each item.
    """
    return np.abs(items.said - items.truth)


def _squares(items: ScalarItems) -> Floats:
    """Squared error: its mean (mse), or the root of it in the units of the numbers (rmse).

    Lower is better.

    Returns:
        [N, 2]: squared distance, 1.
    """
    square = (items.said - items.truth) ** 2
    return np.stack([square, np.ones_like(square)], axis=1)


def _power(power: float, sums: Floats) -> Floats:
    return np.asarray(ratio(sums[..., 0], sums[..., 1]) ** power)


def _slope(power: float, sums: Floats) -> Floats:
    """Return the gradient of `_power`; of perfect answers the root has none, and no spread."""
    mean, count = float(sums[0] / sums[1]), float(sums[1])
    by_mean = power * mean ** (power - 1) if mean > 0 else power
    return np.array([1.0, -mean]) * by_mean / count


mse, rmse = (
    family(
        _squares,
        name="squared_error",
        columns=("square", "count"),
        values={name: partial(_power, power)},
        gradient=partial(_slope, power),
        higher_is_better=False,
        bounds=(0.0, None),
        settings="missing:refused",
        **_DISTANCE,
    )[0]
    for name, power in (("mse", 1.0), ("rmse", 0.5))
)
