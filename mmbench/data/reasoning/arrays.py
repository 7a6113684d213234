"""Scenes as two graphs, one half of the edges each, as models are given them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.reasoning.questions import THING
from mmbench.data.reasoning.scenes import (
    HALVES,
    LONGEST,
    MOST,
    RELATIONS,
    THINGS,
    Ints,
    Scenes,
    half_of,
)

#: Of one graph, see `mmbench.types.Links`. A row of numbers says which of the things a node is.
SHAPE = (1 + len(RELATIONS), MOST, 1 + len(THINGS))


def graph(seed: int, *names: object, scenes: Scenes, half: int) -> NDArray[np.uint8]:
    """Return the graph that a half tells, [N, 4, 8, 13], its nodes in an order drawn for it.

    All things of the scene are in either half, with those arrows that it tells.
    """
    count = len(scenes)
    here = scenes.names.reshape(count, -1) >= 0  # [N, 10]
    keys = rng.words(seed, *names, HALVES[half], "order", count=here.size).reshape(here.shape)
    order = np.argsort(np.where(here, keys >> np.uint64(1), ~np.uint64(0)), axis=1, kind="stable")
    slots = np.argsort(order, axis=1, kind="stable")  # of each thing
    found = np.zeros((count, *SHAPE), dtype=np.uint8)
    item, thing = np.nonzero(here)
    name = scenes.names.reshape(count, -1)[item, thing]
    found[item, 0, slots[item, thing], 0] = THING + name
    found[item, 0, slots[item, thing], 1 + name] = 1
    slots = slots.reshape(scenes.names.shape)
    for level in range(1, LONGEST + 1):
        told = (scenes.relations[:, :, level] >= 0) & (half_of(scenes.first, level) == half)[
            :, None
        ]
        item, chain = np.nonzero(told)
        ends = (slots[item, chain, level - at] for at in (1, 0))
        found[item, 1 + scenes.relations[item, chain, level], *ends] = 1
    return found


def hashes(*columns: Ints) -> NDArray[np.uint64]:
    """Return [N] 64 bits of what stands in columns [N] or [N, ...]: equal rows have equal ones.

    Each number goes through the mixer of splitmix64 (Steele et al., OOPSLA 2014).
    """
    flat = np.concatenate([np.reshape(c, (len(c), -1)) for c in columns], axis=1)
    state = np.zeros(len(flat), dtype=np.uint64)
    for column in flat.T.astype(np.int64).view(np.uint64):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state ^= column * np.uint64(0xD1342543DE82EF95)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state
