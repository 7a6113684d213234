"""Right answers by following arrows, given both graphs and the question."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmbench.data.reasoning.params import QUESTIONS
from mmbench.data.reasoning.questions import ANSWERS
from mmbench.data.reasoning.scenes import LONGEST, RELATIONS, Ints
from mmbench.data.reasoning.seen import Questions


def follow(arrows: NDArray[np.int8], start: Ints) -> tuple[Ints, Ints]:
    """Follow the arrows from a thing: [N, 4] where they lead, [N, 4] by which relation.

    Args:
        arrows: [N, 12, 12]; from no thing does more than one lead.
        start: [N].

    Returns:
        -1 behind the end of a chain.
    """
    rows = np.arange(len(arrows))
    at = start.copy()
    places, relations = [], []
    for _ in range(LONGEST):
        row = arrows[rows, np.maximum(at, 0)]
        further = (row >= 0).any(axis=1) & (at >= 0)
        to = (row >= 0).argmax(axis=1)
        relations.append(np.where(further, row[rows, to].astype(np.int64), -1))
        at = np.where(further, to, -1)
        places.append(at)
    return np.stack(places, axis=1), np.stack(relations, axis=1)


def solve(arrows: NDArray[np.int8], asked: Questions) -> Ints:
    """Return [N], the number of the right answer in the `ANSWERS` of its question's kind."""
    places, relations = follow(arrows, asked.things[:, 0])
    goal = places == asked.things[:, 1][:, None]
    far = goal.argmax(axis=1)
    way = np.arange(LONGEST) <= far[:, None]
    second = goal[:, 1] & (relations[:, :2] == asked.relations).all(axis=1)
    found = {
        "path": goal.any(axis=1).astype(np.int64),
        "relation": (relations * way).sum(axis=1) % len(RELATIONS),
        "match": second.astype(np.int64),
        "dialogue": relations[:, 1],
    }
    assert set(found) == set(ANSWERS)
    return np.asarray(np.choose(asked.kind, [found[kind] for kind in QUESTIONS]))
