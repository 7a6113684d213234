"""The right labels of a split, together with the law that its items were drawn from.

The law has to travel with the items, for the oracle and the proven bounds are given a split, or
a part of one, and no two splits need be alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmbench.data.interactions.law import Law
from mmbench.errors import UsageError
from mmbench.references import LabelReferences

if TYPE_CHECKING:
    from mmbench.types import Split

#: The number of each class of `sentiment`, as its output ``intensity``.
INTENSITIES = (-2.0, -1.0, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class PlantedLabels(LabelReferences):
    """One right class an item, and how the items came about.

    Attributes:
        law: That of the split.
    """

    law: Law


def law_of(split: Split) -> Law:
    """Return the law of a split.

    Raises:
        UsageError: It is a split of another dataset.
    """
    labels = split.references.get("label")
    if not isinstance(labels, PlantedLabels):
        raise UsageError("this split is not of the dataset 'interactions', so its law is unknown")
    return labels.law
