"""Where the variance of a score sits: in seeds, in items, in what is left. For planning.

Seeds crossed with items, as in `mmbench.stats.crossed`; for the difference of two models each has
seeds of its own and they share the items::

    x[s, j] = mean + seed_s + item_j + rest_sj
    Var(first - second) = sum over models (seed_m + rest_m / N) / S_m + item / N

with ``seed_m = (MS_S - MS_R) / N`` and ``rest_m = MS_R`` of model m, and ``item`` the variance over
items of the difference of means over seeds, less ``sum rest_m / S_m`` (analysis of variance:
Searle, Casella & McCulloch, Variance Components, 1992). Each is unbiased; one that comes out
negative is given as 0.

Estimated from few seeds, the seed component is rough: of three seeds, its 95 % interval reaches
from a quarter of the estimate to forty times it. A plan that rests on it is a plan, not a promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmbench.errors import UsageError
from mmbench.stats._checks import at_least
from mmbench.stats.clusters import independent_units
from mmbench.stats.crossed import SEEDS_AND_ITEMS, THESE_WEIGHTS, satterthwaite, seeds_by_items

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mmbench.types import Floats


@dataclass(frozen=True)
class Components:
    """Variances, in the square of the score's unit; one model, or the difference of two.

    Attributes:
        seed: Of each model: between seeds.
        item: Between items (between clusters, where items come in those); of a difference, that of
            the items' differences.
        rest: Of each model: seed and item together.
        scope: `SEEDS_AND_ITEMS`; `THESE_WEIGHTS` where a model had one seed, whose seed variance
            nobody knows: it is given as 0, and its rest is part of `item`.
    """

    seed: tuple[float, ...]
    item: float
    rest: tuple[float, ...]
    scope: str = SEEDS_AND_ITEMS

    def __post_init__(self) -> None:
        if len(self.seed) != len(self.rest) or len(self.seed) not in (1, 2):
            raise UsageError("expected seed and rest variances of one model, or of two")
        for variance in (*self.seed, self.item, *self.rest):
            at_least("a variance", variance, 0)


@dataclass(frozen=True)
class Design:
    """What a number of seeds and items would tell.

    Attributes:
        seeds: Number of seeds of each model.
        items: Number of items or clusters.
        se: Standard error to expect.
        df: Its degrees of freedom to expect (Satterthwaite), for the t distribution.
        terms: What the variance is the sum of: (expected value, degrees of freedom), items first.
    """

    seeds: tuple[int, ...]
    items: int
    se: float
    df: float
    terms: tuple[tuple[float, int], ...]


def estimate(values: ArrayLike, clusters: Sequence[Any] | None = None) -> Components:
    """Estimate the components of one model's score.

    Args:
        values: [S, N] or [N] pseudo-values, as for `mmbench.stats.crossed.interval`.
        clusters: [N] the unit that each item belongs to.

    Raises:
        UsageError: As `mmbench.stats.crossed.interval`.
    """
    x = independent_units(seeds_by_items(values), clusters)
    return _components([x], x.mean(axis=0))


def estimate_difference(
    first: ArrayLike, second: ArrayLike, clusters: Sequence[Any] | None = None
) -> Components:
    """Estimate the components of a difference of two models on the same items.

    Args:
        first: [S_1, N] or [N] pseudo-values, as for `mmbench.stats.crossed.difference`.
        second: [S_2, N] or [N].
        clusters: [N] the unit that each item belongs to.

    Raises:
        UsageError: As `mmbench.stats.crossed.difference`.
    """
    a, b = seeds_by_items(first), seeds_by_items(second)
    if a.shape[1] != b.shape[1]:
        raise UsageError(f"the first model has {a.shape[1]} items, the second {b.shape[1]}")
    a, b = independent_units(a, clusters), independent_units(b, clusters)
    return _components([a, b], a.mean(axis=0) - b.mean(axis=0))


def design(components: Components, seeds: int | tuple[int, ...], items: int) -> Design:
    """Return the standard error and degrees of freedom that a design would have.

    The terms are those of `mmbench.stats.crossed` with each mean square at its expectation::

        item:    (item + sum rest_m / S_m) / N      with N - 1
        seeds:   (seed_m + rest_m / N) / S_m        with S_m - 1
        rest:    -rest_m / (S_m N)                  with (S_m - 1) (N - 1)

    A model planned with one seed adds no seed variance: the plan is then about these weights.

    Args:
        components: The variances.
        seeds: Number of seeds of each model; one number for all.
        items: Number of items or clusters, at least 2.

    Raises:
        UsageError: Less than one seed or two items, or seeds for another number of models.
    """
    models = len(components.seed)
    each = (seeds,) * models if isinstance(seeds, int) else seeds
    if len(each) != models:
        raise UsageError(f"expected the seeds of {models} models, got {len(each)}")
    for number in each:
        at_least("seeds", number, 1)
    at_least("items", items, 2)
    rests = sum(rest / number for rest, number in zip(components.rest, each, strict=True))
    terms = [((components.item + rests) / items, items - 1)]
    for seed, rest, number in zip(components.seed, components.rest, each, strict=True):
        if number > 1:
            terms.append(((seed + rest / items) / number, number - 1))
            terms.append((-rest / (number * items), (number - 1) * (items - 1)))
    total = sum(term for term, _ in terms)
    df = satterthwaite(terms) if total else float(items - 1)
    return Design(each, items, total**0.5, df, tuple(terms))


def _components(models: Sequence[Floats], over_items: Floats) -> Components:
    seed, rest, shared = [], [], float(over_items.var(ddof=1))
    for x in models:
        number, items = x.shape
        left, between = 0.0, 0.0
        if number > 1:
            by_seed = x.mean(axis=1, keepdims=True)
            residual = x - by_seed - x.mean(axis=0, keepdims=True) + x.mean()
            left = float((residual**2).sum()) / ((number - 1) * (items - 1))
            between = max(0.0, float(by_seed.var(ddof=1)) - left / items)
        seed.append(between)
        rest.append(left)
        shared -= left / number
    known = all(len(x) > 1 for x in models)
    scope = SEEDS_AND_ITEMS if known else THESE_WEIGHTS
    return Components(tuple(seed), max(0.0, shared), tuple(rest), scope)
