"""What metrics of any number of classes an item read: the right ones, those said, probabilities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import ItemError, UsageError, nearest
from mmbench.metrics._items._columns import probabilities

if TYPE_CHECKING:
    from mmbench.metrics._ranking import Bools
    from mmbench.references import MultilabelReferences, Said
    from mmbench.types import Floats

#: From this probability on a class is said, where only probabilities are given.
THRESHOLD = 0.5


@dataclass(frozen=True)
class MultilabelItems:
    """N predicted sets of classes beside the right ones.

    Attributes:
        truth: [N, C] bool, whether a class is right.
        said: [N, C] bool, whether it was said; of a missing answer none was.
        missing: [N] bool, whether there is no answer at all: then every class of it is wrong.
        classes: The C names.
        scores: [N, C] float64, the probability of each class; NaN in the rows of items that have
            none. None where no item has any.
    """

    truth: Bools
    said: Bools
    missing: Bools
    classes: tuple[str, ...]
    scores: Floats | None = None

    def __len__(self) -> int:
        return len(self.truth)


def prepare(said: Said, references: MultilabelReferences) -> MultilabelItems:
    """Put predicted sets of classes beside the right ones.

    Args:
        said: For each item the names of its classes (none: an empty list), or C times 0 or 1.
            With a column ``scores`` of probabilities [N, C], which need not add up to 1, the
            classes may be left out (None): those from .5 on are taken. An item that has neither
            is one without an answer.
        references: Of the same N items, in the same order.

    Raises:
        UsageError: A prediction is neither of both, or an item's scores are no probabilities of
            the classes; or the right classes are not [N, C].
    """
    classes = references.classes
    truth = np.asarray(references.labels, dtype=np.bool_)
    if truth.shape != (len(said), len(classes)):
        raise UsageError(
            f"expected right classes of shape {(len(said), len(classes))}, got {truth.shape}"
        )
    scores = probabilities(said, classes, exclusive=False)
    found, missing = _sets(said, classes)
    if scores is not None and missing.any():
        known = missing & ~np.isnan(scores[:, 0])
        found[known] = scores[known] >= THRESHOLD
        missing &= ~known
    return MultilabelItems(truth, found, missing, classes, scores)


def perfect(
    references: MultilabelReferences,
) -> tuple[list[list[str]], dict[str, Sequence[Any]]]:
    """Return the right classes of each item, with probability 1, and 0 for the others."""
    values = [
        [name for name, right in zip(references.classes, row, strict=True) if right]
        for row in references.labels
    ]
    return values, {"scores": np.asarray(references.labels, dtype=np.float64).tolist()}


def _sets(said: Said, classes: tuple[str, ...]) -> tuple[Bools, Bools]:
    """Return [N, C] whether each class was said, and [N] whether nothing is there."""
    shape = (len(said), len(classes))
    values: Any = said.values
    table = isinstance(values, np.ndarray) and values.dtype.kind in "biu" and values.shape == shape
    if table and values.min() >= 0 and values.max() <= 1:
        return values.astype(np.bool_), np.zeros(len(said), dtype=np.bool_)
    found = np.zeros(shape, dtype=np.bool_)
    places = {name: place for place, name in enumerate(classes)}
    for item, value in enumerate(values):
        if value is not None:
            found[item, _places(value, said.ids[item], places)] = True
    return found, np.array([value is None for value in values], dtype=np.bool_)


def _places(value: Any, name: str, places: dict[str, int]) -> list[int]:
    """Return the numbers of the classes that one prediction says.

    Raises:
        UsageError: It is neither a list of names nor C times 0 or 1.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Collection) and not isinstance(value, (str, bytes, dict)):
        if all(isinstance(part, str) for part in value):
            for part in value:
                if part not in places:
                    _refuse(part, name, places)
            return [places[part] for part in value]
        marks = len(value) == len(places) and isinstance(value, Sequence)
        if marks and all(part in (0, 1) for part in value):
            return [place for place, part in enumerate(value) if part]
    text = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    raise ItemError(
        f"the prediction of {name!r} is {text}: expected a list of class names "
        f"({_listed(places)}), or {len(places)} times 0 or 1",
        name,
    )


def _refuse(part: str, name: str, places: dict[str, int]) -> None:
    near = nearest(part, places)
    offer = f"did you mean {near!r}? " if near else ""
    raise ItemError(
        f"the prediction of {name!r} names {part!r}: {offer}expected some of the {len(places)} "
        f"classes ({_listed(places)})",
        name,
    )


def _listed(places: dict[str, int]) -> str:
    return ", ".join(list(places)[:8]) + (", ..." if len(places) > 8 else "")
