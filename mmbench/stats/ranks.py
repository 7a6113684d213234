"""Which places of a ranking do the data leave open? Sets that hold for all models at once.

A model's place is one more than the number of models that are truly better. All pairs are tested
together, with a probability of at most 5 % of any wrong claim "this one is better"; behind a model
then stand those that are shown to be worse, before it those that are shown to be better, and all
places between are open (Mogstad, Romano, Shaikh & Wilhelm, Inference for Ranks, Review of Economic
Studies 2024, doi:10.1093/restud/rdad006)::

    low_j  = 1 + #{k shown to be better than j}
    high_j = K - #{k shown to be worse than j}

All K sets hold the true places together, with probability 95 % and more. Where models are tied,
every place of the tie is a true one, and the sets hold them all. Bootstrapping the ranks does
neither: of eight equal methods, at the ends of a resampled ranking always stand the same few, and
the intervals leave places out in most cases (tests/stats).

The tests are those of `mmbench.stats.crossed.difference`, one for each pair of models; the sign of
a difference that is found says which is better. `by_holm` corrects them whatever their dependence
and has no randomness. `by_max_t` uses that the comparisons share models and items (Romano & Wolf,
JASA 2005; Westfall & Young 1993): Gaussian draws of all models' errors, from the estimated
covariance, give the distribution of the largest statistic. To keep the degrees of freedom of few
seeds, each t statistic is first turned into the normal number with the same p-value. It finds more
where models are many.

So far in the tails as many pairs ask for, three seeds do not tell their own spread: the sets of
eight equal models with three seeds held in 82 % of cases only (tests/test_decisions.py). So a pair
counts for no more than it would with the seed variance that all models have on average (`by_holm`,
`pooled`), or three times that of the one in the middle if this is less, lest one model that is
never twice the same hide what is known of the others. With it they hold in 96 % and more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import UsageError
from mmbench.stats import _draws
from mmbench.stats._checks import at_least, fraction
from mmbench.stats.clusters import independent_units
from mmbench.stats.crossed import (
    SEEDS_AND_ITEMS,
    THESE_WEIGHTS,
    seed_terms,
    seeds_by_items,
)
from mmbench.stats.holm import holm

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mmbench.types import Floats

#: How often the middle seed variance the average may be, see `by_holm`.
_SPREAD = 3.0
#: Draws of the largest statistic.
COUNT = 10_000


@dataclass(frozen=True)
class RankSets:
    """The places that are left open, for K models in the order in which they were given.

    Attributes:
        low: [K] best place, from 1.
        high: [K] last place, up to K.
        order: The models by their estimates, best first.
        p_values: [K, K] the adjusted p-value of "the row is no better than the column"; 1 on the
            diagonal. Below ``1 - level``: shown to be better.
        scope: `SEEDS_AND_ITEMS`, or `THESE_WEIGHTS` where a model has one seed.
        level: All sets hold the true places together with this probability.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    order: tuple[int, ...]
    p_values: Floats
    scope: str
    level: float

    @property
    def best(self) -> tuple[int, ...]:
        """The models that may be the best, by their estimates."""
        return tuple(model for model in self.order if self.low[model] == 1)

    @property
    def ties(self) -> tuple[tuple[int, ...], ...]:
        """Groups that are clearly apart, best first.

        A line is drawn only where all models above are shown to be better than all below, as at
        the WMT conferences. Within a group some may still differ.
        """
        better = self.p_values < 1 - self.level
        groups: list[tuple[int, ...]] = []
        start = 0
        for end in range(1, len(self.order) + 1):
            above, below = self.order[start:end], self.order[end:]
            if better[np.ix_(self.order[:end], below)].all():
                groups.append(tuple(above))
                start = end
        return tuple(groups)


def by_holm(
    models: Sequence[ArrayLike],
    clusters: Sequence[Any] | None = None,
    *,
    higher_is_better: bool = True,
    level: float = 0.95,
    pooled: bool = True,
) -> RankSets:
    """Return rank sets from all pairwise tests, Holm-corrected together.

    Args:
        models: K arrays [S_k, N] of pseudo-values, the same items in the same order; seeds may
            differ in number. See `mmbench.metrics.pseudo_values`.
        clusters: [N] the unit that each item belongs to.
        higher_is_better: The metric's direction.
        level: The probability that all sets hold the true places.
        pooled: Whether seeds are taken to vary at least as much as those of all models together.

    Raises:
        UsageError: Fewer than two models, or what `mmbench.stats.crossed.difference` refuses.
    """
    units = _units(models, clusters)
    compared = _compare(units)
    smaller = compared.p_values()
    if pooled and any(len(of) > 1 for of in units):
        smaller = np.maximum(smaller, _pooled(units, compared).p_values())
    adjusted = holm(np.minimum(1.0, 2 * smaller.min(axis=1)).tolist())
    return _sets(models, compared, adjusted, higher_is_better, level)


