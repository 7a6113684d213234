"""What metrics of one class an item read: the right class, the one said, and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import ItemError, nearest
from mmbench.metrics._coded import Coded
from mmbench.metrics._items._columns import probabilities

if TYPE_CHECKING:
    from mmbench.metrics._coded import Ints
    from mmbench.references import LabelReferences, Said
    from mmbench.types import Floats

#: The number of the class where none was said.
NONE = -1


@dataclass(frozen=True)
class LabelItems:
    """N predicted classes beside the right ones.

    Attributes:
        truth: [N] int64, the number of the right class, 0 to C - 1.
        said: [N] int64, the number of the class that was said; -1 where none was.
        classes: The C names.
        scores: [N, C] float64, the probability of each class; NaN in the rows of items that have
            none. None where no item has any.
    """

    truth: Ints
    said: Ints
    classes: tuple[str, ...]
    scores: Floats | None = None

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def cells(self) -> Coded:
        """Right class, said class and number of classes of each item, as float64 columns.

        Items of one cell of the confusion matrix are equal, so they are counted and not listed.
        """
        width = len(self.classes) + 1  # the last: none was said
        codes = self.truth * width
        codes += np.where(self.said == NONE, width - 1, self.said) if self._silent else self.said
        if len(self.classes) * width > max(len(codes), 1024):
            cells, codes = np.unique(codes, return_inverse=True)
        else:
            cells = np.arange(len(self.classes) * width)
        truth, said = np.divmod(cells, width)
        said[said == width - 1] = NONE
        table = np.stack([truth, said, np.full_like(cells, len(self.classes))], axis=1)
        return Coded(table.astype(np.float64), codes)

    @cached_property
    def _silent(self) -> bool:
        return bool(self.said.min() == NONE)

    @cached_property
    def right(self) -> Coded:
        """[N, 1] 1 where the class that was said is right, else 0."""
        table = self.cells.table
        return self.cells.with_table((table[:, :1] == table[:, 1:2]).astype(np.float64))


def prepare(said: Said, references: LabelReferences) -> LabelItems:
    """Put predicted classes beside the right ones.

    Args:
        said: For each item the name of a class, or its number. With a column ``scores`` of
            probabilities [N, C] the class may be left out (None): the likeliest is taken, the
            first of equals. An item that has neither is one without an answer: it is wrong in
            every metric of classes, and metrics of probabilities refuse it.
        references: Of the same N items, in the same order.

    Raises:
        UsageError: A prediction is no class, or an item's scores are no probabilities of the
            classes; or a right class is none of the classes.
    """
    classes = references.classes
    truth = np.asarray(references.labels, dtype=np.int64)
    if truth.min() < 0 or truth.max() >= len(classes):
        place = int(np.flatnonzero((truth < 0) | (truth >= len(classes)))[0])
        raise ItemError(
            f"the right class of {said.ids[place]!r} is number {truth[place]}: expected 0 to "
            f"{len(classes) - 1}, for the {len(classes)} classes are {_listed(classes)}",
            said.ids[place],
            right=True,
        )
    scores = probabilities(said, classes, exclusive=True)
    numbers = _numbers(said, classes)
    if scores is not None and (numbers == NONE).any():
        known = (numbers == NONE) & ~np.isnan(scores[:, 0])
        numbers[known] = scores[known].argmax(axis=1)
    return LabelItems(truth, numbers, classes, scores)


def perfect(references: LabelReferences) -> tuple[list[str], dict[str, Sequence[Any]]]:
    """Return the right class of each item, with probability 1."""
    scores = np.eye(len(references.classes))[references.labels]
    return [references.classes[label] for label in references.labels], {"scores": scores.tolist()}


def _numbers(said: Said, classes: tuple[str, ...]) -> Ints:
    """Return [N] the number of each class that was said, -1 where none was."""
    values: Any = said.values
    whole = isinstance(values, np.ndarray) and values.dtype.kind in "iu"
    kinds = set() if whole else set(map(type, values))
    if whole or (kinds and all(_is_number(kind) for kind in kinds)):
        found = np.asarray(values, dtype=np.int64)
        if found.shape != (len(said),) or found.min() < 0 or found.max() >= len(classes):
            _refuse(said, classes)
        return found
    known: dict[Any, int] = {None: NONE, **{name: i for i, name in enumerate(classes)}}
    found = np.fromiter(
        (known.get(v, NONE - 1) if v is None or type(v) is str else NONE - 1 for v in values),
        np.int64,
        len(said),
    )
    for place in np.flatnonzero(found < NONE).tolist():
        found[place] = _number(values[place], said.ids[place], classes)
    return found


def _is_number(kind: type) -> bool:
    return issubclass(kind, (int, np.integer)) and not issubclass(kind, bool)


def _refuse(said: Said, classes: tuple[str, ...]) -> None:
    for name, value in zip(said.ids, said.values, strict=True):
        _number(value, name, classes)


def _number(value: Any, name: str, classes: tuple[str, ...]) -> int:
    """Return the number of the class that one prediction names, whatever type it has.

    Raises:
        UsageError: It names none.
    """
    number = value
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        number = int(value)  # a table with a gap turns whole numbers into these
    if _is_number(type(number)) and 0 <= number < len(classes):
        return int(number)
    if isinstance(value, str) and str(value) in classes:
        return classes.index(str(value))
    near = nearest(value, classes) if isinstance(value, str) else None
    offer = f"did you mean {near!r}? " if near else ""
    raise ItemError(
        f"the prediction of {name!r} is {value!r}: {offer}expected one of the {len(classes)} "
        f"classes ({_listed(classes)}) or its number, 0 to {len(classes) - 1}",
        name,
    )


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
