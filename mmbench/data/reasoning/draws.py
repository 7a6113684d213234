"""Items without a double: which scenes with which questions a split has, in which order.

An item is what it shows. The order of nodes does not count, nor which of two chains of one length
is called the first. Every item can be in one split only: its hash says in which.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mmbench.data.reasoning import questions, scenes
from mmbench.data.reasoning.arrays import hashes
from mmbench.data.reasoning.params import Params
from mmbench.data.reasoning.questions import Asked
from mmbench.data.reasoning.scenes import Ints, Scenes
from mmbench.errors import SpecError

#: Candidates that are drawn at once. With another number the data change.
BLOCK = 4096


@dataclass(frozen=True)
class Items:
    """N items: scenes, what is asked of them, and hashes.

    Attributes:
        own: [N] of the item.
        shape: [N] of the item as it is without the names of things: equal ones are isomorphic.
    """

    scenes: Scenes
    asked: Asked
    own: NDArray[np.uint64]
    shape: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.own)

    def take(self, rows: Ints) -> Items:
        """Return some of them."""
        return Items(
            self.scenes.take(rows), self.asked.take(rows), self.own[rows], self.shape[rows]
        )


def draw(seed: int, split: str, params: Params, count: int, part: int, parts: int) -> Items:
    """Return the first `count` different items of a split, whatever `count` is.

    Args:
        seed: The task's data seed.
        split: Its name, which names its random stream.
        params: What is asked.
        count: N.
        part: Which items it can have: those whose hash leaves this rest
        parts: by this number.

    Raises:
        SpecError: There are not so many.
    """
    kept: list[Items] = []
    before, start, blocks = -1, 0, -(-count * parts // BLOCK)
    while True:
        new = joined([_block(seed, split, params, start + at) for at in range(blocks)])
        kept.append(new.take(np.flatnonzero(new.own % np.uint64(parts) == part)))
        every = joined(kept)
        _, first = np.unique(every.own, return_index=True)
        if len(first) >= count:
            return every.take(np.sort(first)[:count])
        if len(first) == before:
            raise SpecError(
                f"splits.{split} = {count}: there are no more than {before} different items for "
                f"it: ask for fewer, or for more kinds of question"
            )
        kept, before = [every.take(np.sort(first))], len(first)
        start, blocks = start + blocks, max(1, blocks // 2)


def joined(parts: list[Items]) -> Items:
    """Return items one after the other."""

    def of(kind: type, every: list[object]) -> object:
        names = [field.name for field in fields(kind)]
        return kind(*(np.concatenate([getattr(p, n) for p in every]) for n in names))

    return Items(
        of(Scenes, [p.scenes for p in parts]),  # type: ignore[arg-type]
        of(Asked, [p.asked for p in parts]),  # type: ignore[arg-type]
        np.concatenate([p.own for p in parts]),
        np.concatenate([p.shape for p in parts]),
    )


def _block(seed: int, split: str, params: Params, block: int) -> Items:
    names = ("reasoning", split, block)
    drawn = scenes.draw(seed, *names, "scene", count=BLOCK, deepest=params.hops)
    asked = questions.draw(seed, *names, "question", scenes=drawn, questions=params.questions)
    whole = [_columns(drawn, asked), _columns(*_other_way_round(drawn, asked))]
    plain, turned = (hashes(*columns) for columns in whole)
    bare, bare_turned = (hashes(*columns[:-1]) for columns in whole)
    # Chains of one length have no order of their own.
    even = drawn.depth == drawn.pairs
    return Items(
        drawn,
        asked,
        np.where(even, np.minimum(plain, turned), plain),
        np.where(even, np.minimum(bare, bare_turned), bare),
    )


def _columns(s: Scenes, q: Asked) -> tuple[Ints, ...]:
    """Return all that items consist of, the names of things last."""
    question = (q.kind, q.hops, q.start, q.chains, q.words)
    return (s.depth, s.pairs, s.first, s.relations, *question, s.names)


def _other_way_round(drawn: Scenes, asked: Asked) -> tuple[Scenes, Asked]:
    """Return the same with the second chain first."""
    return (
        Scenes(
            drawn.depth, drawn.pairs, drawn.first, drawn.names[:, ::-1], drawn.relations[:, ::-1]
        ),
        Asked(asked.kind, asked.hops, asked.start, 1 - asked.chains, asked.words, asked.answer),
    )
