"""Calibration: whether what is said with 80 % certainty is right 80 % of the time.

The items are sorted into bins of equal width by the probability of their likeliest class. Within a
bin, the share that is right is held against the mean probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.metrics._contract import Metric, _origin, ratio
from mmbench.metrics.probabilities import lacks_scores

if TYPE_CHECKING:
    from mmbench.metrics._coded import Ints
    from mmbench.metrics._contract import Whole
    from mmbench.metrics._items.label import LabelItems
    from mmbench.types import Floats

BINS = 15


def _confidences(items: LabelItems, bins: int) -> Floats:
    """Return [N, 2]: probability of the likeliest class (the first of equals), 1 if it is right."""
    del bins  # the rows are the same for any number of them
    assert items.scores is not None
    likeliest = items.scores.argmax(axis=1)
    confidence = np.take_along_axis(items.scores, likeliest[:, None], axis=1)[:, 0]
    return np.stack([confidence, likeliest == items.truth], axis=1)


def _lacks(items: LabelItems, bins: int = BINS) -> str:
    return lacks_scores(items) if bins >= 1 else f"bins is {bins}: expected at least 1"


def _binned(confidences: Floats, bins: int) -> Ints:
    """Return [N] the bin of each: bin b holds what lies above b / bins, up to (b + 1) / bins."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)


def _ece(rows: Floats, bins: int) -> tuple[float, Floats]:
    """Expected calibration error: mean distance of confidence and accuracy in bins; biased upward.

    ``sum_b n_b / N |accuracy_b - confidence_b|`` (Naeini et al., AAAI 2015; Guo et al.,
    1706.04599), here for comparison with published numbers. Range 0 to 1, lower is better.

    Noise alone makes it positive: a perfectly calibrated model with n items in a bin shows about
    ``.8 sqrt(p (1 - p) / n)``, so that it falls with the size of the test set. Its interval, from
    the derivative by item weights, tells the spread of this biased number; it need not hold the
    true error. `squared_ece` has no such bias. Bins are closed above, as Guo et al. have them
    (torchmetrics closes them below).
    """
    of, gap = _binned(rows[:, 0], bins), rows[:, 1] - rows[:, 0]
    side = np.sign(np.bincount(of, gap, minlength=bins))
    pseudo = side[of] * gap
    return float(pseudo.mean()), pseudo


def _squared_ece(rows: Floats, bins: int) -> tuple[float, Floats]:
    """Squared calibration error without bias: mean over items of the squared gap of their bin.

    ``sum_b n_b / N E[accuracy - confidence | b]^2``, where the square of the expectation is
    estimated by the mean over pairs of different items of ``(right - confidence)`` of the one
    times that of the other: a U-statistic, whose expectation is the square. Where all items of a
    bin have the same confidence it is the debiased estimator of Kumar, Liang & Ma (NeurIPS 2019,
    1909.10155), ``gap^2 - accuracy (1 - accuracy) / (n - 1)``.

    In squared units: its root compares with `ece`. Lower is better; around 0 for a calibrated
    model, and then as often below. It cannot see what cancels within a bin. A bin with one item
    has no pair and counts as 0.

    The pseudo-values are ``2 placement - U`` of the item's bin, the placement being the mean over
    its own pairs. In simulation (100 to 3,000 items, calibrated and not) the interval of nominal
    95 % covers 93-97 %. Where the model is calibrated the value is skewed, and an interval that
    misses ends below 0.
    """
    of, gap = _binned(rows[:, 0], bins), rows[:, 1] - rows[:, 0]
    n, sums, squares = (
        np.bincount(of, x, minlength=bins).astype(np.float64, copy=False)
        for x in (np.ones_like(gap), gap, gap**2)
    )
    unbiased = ratio(sums**2 - squares, n * (n - 1))
    placement = ratio(gap * (sums[of] - gap), (n - 1)[of])
    return float(n @ unbiased) / len(gap), 2 * placement - unbiased[of]


def _make(name: str, whole: Whole, low: float | None, fewest: int, settings: str) -> Metric:
    return Metric(
        name=name,
        family="calibration",
        stats=_confidences,
        value=None,
        whole=whole,
        columns=("confidence", "right"),
        module=__name__,
        summary=_origin(whole)["summary"],
        kind="label",
        higher_is_better=False,
        bounds=(low, 1.0),
        settings=settings,
        check=_lacks,
        fewest=fewest,
        options={"bins": BINS},
        shown=("bins",),
    )


ece = _make("ece", _ece, 0.0, 1, "norm:l1|bins:equal width|bias:upward")
squared_ece = _make(
    "squared_ece", _squared_ece, None, 2, "norm:l2 squared|bins:equal width|bias:none"
)
