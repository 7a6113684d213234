"""Retrieval as fusion: two sides that are encoded apart, and meet in a sum of inner products.

**What is fused.** A task of the kind ``match`` has modalities of two roles: those of the query, and
those of the gallery's entries. A model fuses *within* a side, by its fusion as everywhere else,
and each side becomes branches. A *pair* of branches, one of the query's and one of the entry's, is
what a branch is elsewhere: a line of evidence that decides by itself (``s_k <q_k, t_k>``, the
cosine of two projections over a learned temperature), and the combiner adds the decisions up. So

* **late fusion** of image and sound as a query is the sum of an image score and a sound score;
* **early fusion** (and all others with one joint branch) makes one vector of both, which is then
  compared: an exclusive or of the two can be looked for, and no sum of scores can do that;
* **hybrid fusion** adds the score of the joint vector to those of the single ones.

Objectives, balancing and wiring see branches, heads and a combiner, and know nothing of sides.

**Why scores are sums of inner products.** They are one inner product of vectors laid end to end,
``sqrt(w_k s_k) q_k``; so queries and entries are encoded once each, N + M instead of N x M passes,
and what a model said is two tables of vectors, from which every metric follows in both directions.
For that, weights may see neither query nor entry: a gate is refused by name.

**A side of one modality** has nothing to fuse: it has its own tower, as a unimodal model does.
Where both sides are so (an image and a caption), the two meet in the score only, which is late
fusion, whatever was asked for; any other fusion is refused there by name instead of passing for
what it is not.

Whatever is absent scores 0: with everything, for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmbench.models.contract import Fusion
from mmbench.types import Branch, Fused


def fewest(fusion: type[Fusion]) -> int:
    """Return how many modalities a side has to have for a fusion to have anything to fuse there.

    Late fusion has not: it is what happens between the sides anyway.
    """
    return fusion.at_least if fusion.decision_level else max(2, fusion.at_least)


def pair_names(queries: Sequence[str], entries: Sequence[str]) -> list[str]:
    """Name the pairs of branches, by the side that has several; by both where both have.

    >>> pair_names(["joint", "image"], ["text"])
    ['joint', 'image']
    >>> pair_names(["image", "audio"], ["text", "price"])
    ['image+text', 'image+price', 'audio+text', 'audio+price']
    """
    if len(entries) == 1:
        return list(queries)
    if len(queries) == 1:
        return list(entries)
    return [f"{query}+{entry}" for query in queries for entry in entries]


def pairs(queries: Fused, entries: Fused) -> Fused:
    """Return every branch of the queries with every one of the entries as its partner."""
    names = pair_names([b.name for b in queries.branches], [b.name for b in entries.branches])
    both = [(query, entry) for query in queries.branches for entry in entries.branches]
    branches = [
        replace(query, name=name, partner=entry)
        for name, (query, entry) in zip(names, both, strict=True)
    ]
    losses = {f"gallery {name}": loss for name, loss in entries.losses.items()}
    return Fused(branches, {**queries.losses, **losses})


def of_one_side(branches: Sequence[Branch], others: int, query: bool) -> list[Branch]:
    """Return the side's branch of each pair, where the other side has so many branches."""
    if query:
        return [branch for branch in branches for _ in range(others)]
    return [branch for _ in range(others) for branch in branches]
