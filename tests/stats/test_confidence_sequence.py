from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats
from simulated import draw_crossed, share

from mmbench.errors import UsageError
from mmbench.stats import crossed
from mmbench.stats.confidence_sequence import of_interval, of_seeds
from mmbench.stats.crossed import SEEDS_AND_ITEMS, Interval


def prior(level: float) -> float:
    twice = -2 * math.log(1 - level)
    return twice + math.log(twice) + 1


def bayes_factor(x: np.ndarray, null: float, variance: float) -> float:
    """Average the likelihood ratio of the t statistic over normal effect sizes, numerically."""
    n = len(x)
    t = (x.mean() - null) / x.std(ddof=1) * n**0.5

    def weighted(effect: float) -> float:
        return float(
            stats.nct.pdf(t, n - 1, effect * n**0.5) * stats.norm.pdf(effect, 0, variance**0.5)
        )

    sd = variance**0.5
    return integrate.quad(weighted, -8 * sd, 8 * sd, limit=200)[0] / stats.t.pdf(t, n - 1)


@pytest.mark.parametrize("seeds", [6, 12, 30])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_ends_are_where_the_averaged_likelihood_ratio_reaches_its_bound(
    seeds: int, level: float
) -> None:
    x = np.random.default_rng(seeds).normal(3.0, 2.0, size=seeds)
    low, high = of_seeds(x, tightest=8, level=level)
    for end in (low, high):
        assert bayes_factor(x, end, prior(level) / 8) == pytest.approx(1 / (1 - level), rel=1e-3)
    assert bayes_factor(x, x.mean(), prior(level) / 8) < 1


def test_with_many_degrees_of_freedom_it_is_the_normal_mixture() -> None:
    look = Interval(0.4, 0, 0, 0.1, 1e9, (5, 5), 100, SEEDS_AND_ITEMS, 0.95)
    low, high = of_interval(look, tightest=0.08)
    variance = prior(0.95) * 0.08**2

    def weighted(effect: float, null: float) -> float:
        density = stats.norm.pdf(0.4, null + effect, 0.1)
        return float(density * stats.norm.pdf(effect, 0, variance**0.5))

    for end in (low, high):
        averaged = integrate.quad(weighted, -3, 3, args=(end,), limit=200)[0]
        assert averaged / stats.norm.pdf(0.4, end, 0.1) == pytest.approx(20, rel=1e-4)
    assert low + high == pytest.approx(0.8)


def test_it_is_tightest_where_it_was_told_to_be() -> None:
    def width(se: float, tightest: float) -> float:
        look = Interval(0.0, 0, 0, se, 1e9, (5,), 9, SEEDS_AND_ITEMS, 0.95)
        low, high = of_interval(look, tightest=tightest)
        return (high - low) / se

    here = width(0.1, 0.1)
    assert here < min(width(0.1, 0.2), width(0.1, 0.05), width(0.1, 0.12), width(0.1, 0.083))
    assert here / 2 == pytest.approx(3.03, abs=0.02)


def test_few_degrees_of_freedom_make_it_wider() -> None:
    normal, rough = (
        of_interval(Interval(0.0, 0, 0, 1.0, df, (5,), 9, SEEDS_AND_ITEMS, 0.95), tightest=1.0)
        for df in (1e9, 6.0)
    )
    assert rough[1] > 1.4 * normal[1]


def test_too_few_seeds_bound_nothing() -> None:
    assert of_seeds([0.1, 0.2], tightest=10) == (-math.inf, math.inf)
    assert of_seeds([0.5] * 8) == (0.5, 0.5)
    assert of_interval(crossed.interval(np.full((3, 9), 0.5)), tightest=0.1) == (0.5, 0.5)


def test_seeds_may_be_added_and_looked_at_at_will() -> None:
    rng = np.random.default_rng(0)
    seeds = 40

    def errs(interval: object) -> float:
        def ever(_: int) -> bool:
            x = rng.normal(2.0, 0.7, size=seeds)
            looks = (interval(x[:n]) for n in range(2, seeds + 1))  # type: ignore[operator]
            return any(not low <= 2.0 <= high for low, high in looks)

        return share(200, ever)

    def one_look(x: np.ndarray) -> tuple[float, float]:
        half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5
        return x.mean() - half, x.mean() + half

    assert errs(of_seeds) <= 0.055
    assert errs(one_look) > 0.2


def test_seeds_on_the_same_items_may_be_added_and_looked_at_at_will() -> None:
    rng = np.random.default_rng(1)

    def ever_errs(spread: tuple[float, float, float], sequence: bool) -> bool:
        a, b = (draw_crossed(rng, 20, 50, spread) for _ in range(2))
        for seeds in range(3, 21, 2):
            look = crossed.difference(a[:seeds], b[:seeds])
            ends = of_interval(look, tightest=0.1) if sequence else (look.low, look.high)
            if not ends[0] <= 0 <= ends[1]:
                return True
        return False

    for spread in ((0.2, 0.1, 0.3), (0.05, 0.5, 0.5)):
        assert share(120, lambda _, s=spread: ever_errs(s, True)) <= 0.05  # type: ignore[misc]
    assert share(120, lambda _: ever_errs((0.2, 0.1, 0.3), False)) > 0.1


def test_a_true_difference_is_found_in_the_end() -> None:
    rng = np.random.default_rng(2)
    low, high = of_seeds(rng.normal(1.0, 1.0, size=60))
    assert low > 0
    assert high < 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: of_seeds([0.5]), "the number of seeds must be at least 2, got 1"),
        (lambda: of_seeds([0.5, 0.6], tightest=0), "tightest must be at least 1"),
        (lambda: of_seeds([0.5, 0.6], level=1.0), "level must lie between 0 and 1"),
        (
            lambda: of_interval(crossed.interval([0.1, 0.2]), tightest=0.0),
            "tightest must be a standard error above 0",
        ),
    ],
)
def test_what_is_no_sequence_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
