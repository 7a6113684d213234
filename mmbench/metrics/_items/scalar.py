"""What metrics of one number an item read: the right number and the one said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import ItemError

if TYPE_CHECKING:
    from mmbench.metrics._ranking import Bools
    from mmbench.references import Said, ScalarReferences
    from mmbench.types import Floats


@dataclass(frozen=True)
class ScalarItems:
    """N predicted numbers beside the right ones.

    Attributes:
        truth: [N] float64, finite.
        said: [N] float64, finite; NaN where nothing was said.
    """

    truth: Floats
    said: Floats

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def missing(self) -> Bools:
        """[N] whether nothing was said."""
        return np.isnan(self.said)


def prepare(said: Said, references: ScalarReferences) -> ScalarItems:
    """Put predicted numbers beside the right ones.

    Args:
        said: A finite number for each item, or None: an item without an answer. It is wrong in
            every metric of classes (acc2, acc7, ...); metrics of distances and correlations
            refuse it.
        references: Of the same N items, in the same order.

    Raises:
        UsageError: A prediction or a right number is no finite number.
    """
    truth = np.asarray(references.values, dtype=np.float64)
    if not np.isfinite(truth).all():
        place = int(np.flatnonzero(~np.isfinite(truth))[0])
        name = said.ids[place]
        raise ItemError(
            f"the right number of {name!r} is {truth[place]}: not finite", name, right=True
        )
    values: Any = said.values
    if not (isinstance(values, np.ndarray) and values.dtype.kind in "fiu" and values.ndim == 1):
        values = [np.nan if value is None else value for value in values]
        if not all(map(_is_number, set(map(type, values)))):
            _refuse(said)
    found = np.asarray(values, dtype=np.float64)
    if not np.isfinite(found).all():
        _refuse(said)
    return ScalarItems(truth, found)


def perfect(references: ScalarReferences) -> tuple[list[float], dict[str, Sequence[Any]]]:
    """Return the right number of each item."""
    return references.values.tolist(), {}


def _is_number(kind: type) -> bool:
    return issubclass(kind, (int, float, np.integer, np.floating)) and kind is not bool


def _refuse(said: Said) -> None:
    """Raise UsageError that names the first item whose prediction is neither number nor None."""
    for name, value in zip(said.ids, said.values, strict=True):
        if value is not None and not (_is_number(type(value)) and np.isfinite(value)):
            raise ItemError(
                f"the prediction of {name!r} is {value!r}: expected a finite number, such as 0.5",
                name,
            )
