"""The statistics of intervals and comparisons. numpy and scipy only.

One module a subject; its functions have short names and are read with it, as in
``crossed.difference(...)`` or ``mcnemar.compare(...)``:

How sure is a score, or a difference?
    `crossed`: seeds crossed with items, the default; `counted`: the same from counts of equal
    numbers; `clusters`: items that belong together; `bootstrap`: any value of sums, as a
    cross-check. `shares`: near a bound; `student`: the t distribution.
Do two models differ?
    `crossed`, again; `permutation`: exchanging items, or seeds; `mcnemar`: right and wrong;
    `holm`: several questions at once.
Is one no worse? What could be told at all?
    `noninferiority`: a verdict with a margin; `components`: where the variance sits; `power`: what
    can be detected, how many seeds or items would settle it.
Which place do models take? How do methods do over many tasks?
    `ranks`: sets of places that hold together; `friedman`, `strengths`; `aggregates`: interquartile
    mean, optimality gap, profiles; `improvement`: how often one beats another; `tuning`: the best
    of n trials.
May one look more than once?
    `group_sequential`: at planned looks; `confidence_sequence`: whenever; `detector`: along a
    history of commits (experimental).

Whatever draws at random takes a seed, and the same seed gives the same numbers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = [
    "aggregates",
    "bootstrap",
    "clusters",
    "components",
    "confidence_sequence",
    "counted",
    "crossed",
    "detector",
    "friedman",
    "group_sequential",
    "holm",
    "improvement",
    "mcnemar",
    "noninferiority",
    "permutation",
    "power",
    "ranks",
    "shares",
    "strengths",
    "student",
    "tuning",
]


def __getattr__(name: str) -> Any:
    # Modules come when they are asked for: scoring needs one of twenty.
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
