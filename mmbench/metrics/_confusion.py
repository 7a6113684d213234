"""Metrics of the confusion matrix: one function from the numbers of each class gives one.

Item statistics of the classes themselves would be three columns a class. But an item only lies in
one cell of the matrix, so its row says which, and ``whole`` counts: of stored rows any metric of
the matrix follows, whatever the number of classes.

Each of these metrics is a ratio, so that twice the items leave it equal. Its pseudo-values are
then ``value + N grad(matrix)[cell of the item]``, whose mean is the value (Euler), exactly as
those of `mmbench.metrics.pseudo_values` for sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mmbench.metrics._contract import Metric, _origin

if TYPE_CHECKING:
    from mmbench.metrics._coded import Coded, Ints
    from mmbench.metrics._items.label import LabelItems
    from mmbench.types import Floats

    #: From margins to a value and its slopes.
    Of: TypeAlias = Callable[["Margins"], "Slopes"]


@dataclass(frozen=True)
class Margins:
    """How often each of C classes was right, was said, and both.

    Attributes:
        hits: [C] items of the class of which it was said.
        said: [C + 1] items of which the class was said; the last: of which none was.
        true: [C] items of the class.
    """

    hits: Floats
    said: Floats
    true: Floats

    @property
    def items(self) -> float:
        """N."""
        return float(self.true.sum())


class Slopes(NamedTuple):
    """A value, and how it changes with each number of `Margins` (shapes as there)."""

    value: float
    hits: Floats
    said: Floats
    true: Floats


def rows(items: LabelItems) -> Coded:
    """Return [N, 3]: the numbers of the right class and of the one said, and of all classes."""
    return items.cells


def whole(of: Of, rows: Floats, counts: Floats | None = None) -> tuple[float, Floats]:
    """Return a value of the confusion matrix, and pseudo-values [N].

    Args:
        of: The metric.
        rows: [N, 3], as `rows` returns them.
        counts: [N] how many items have each row; None: one.
    """
    truth, said = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    classes = int(rows[0, 2])
    weights = np.ones(len(rows)) if counts is None else counts
    hit = truth == said
    margins = Margins(
        hits=_sums(truth[hit], weights[hit], classes),
        said=_sums(said % (classes + 1), weights, classes + 1),
        true=_sums(truth, weights, classes),
    )
    slopes = of(margins)
    gradient = slopes.true[truth] + slopes.said[said] + np.where(hit, slopes.hits[truth], 0.0)
    return slopes.value, slopes.value + margins.items * gradient


def _sums(groups: Ints, weights: Floats, size: int) -> Floats:
    return np.bincount(groups, weights, minlength=size).astype(np.float64, copy=False)


def metric(**fields: Any) -> Callable[[Of], Metric]:
    """Make the metric of a function of `Margins`; its name and summary are the function's."""

    def make(of: Of) -> Metric:
        return Metric(
            name=of.__name__,
            family="confusion",
            stats=rows,
            value=None,
            whole=partial(whole, of),
            columns=("truth", "said", "classes"),
            **{"kind": "label", **_origin(of), **fields},
        )

    return make