def by_max_t(
    models: Sequence[ArrayLike],
    clusters: Sequence[Any] | None = None,
    *,
    seed: int,
    higher_is_better: bool = True,
    level: float = 0.95,
    count: int = COUNT,
) -> RankSets:
    """Return rank sets from all pairwise tests, stepping down on the largest statistic.

    Args:
        models: As in `by_holm`.
        clusters: As in `by_holm`.
        seed: Of the random streams.
        higher_is_better: As in `by_holm`.
        level: As in `by_holm`.
        count: How many draws of the largest statistic.

    Raises:
        UsageError: As in `by_holm`.
    """
    at_least("count", count, 1)
    units = _units(models, clusters)
    compared = _compare(units)
    adjusted = _step_down(_covariance(units), compared, seed, count)
    return _sets(models, compared, adjusted, higher_is_better, level)


@dataclass(frozen=True)
class _Pairs:
    """All pairs of models, by number: the difference of each, as `crossed.difference` tells it.

    Attributes:
        first: [P] one model,
        second: [P] the other.
        value: [P] the first's mean minus the second's.
        se: [P] its standard error.
        df: [P] degrees of freedom.
        of_items: [P] what items make of its variance.
        items: Number of items, or of clusters.
        scope: As of the rank sets.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    value: Floats
    se: Floats
    df: Floats
    of_items: Floats
    items: int
    scope: str

    def p_values(self) -> Floats:
        """Return [P, 2], one-sided: of "the first is no larger", and of "the second is no larger".

        Without any spread they are the sign test's, as in `Interval.p_value`.
        """
        from scipy.special import stdtr

        t = np.divide(self.value, self.se, out=np.zeros_like(self.value), where=self.se > 0)
        sides = np.stack([self.value, -self.value], axis=1)
        sign = np.where(sides <= 0, 1.0, 0.5**self.items)
        student = np.stack([stdtr(self.df, -t), stdtr(self.df, t)], axis=1)
        return np.where(self.se[:, None] > 0, student, sign)


def _units(models: Sequence[ArrayLike], clusters: Sequence[Any] | None) -> list[Floats]:
    """Return numbers [S_k, C] of the independent units of each model.

    Raises:
        UsageError: Fewer than two models, other numbers of items, or what
            `mmbench.stats.crossed.difference` refuses.
    """
    if len(models) < 2:
        raise UsageError(f"a ranking needs at least two models, got {len(models)}")
    values = [seeds_by_items(model) for model in models]
    for other in values[1:]:
        if other.shape[1] != values[0].shape[1]:
            raise UsageError(
                f"a difference is taken on the same items: the first model has "
                f"{values[0].shape[1]}, the second {other.shape[1]}"
            )
    return [independent_units(of, clusters) for of in values]


def _compare(units: Sequence[Floats]) -> _Pairs:
    """Compare all pairs at once, as `crossed.difference` compares one."""
    means = np.stack([of.mean(axis=0) for of in units])
    whole = np.array([of.mean() for of in units])
    count, items = means.shape
    first, second = np.triu_indices(count, 1)
    variance = np.concatenate(
        [(means[a] - means[a + 1 :]).var(axis=1, ddof=1) for a in range(count - 1)]
    )
    variance /= items
    terms, own = (part.T for part in _terms_of_seeds(units))
    parts = [variance, *terms[:, first], *terms[:, second]]
    known = [np.full(len(first), items - 1.0), *own[:, first], *own[:, second]]
    total = np.sum(parts, axis=0)
    with np.errstate(all="ignore"):
        df = total**2 / np.sum([p**2 / d for p, d in zip(parts, known, strict=True)], axis=0)
    df = np.maximum(df, np.min(known, axis=0))
    wider = total > variance
    return _Pairs(
        first=first,
        second=second,
        value=whole[first] - whole[second],
        se=np.sqrt(np.where(wider, total, variance)),
        df=np.where(wider, df, items - 1.0),
        of_items=variance,
        items=items,
        scope=THESE_WEIGHTS if any(len(of) == 1 for of in units) else SEEDS_AND_ITEMS,
    )


def _pooled(units: Sequence[Floats], pairs: _Pairs) -> _Pairs:
    """Return the pairs as they would be if seeds of all models varied alike."""
    counts = np.array([len(of) for of in units], dtype=np.float64)
    spare = counts - 1
    terms = _terms_of_seeds(units)[0].sum(axis=1)
    own = np.maximum(0.0, terms * counts)  # the seed variance of each model
    known = own[spare > 0]
    seed = min(float(spare @ own / spare.sum()), _SPREAD * float(np.median(known)))
    first, second, of_items = pairs.first, pairs.second, pairs.of_items
    of_seeds = seed * (1 / counts[first] + 1 / counts[second])
    total = of_items + of_seeds
    with np.errstate(all="ignore"):
        df = total**2 / (of_items**2 / (pairs.items - 1) + of_seeds**2 / spare.sum())
    return replace(pairs, se=np.sqrt(total), df=np.where(total > 0, df, pairs.df))


def _terms_of_seeds(units: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return [K, 2] terms and degrees of freedom (`crossed.seed_terms`); of one seed, nothing."""
    found = [seed_terms(of) or [(0.0, np.inf)] * 2 for of in units]
    both = np.array(found, dtype=np.float64)
    return both[..., 0], both[..., 1]


