"""The right answers of a split, together with the law that its questions were drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmbench.data.reasoning.params import Params
from mmbench.errors import UsageError
from mmbench.references import LabelReferences

if TYPE_CHECKING:
    from mmbench.types import Split


@dataclass(frozen=True, kw_only=True)
class PlantedAnswers(LabelReferences):
    """One right answer an item, and how the items came about.

    Attributes:
        params: What is asked, and how deep scenes are.
    """

    params: Params


def params_of(split: Split) -> Params:
    """Return what a split's items were drawn by.

    Raises:
        UsageError: It is a split of another dataset.
    """
    answers = split.references.get("answer")
    if not isinstance(answers, PlantedAnswers):
        raise UsageError("this split is not of the dataset 'reasoning', so its law is unknown")
    return answers.params
