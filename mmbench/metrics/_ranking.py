"""How well numbers rank right items above wrong ones: value and pseudo-values of one class.

Both depend on the order only, so that one sort gives them, ties included. Pseudo-values come from
theory: the placements of DeLong for the area under the ROC curve, the exact derivative by item
weights (the infinitesimal jackknife) for average precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats

    Bools: TypeAlias = NDArray[np.bool_]
    Ints: TypeAlias = NDArray[np.int64]
    #: From [N] whether an item is right and [N] its number to a value and pseudo-values [N].
    Ranked: TypeAlias = Callable[[Bools, Floats], tuple[float, Floats]]


@dataclass(frozen=True)
class Order:
    """N items from the lowest number to the highest.

    Attributes:
        places: [N] the items in that order.
        start: [N] where, in that order, the equals of each begin.
        end: [N] where they end, behind the last.
    """

    places: Ints
    start: Ints
    end: Ints

    @classmethod
    def of(cls, numbers: Floats) -> Order:
        """Sort items by their numbers [N]."""
        places = np.argsort(numbers)  # equals in any order: they are taken together
        ordered = numbers[places]
        heads = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        sizes = np.diff(heads, append=len(ordered))
        return cls(places, np.repeat(heads, sizes), np.repeat(heads + sizes, sizes))

    @property
    def ranks(self) -> Floats:
        """[N] how many items are below each and half of those beside it, as the items came."""
        return self.back((self.start + self.end) / 2)

    def above(self, values: Floats) -> Floats:
        """Return [N] the sum of `values` of the items above each and half of those beside it.

        In both, the items stand as they came.
        """
        passed = np.append(0.0, np.cumsum(values[self.places]))
        return self.back(passed[-1] - (passed[self.start] + passed[self.end]) / 2)

    def back(self, values: Floats) -> Floats:
        """Return [N] values of items in this order, in the order in which the items came."""
        out = np.empty_like(values)
        out[self.places] = values
        return out


def auroc(positive: Bools, numbers: Floats) -> tuple[float, Floats]:
    """Return the area under the ROC curve and pseudo-values [N].

    The share of pairs of a right and a wrong item in which the right one has the higher number,
    ties half. An item's placement is that share of its own pairs; the spread of the placements
    among right and among wrong items gives the variance ``S_1 / m + S_0 / n`` (DeLong, DeLong &
    Clarke-Pearson, Biometrics 1988), which is that of the mean of the pseudo-values, exactly.

    In simulation with two normal distributions the interval of nominal 95 % covers 93-97 % for
    areas up to .9 and a hundred right items. Nearer to 1 the area is skewed, whatever variance is
    taken: 92 % at .96 and 84 % at .99 with a hundred of each, 89 % at .99 with 300 and 2,700.

    Args:
        positive: [N] whether an item is right; m are and n are not, neither of them 0.
        numbers: [N] finite.
    """
    order, size = Order.of(numbers), len(numbers)
    right = int(positive.sum())
    wrong = size - right
    rights_above = order.above(positive.astype(np.float64))
    wrongs_below = order.ranks - (right - rights_above)
    placement = np.where(positive, wrongs_below / wrong, rights_above / right)
    value = float(placement[positive].mean())
    # The spreads have m - 1 and n - 1 degrees of freedom; that of all N pseudo-values has N - 1.
    of_right, of_wrong = ((size * (size - 1) / (k * max(k - 1, 1))) ** 0.5 for k in (right, wrong))
    return value, value + np.where(positive, of_right, of_wrong) * (placement - value)


def average_precision(positive: Bools, numbers: Floats) -> tuple[float, Floats]:
    """Return the average precision and pseudo-values [N].

    The mean over right items of the precision among all items with as high a number:
    ``1 / m sum_i A_i / B_i``, A_i the right ones among the B_i items not below item i. Ties are
    taken together, as scikit-learn does, and nothing is interpolated. With item weights w::

        d / d w_j = ([j right] (A_j / B_j - value)
                     + sum_{i right, i <= j} ([j right] B_i - A_i) / B_i^2) / m

    With few right items the value lies above that of infinitely many. In simulation (a hundred
    right items) the interval covers 93-97 %, near chance up to 98 %, and less near 1, as that of
    `auroc`.

    Args:
        positive: [N] whether an item is right; at least one is.
        numbers: [N] finite.
    """
    order, size = Order.of(numbers), len(numbers)
    right = positive[order.places]
    below = np.append(0, np.cumsum(right))
    hits = (below[-1] - below[order.start]).astype(np.float64)
    level = (size - order.start).astype(np.float64)
    precision = hits / level
    value = float(precision[right].mean())
    gain = np.cumsum(np.where(right, (level - hits) / level**2, 0.0))[order.end - 1]
    loss = np.cumsum(np.where(right, hits / level**2, 0.0))[order.end - 1]
    moved = np.where(right, gain + precision - value, -loss)
    return value, order.back(value + size * moved / below[-1])


def macro(of: Ranked, truth: Iterable[Bools], numbers: Iterable[Floats]) -> tuple[float, Floats]:
    """Return the mean over classes of a value, and of its pseudo-values [N].

    Args:
        of: `auroc` or `average_precision`.
        truth: For each class that counts, [N] whether an item is of it.
        numbers: For each of them, [N] the scores.
    """
    values = []
    total: Floats | float = 0.0
    for right, scores in zip(truth, numbers, strict=True):
        value, pseudo = of(right, scores)
        values.append(value)
        total = total + pseudo
    return float(np.mean(values)), np.asarray(total) / len(values)