def _sets(
    models: Sequence[ArrayLike],
    pairs: _Pairs,
    adjusted: Sequence[float],
    higher_is_better: bool,
    level: float,
) -> RankSets:
    """Count; what `adjusted` finds of a pair, it finds in the direction of its difference."""
    fraction("level", level)
    count = len(models)
    larger = np.ones((count, count))
    ahead = np.where(pairs.value > 0, pairs.first, pairs.second)
    behind = np.where(pairs.value > 0, pairs.second, pairs.first)
    larger[ahead, behind] = np.where(pairs.value == 0, 1.0, adjusted)
    p_values = larger if higher_is_better else larger.T
    better = p_values < 1 - level
    means = np.array([seeds_by_items(model).mean() for model in models])
    order = np.argsort(-means if higher_is_better else means, kind="stable")
    return RankSets(
        low=tuple(int(n) for n in 1 + better.sum(axis=0)),
        high=tuple(int(n) for n in count - better.sum(axis=1)),
        order=tuple(int(n) for n in order),
        p_values=p_values,
        scope=pairs.scope,
        level=level,
    )


def _covariance(units: Sequence[Floats]) -> Floats:
    """Return the covariance [K, K] of the models' means: shared items, and seeds of their own."""
    means = np.stack([model.mean(axis=0) for model in units])
    seeds = [max(0.0, sum(term for term, _ in seed_terms(model))) for model in units]
    return np.asarray(np.cov(means) / means.shape[1] + np.diag(seeds))


def _step_down(covariance: Floats, pairs: _Pairs, seed: int, count: int) -> list[float]:
    """Return the adjusted p-values of all pairs, by the step-down maximum.

    In the order of their statistics, each hypothesis is held against the largest statistic among
    those not yet rejected::

        p_(i) = max_{j <= i} (1 + #{draws: max_{l >= j} |z_l| >= |z_(j)|}) / (1 + B)
    """
    from scipy.special import ndtri

    first, second = pairs.first, pairs.second
    spread = np.diag(covariance)
    variance = np.maximum(spread[first] + spread[second] - 2 * covariance[first, second], 0)
    scale = np.divide(1, np.sqrt(variance), out=np.zeros(len(first)), where=variance > 0)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))

    seen = -ndtri(pairs.p_values().min(axis=1))
    order = np.argsort(-seen, kind="stable")
    reached = np.zeros(len(seen))
    for block in _draws.blocks(count, len(seen)):
        errors = _draws.normals(seed, "ranks", block=block, width=len(root)) @ root.T
        z = np.abs((errors[:, first] - errors[:, second]) * scale)[:, order]
        largest = np.maximum.accumulate(z[:, ::-1], axis=1)[:, ::-1]
        reached += (largest >= seen[order]).sum(axis=0)
    adjusted = np.empty(len(seen))
    adjusted[order] = np.maximum.accumulate((1 + reached) / (1 + count))
    return [float(p) for p in adjusted]
