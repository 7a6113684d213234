"""Correlation of predicted and right numbers: straight, of equals, and of ranks.

All are 0 where the right numbers or the predicted ones do not vary (no number elsewhere). They
refuse items without an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.metrics._contract import family, metric, ratio
from mmbench.metrics._ranking import Order
from mmbench.metrics.scalars import lacks_answers

if TYPE_CHECKING:
    from mmbench.metrics._items.scalar import ScalarItems
    from mmbench.types import Floats

_FIELDS: dict[str, Any] = {
    "kind": "scalar",
    "check": lacks_answers,
    "bounds": (-1.0, 1.0),
    "settings": "missing:refused",
    "fewest": 2,
}

# --- of the numbers ------------------------------------------------------------------------------

#: A variance below this share of the mean square is rounding.
_ROUNDING = 1e-13


def _moments(items: ScalarItems) -> Floats:
    """Correlation of right and predicted numbers: straight (pearson), or of equals (ccc).

    ``pearson = s_xy / (s_x s_y)``, blind to offset and scale, and
    ``ccc = 2 s_xy / (s_x^2 + s_y^2 + (mean_x - mean_y)^2)``, which falls where predictions are
    shifted or shrunk (concordance; Lin, Biometrics 1989, with 1/N in the variances, as there;
    torchmetrics has 1/(N - 1)). Range -1 to 1, higher is better.

    Returns:
        [N, 7]: right and predicted number less the mean of all items, their squares and product,
        their difference, 1. The means only keep sums small; no value depends on them.
    """
    x, y = items.truth - _centre(items.truth), items.said - _centre(items.said)
    apart = items.said - items.truth
    return np.stack([x, y, x**2, y**2, x * y, apart, np.ones_like(x)], axis=1)


def _centre(x: Floats) -> float:
    """Return the mean; of equal numbers exactly theirs, so that none differs from it."""
    return float(x[0]) if (x == x[0]).all() else float(x.mean())


def _spreads(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Return both variances and the covariance, 0 where one of the two does not vary."""
    x, y, xx, yy, xy = (ratio(sums[..., k], sums[..., 6]) for k in range(5))
    of_x, of_y = xx - x**2, yy - y**2
    of_x, of_y = of_x * (of_x > _ROUNDING * xx), of_y * (of_y > _ROUNDING * yy)
    return of_x, of_y, (xy - x * y) * (of_x > 0) * (of_y > 0)


def _spread_slopes(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the gradients [7] of what `_spreads` returns."""
    x, y, xx, yy, xy = (sums[:5] / sums[6]).tolist()
    of_x = np.array([-2 * x, 0, 1, 0, 0, 0, 2 * x**2 - xx]) / sums[6]
    of_y = np.array([0, -2 * y, 0, 1, 0, 0, 2 * y**2 - yy]) / sums[6]
    both = np.array([-y, -x, 0, 0, 1, 0, 2 * x * y - xy]) / sums[6]
    return of_x, of_y, both


def _pearson(sums: Floats) -> Floats:
    of_x, of_y, both = _spreads(sums)
    return np.clip(ratio(both, np.sqrt(of_x) * np.sqrt(of_y)), -1.0, 1.0)


def _pearson_gradient(sums: Floats) -> Floats:
    of_x, of_y, both = (float(part) for part in _spreads(sums))
    if not of_x * of_y:
        return np.zeros_like(sums)
    by_x, by_y, by_both = _spread_slopes(sums)
    root = of_x**0.5 * of_y**0.5
    return np.asarray(by_both / root - both / root / 2 * (by_x / of_x + by_y / of_y))


def _ccc(sums: Floats) -> Floats:
    of_x, of_y, both = _spreads(sums)
    apart = ratio(sums[..., 5], sums[..., 6])
    return np.clip(ratio(2 * both, of_x + of_y + apart**2), -1.0, 1.0)


def _ccc_gradient(sums: Floats) -> Floats:
    of_x, of_y, both = (float(part) for part in _spreads(sums))
    if not of_x * of_y:
        return np.zeros_like(sums)
    by_x, by_y, by_both = _spread_slopes(sums)
    apart = float(sums[5] / sums[6])
    by_apart = np.array([0, 0, 0, 0, 0, 1, -apart]) / sums[6]
    rest = of_x + of_y + apart**2
    return np.asarray(2 * by_both - 2 * both / rest * (by_x + by_y + 2 * apart * by_apart)) / rest


pearson, ccc = (
    family(
        _moments,
        name="moments",
        columns=("truth", "said", "truth_2", "said_2", "product", "apart", "count"),
        values={name: value},
        gradient=gradient,
        **_FIELDS,
    )[0]
    for name, value, gradient in (
        ("pearson", _pearson, _pearson_gradient),
        ("ccc", _ccc, _ccc_gradient),
    )
)

# --- of the ranks --------------------------------------------------------------------------------


def _spearman(rows: Floats) -> tuple[float, Floats]:
    """Return the correlation of ranks, and pseudo-values [N].

    They are the exact derivative by item weights, in two parts: the item's weight in the
    correlation of the ranks as they are, and what it adds to the ranks above it (half beside it).
    """
    orders = [Order.of(column) for column in rows.T]
    x, y = (order.ranks - order.ranks.mean() for order in orders)
    of_x, of_y = float((x**2).mean()), float((y**2).mean())
    if not of_x * of_y:
        return 0.0, np.zeros(len(rows))
    root = (of_x * of_y) ** 0.5
    value = float((x * y).mean()) / root
    weight = x * y / root - value * (x**2 / of_x + y**2 / of_y) / 2
    by_x, by_y = y / root - value * x / of_x, x / root - value * y / of_y
    return value, value + weight + orders[0].above(by_x) + orders[1].above(by_y)


@metric(columns=("truth", "said"), whole=_spearman, **_FIELDS)
def spearman(items: ScalarItems) -> Floats:
    """Spearman correlation: that of the ranks of right and predicted numbers.

    Equal numbers share the mean of their ranks. Range -1 to 1, higher is better; blind to
    whatever keeps the order. The interval counts that the ranks are those of a sample.

    Returns:
        [N, 2]: right and predicted number.
    """
    return np.stack([items.truth, items.said], axis=1)
