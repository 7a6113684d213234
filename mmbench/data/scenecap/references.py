"""References that are made when they are asked for: a split of thousands opens at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, overload

from numpy.typing import NDArray

from mmbench.data.scenecap.grammar import Facts, vocabulary
from mmbench.data.scenecap.parser import parse, slots_of
from mmbench.references import TextReferences
from mmbench.text import SPECIALS

Array: TypeAlias = NDArray[Any]
Item = TypeVar("Item")


class Rows(Sequence[Item], Generic[Item]):
    """The rows of an array, each turned into something else when it is read."""

    def __init__(self, rows: Array, read: Callable[[Array], Item]) -> None:
        self._rows = rows
        self._read = read

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return Rows(self._rows[index], self._read)
        return self._read(self._rows[index])


def references(captions: Array, facts: Array) -> TextReferences:
    """Return the references of N items.

    Args:
        captions: [N, R, L] token ids.
        facts: [N, 11] in the order of `grammar.Facts`.
    """
    return TextReferences(
        texts=Rows(captions, _texts),
        slots=Rows(facts, lambda row: slots_of(Facts(*row.tolist()))),
        parse=parse,
    )


def _texts(rows: Array) -> tuple[str, ...]:
    words, marks = vocabulary(), len(SPECIALS)
    return tuple(" ".join([words[i] for i in row if i >= marks]) for row in rows.tolist())
