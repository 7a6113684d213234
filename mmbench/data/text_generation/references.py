"""References that are made when they are asked for, together with the facts of each item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmbench.data.scenecap.references import Rows
from mmbench.data.text_generation.verse import Facts, closing_words, parse, slots_of
from mmbench.errors import UsageError
from mmbench.references import TextReferences
from mmbench.text import SPECIALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmbench.types import Array, Split


@dataclass(frozen=True)
class Verses(TextReferences):
    """The second lines that people might write to each item.

    Attributes:
        facts: [N, 6] in the order of `verse.Facts`.
    """

    facts: Array | None = None

    def take(self, index: Sequence[int]) -> Verses:
        """Return the references of the items `index`, in that order."""
        assert self.facts is not None
        taken = super().take(index)
        return replace(self, texts=taken.texts, slots=taken.slots, facts=self.facts[list(index)])


def references(lines: Array, facts: Array) -> Verses:
    """Return the references of N items.

    Args:
        lines: [N, R, L] token ids.
        facts: [N, 6].
    """
    return Verses(
        texts=Rows(lines, _texts),
        slots=Rows(facts, lambda row: slots_of(Facts(*row.tolist()))),
        parse=parse,
        facts=facts,
    )


def facts_of(split: Split) -> list[Facts]:
    """Return the facts of each item.

    Raises:
        UsageError: It is a split of another dataset.
    """
    found = split.references.get("continuation")
    if not isinstance(found, Verses) or found.facts is None:
        raise UsageError(
            "this split is not of the dataset 'text_generation', so its law is unknown"
        )
    return [Facts(*row) for row in found.facts.tolist()]


def _texts(rows: Array) -> tuple[str, ...]:
    words, marks = closing_words(), len(SPECIALS)
    return tuple(" ".join([words[i] for i in row if i >= marks]) for row in rows.tolist())
