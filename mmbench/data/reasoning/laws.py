"""All ways in which scene and question can come about, but for names and relations, with chances.

They are few: which of them a graph can be half of, and what it then says of the answer, is found by
going through them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from mmbench.data.reasoning.params import Params, Question
from mmbench.data.reasoning.questions import starts
from mmbench.data.reasoning.scenes import half_of, most_pairs

#: In the place of a relation's number: none of a question's is another than the scene's.
TRUE = -1


@dataclass(frozen=True)
class Law:
    """One way.

    Attributes:
        chance: How likely it is, given the kind of question.
        depth: H.
        pairs: J.
        first: The half that tells the arrows to level 1.
        hops: h.
        ends: (chain, level) of S, and of what the question leads to.
        turned: Which of the question's relations is another than the scene's, 0 or 1; -1: none.
        answer: For yes and no, 1 and 0.
    """

    chance: float
    depth: int
    pairs: int
    first: int
    hops: int
    ends: tuple[tuple[int, int], tuple[int, int]]
    turned: int = TRUE
    answer: int = 0

    @property
    def things(self) -> int:
        """How many there are."""
        return self.depth + self.pairs + 2

    def told(self, chain: int, level: int, half: int) -> bool:
        """Whether there is an arrow to a place on a chain, and a half tells it."""
        last = self.pairs if chain else self.depth
        return 0 < level <= last and int(half_of(np.asarray(self.first), level)) == half

    def edges(self, half: int) -> int:
        """Return how many arrows a half tells."""
        return sum(
            self.told(chain, level, half) for chain in (0, 1) for level in range(1, self.depth + 1)
        )


@cache
def laws(kind: Question, params: Params) -> tuple[Law, ...]:
    """Return all laws of a kind of question; their chances add up to 1."""
    return tuple(
        law
        for depth in range(2, params.hops + 1)
        for pairs in range(1, int(most_pairs(np.asarray(depth))) + 1)
        for first in (0, 1)
        for hops, share in _hops(kind, depth)
        for law in _of(
            kind,
            depth,
            pairs,
            first,
            hops,
            share / (params.hops - 1) / int(most_pairs(np.asarray(depth))) / 2,
        )
    )


def _hops(kind: Question, depth: int) -> Iterator[tuple[int, float]]:
    """Yield over how many hops a question leads, with chances."""
    if kind == "path":
        yield depth, 0.5
        yield from ((hops, 0.5 / (depth - 1)) for hops in range(1, depth))
    elif kind == "relation" and depth > 2:
        yield from ((2, 0.5), (3, 0.5))
    else:
        yield 2, 1.0


def _of(
    kind: Question, depth: int, pairs: int, first: int, hops: int, chance: float
) -> Iterator[Law]:
    """Yield what may be asked of a scene over so many hops."""
    count = int(starts(*(np.asarray(n) for n in (depth, pairs, hops))))
    for start in range(count):
        end = start + hops
        chains = (0, 1) if end <= pairs else (0,)
        for behind in chains:
            share = chance / count / len(chains)
            same, other = (((chain, start), (behind, end)) for chain in (behind, 1 - behind))
            base = (depth, pairs, first, hops)
            if kind in ("relation", "dialogue"):
                yield Law(share, *base, same)
                continue
            yield Law(share / 2, *base, same, answer=1)
            if kind == "path":
                yield Law(share / 2, *base, other)
            else:
                yield Law(share / 4, *base, other)
                yield Law(share / 8, *base, same, turned=0)
                yield Law(share / 8, *base, same, turned=1)
