"""Metrics of predicted probabilities: the column ``scores`` of an output with one class an item.

All refuse predictions without probabilities, and items that have none: how likely an answer was
that nobody gave cannot be said. Calibration has a file of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.metrics import _ranking
from mmbench.metrics._contract import Metric, family, metric, ratio
from mmbench.metrics._ranking import macro
from mmbench.metrics._settled import COLUMNS, settle, settled

if TYPE_CHECKING:
    from mmbench.metrics._items.label import LabelItems
    from mmbench.metrics._ranking import Ranked
    from mmbench.types import Floats


def lacks_scores(items: LabelItems) -> str:
    """Say what is missing to score probabilities, or return an empty string."""
    if items.scores is None:
        return (
            "the predictions bring no probabilities: give one number for each class, in a column "
            "scores or in columns p:CLASS; accuracy and macro_f1 need none"
        )
    without = int(np.isnan(items.scores[:, 0]).sum())
    if without:
        return f"{without} of {len(items)} items have no probabilities: give them for all items"
    return ""


def _given(items: LabelItems) -> Floats:
    """Return the scores [N, C], which the metric's check has found there."""
    assert items.scores is not None
    return items.scores


# --- the right class -----------------------------------------------------------------------------


def _too_many(items: LabelItems, k: int = 5) -> str:
    most = len(items.classes) - 1
    if k > most:
        return f"the right one is always among {k} of {most + 1} classes: ask for k={most} or less"
    return lacks_scores(items) if k >= 1 else f"k is {k}: expected at least 1"


@metric(
    kind="label",
    bounds=(0.0, 1.0),
    oracle="bound",
    options={"k": 5},
    shown=("k",),
    settings="ties:against",
    check=_too_many,
)
def top_k_accuracy(items: LabelItems, k: int) -> Floats:
    """Top-k accuracy: share of items whose class is among the k likeliest.

    Ties count against: the class has to be among the k likeliest in whatever order equals are
    taken, so that equal probabilities for all classes score 0. (scikit-learn takes the last of
    equals first, torchmetrics whichever its sort brings up.)

    Range 0 to 1, higher is better. Option ``k``, below the number of classes.

    Returns:
        [N] 1 or 0.
    """
    scores = _given(items)
    own = np.take_along_axis(scores, items.truth[:, None], axis=1)
    return np.asarray((scores >= own).sum(axis=1) <= k, dtype=np.float64)


def _nats(items: LabelItems) -> Floats:
    """Negative log-likelihood, the mean over items: ``-ln p`` (nats) or ``-log2 p`` (bits).

    Of the right class; lower is better, 0 for certainty that is right. Probabilities are taken as
    they are. One of 0 counts as 2.2e-16, the precision of float64, so that an item costs at most
    36.04 nats; scikit-learn does the same.

    Returns:
        [N, 2]: nats, 1.
    """
    p = np.take_along_axis(_given(items), items.truth[:, None], axis=1)[:, 0]
    nats = -np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))
    return np.stack([nats, np.ones_like(nats)], axis=1)


def _log_loss(name: str, unit: float) -> Metric:
    return family(
        _nats,
        name="nll",
        columns=("nats", "count"),
        values={name: lambda sums: ratio(sums[..., 0], sums[..., 1]) / unit},
        gradient=lambda sums: np.array([1.0, -sums[0] / sums[1]]) / sums[1] / unit,
        kind="label",
        higher_is_better=False,
        bounds=(0.0, None),
        oracle="bound",
        settings="floor:2^-52",
        check=lacks_scores,
    )[0]


nll, bits = _log_loss("nll", 1.0), _log_loss("bits", math.log(2))


@metric(
    kind="label",
    higher_is_better=False,
    bounds=(0.0, 2.0),
    oracle="bound",
    settings="sum over classes",
    check=lacks_scores,
)
def brier(items: LabelItems) -> Floats:
    """Brier score: squared distance of the probabilities from the truth, the mean over items.

    ``sum_c (p_c - [c is right])^2``, over all classes, as Brier has it (Monthly Weather Review
    1950). Range 0 to 2, lower is better. (For two classes scikit-learn halves it unless told
    otherwise.)

    Returns:
        [N] the score of each item.
    """
    scores = _given(items)
    own = np.take_along_axis(scores, items.truth[:, None], axis=1)[:, 0]
    return np.asarray((scores**2).sum(axis=1) - 2 * own + 1)


# --- the order of the items ----------------------------------------------------------------------


def _countable(items: LabelItems, wrong_too: bool) -> list[int]:
    """Return the classes that occur (and, `wrong_too`, are not all that occurs).

    Of two classes the second alone: the other one's order is the same turned round.
    """
    true = np.bincount(items.truth, minlength=len(items.classes))
    counts = (true > 0) & (true < len(items)) if wrong_too else true > 0
    only = [1] if len(items.classes) == 2 else range(len(items.classes))
    return [c for c in only if counts[c]]


def _one_class(items: LabelItems) -> str:
    if not _countable(items, wrong_too=True):
        return "all items are of one class: it needs right and wrong ones to tell apart"
    return lacks_scores(items)


def _no_positive(items: LabelItems) -> str:
    if not _countable(items, wrong_too=False):
        return f"no item is of the class {items.classes[1]!r}: there is nothing to be found"
    return lacks_scores(items)


def _of_classes(of: Ranked, items: LabelItems, classes: list[int]) -> Floats:
    """Return the rows of the mean over `classes`, each against the rest."""
    scores = _given(items)
    return settle(*macro(of, (items.truth == c for c in classes), (scores[:, c] for c in classes)))


_RANKED: dict[str, Any] = {
    "kind": "label",
    "columns": COLUMNS,
    "whole": settled,
    "bounds": (0.0, 1.0),
    "local": False,
    "settings": "classes:that occur|average:macro|two classes:the second",
}


@metric(check=_one_class, **_RANKED)
def auroc(items: LabelItems) -> Floats:
    """Area under the ROC curve: how often a right item has the higher probability than a wrong one.

    The share of pairs, ties half. Of two classes that of the second; of more, the mean over
    classes, each against the rest. Range 0 to 1, .5 for random order, higher is better. The
    interval is DeLong's (Biometrics 1988). A class that does not occur, or alone does, is left
    out (scikit-learn gives no number then).

    Returns:
        [N, 2]: value and pseudo-values.
    """
    return _of_classes(_ranking.auroc, items, _countable(items, wrong_too=True))


@metric(check=_no_positive, **_RANKED)
def average_precision(items: LabelItems) -> Floats:
    """Average precision: the mean over right items of the precision down to their probability.

    Ties are taken together, nothing is interpolated, as scikit-learn has it. Of two classes that
    of the second; of more, the mean over classes, each against the rest. Range 0 to 1, the share
    of right items (and a little more) for random order, higher is better. The interval comes from
    the exact derivative by item weights. A class that does not occur is left out (0 in
    scikit-learn).

    Returns:
        [N, 2]: value and pseudo-values.
    """
    return _of_classes(_ranking.average_precision, items, _countable(items, wrong_too=False))
