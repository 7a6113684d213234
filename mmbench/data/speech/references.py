"""The right answers of a split, together with the law that its items were drawn from.

The law travels with the items, for the oracle is given a split, or a part of one, and no two
splits need be alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmbench.data.speech.params import Render, Structure
from mmbench.errors import UsageError
from mmbench.references import LabelReferences, TextReferences

if TYPE_CHECKING:
    from mmbench.types import Split


@dataclass(frozen=True)
class Law:
    """What the items of a split were drawn from, as far as the oracle has to know it.

    Attributes:
        structure: What is spoken and asked for.
        render: How it is shown.
        most: The most frames that the lips lead by.
        seed: That of the data.
    """

    structure: Structure
    render: Render
    most: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class SpokenTexts(TextReferences):
    """One right text an item, and the law of the split."""

    law: Law


@dataclass(frozen=True, kw_only=True)
class RequestLabels(LabelReferences):
    """One right class an item, and the law of the split."""

    law: Law


def law_of(split: Split) -> Law:
    """Return the law of a split.

    Raises:
        UsageError: It is a split of another dataset.
    """
    for references in split.references.values():
        if isinstance(references, SpokenTexts | RequestLabels):
            return references.law
    raise UsageError("this split is not of the dataset 'speech', so its law is unknown")
