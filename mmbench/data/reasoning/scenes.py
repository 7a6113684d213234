"""Scenes: five to eight things in two chains, whose links are told by picture and text in turn.

The first chain has the things x_0 -> x_1 -> ... -> x_H, the second y_0 -> ... -> y_J, J <= H and
H + J <= 6; each arrow bears one of three relations. Level by level, the two chains are a *pair*
x_m, y_m up to level J, and one thing alone after that. Nothing but the arrows says which of a pair
belongs to which chain: names are drawn, and whoever misses the arrows between two levels can have
swapped everything behind them.

The arrows from level m - 1 to level m are told by one half only, image or text, and those of the
next level by the other: half the edges are only in the image and half only in the text, and no way
of two hops or more is within one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mmbench import rng

Ints = NDArray[np.int64]
#: What things are called.
THINGS = (
    "apple", "book", "clock", "drum", "eagle", "fish",
    "goat", "harp", "iron", "jar", "kite", "lamp",
)  # fmt: skip
#: Where the second thing is, seen from the first, if there are three rooms in a ring: number r is
#: r rooms to the right. What follows from two along a way is their sum modulo 3.
RELATIONS = ("same", "right", "left")
#: The most things of a scene, and the longest chain.
MOST, LONGEST = 8, 4
#: The halves of the graph, in the order in which they are numbered.
HALVES = ("image", "text")


@dataclass(frozen=True)
class Scenes:
    """N scenes.

    Attributes:
        depth: [N] H, 2..4.
        pairs: [N] J, 1..H.
        first: [N] the half that tells the arrows to level 1; 0 or 1.
        names: [N, 2, 5] the thing on each chain at each level, 0..11; -1 where there is none.
        relations: [N, 2, 5] that of the arrow which leads there, 0..2; -1 where there is none.
    """

    depth: Ints
    pairs: Ints
    first: Ints
    names: Ints
    relations: Ints

    def __len__(self) -> int:
        return len(self.depth)

    def take(self, rows: Ints) -> Scenes:
        """Return some of them."""
        return Scenes(*(getattr(self, field.name)[rows] for field in fields(self)))


def half_of(first: Ints, level: Ints | int) -> Ints:
    """Return which half tells the arrows to a level, 1 or above."""
    return np.asarray((first + level - 1) % 2)


def most_pairs(depth: Ints) -> Ints:
    """Return the most that J can be beside H, so that there are eight things at most."""
    return np.minimum(depth, MOST - 2 - depth)


def draw(seed: int, *names: object, count: int, deepest: int) -> Scenes:
    """Draw scenes: H even in 2..`deepest`, then J even in 1..its most, all else even."""

    def even(what: str, below: int) -> Ints:
        return rng.integers(seed, *names, what, count=count, below=below)

    depth = 2 + even("depth", deepest - 1)
    # The most of J are 2, 3 and 2: one of six numbers is even among either.
    pairs = 1 + even("pairs", 6) % most_pairs(depth)
    level = np.arange(LONGEST + 1)
    there = np.stack([level <= depth[:, None], level <= pairs[:, None]], axis=1)
    order = rng.words(seed, *names, "names", count=count * len(THINGS)).reshape(count, -1)
    chosen = np.argsort(order, axis=1, kind="stable")[:, : 2 * (LONGEST + 1)]
    relations = even_many(seed, *names, "relations", shape=(count, 2, LONGEST + 1), below=3)
    return Scenes(
        depth=depth,
        pairs=pairs,
        first=even("first", 2),
        names=np.where(there, chosen.reshape(count, 2, -1), -1),
        relations=np.where(there & (level > 0), relations, -1),
    )


def even_many(seed: int, *names: object, shape: tuple[int, ...], below: int) -> Ints:
    """Draw an array of even integers in [0, `below`)."""
    count = int(np.prod(shape))
    return rng.integers(seed, *names, count=count, below=below).reshape(shape)
