"""Reads what models are given back into what it says: things, arrows, and the question.

Nothing here knows how an item was drawn, so that right answers and probabilities follow from the
arrays alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmbench.data.reasoning.params import QUESTIONS
from mmbench.data.reasoning.questions import OPENING, RELATION, THING
from mmbench.data.reasoning.scenes import RELATIONS, THINGS, Ints
from mmbench.types import Array, Ragged

#: In an arrow's place where there is none.
NONE = -1
# Items whose tables are made at once.
_BLOCK = 4096


@dataclass(frozen=True)
class Questions:
    """What is asked, of N items.

    Attributes:
        kind: [N] number in `QUESTIONS`.
        things: [N, 2] the first and the last thing that is named; the same where it is one only.
        relations: [N, 2] the first and the last relation that is named, 0..2; -1 where there is
            none.
    """

    kind: Ints
    things: Ints
    relations: Ints


def questions(told: Array | Ragged) -> Questions:
    """Read questions [N, 7] of words."""
    words = np.asarray(told.values if isinstance(told, Ragged) else told).astype(np.int64)
    kind = np.full(len(words), NONE)
    for name, opening in OPENING.items():
        kind[words[:, 0] == opening] = QUESTIONS.index(name)
    return Questions(kind, *(_ends(words, at, n) for at, n in _BLANKS))


_BLANKS = ((THING, len(THINGS)), (RELATION, len(RELATIONS)))


def _ends(words: Ints, start: int, count: int) -> Ints:
    """Return [N, 2], the first and the last word of a kind, counted from 0; -1 for none."""
    number = words - start
    fits = (number >= 0) & (number < count)
    rows = np.arange(len(words))
    first = number[rows, fits.argmax(axis=1)]
    last = number[rows, words.shape[1] - 1 - fits[:, ::-1].argmax(axis=1)]
    return np.where(fits.any(axis=1, keepdims=True), np.stack([first, last], axis=1), NONE)


def arrows(*graphs: Array) -> NDArray[np.int8]:
    """Return [N, 12, 12]: the relation by which thing a points at thing b in any of the graphs.

    -1 where it does in none. A thing that a graph lacks points at nothing there.
    """
    whole = np.full((len(graphs[0]), len(THINGS), len(THINGS)), NONE, dtype=np.int8)
    for start in range(0, len(whole), _BLOCK):
        for graph in graphs:
            part = np.asarray(graph[start : start + _BLOCK])
            item, relation, tail, head = np.nonzero(part[:, 1:, :, : part.shape[2]])
            names = part[:, 0, :, 0].astype(np.int64) - THING
            whole[start + item, names[item, tail], names[item, head]] = relation
    return whole


def things(graph: Array) -> Ints:
    """Return [N], how many things a graph has."""
    return np.asarray((np.asarray(graph)[:, 0, :, 0] > 0).sum(axis=1))
