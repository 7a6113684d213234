from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from simulated import draw_crossed, share

from mmbench.errors import UsageError
from mmbench.stats import crossed
from mmbench.stats.components import Components, design
from mmbench.stats.crossed import THESE_WEIGHTS
from mmbench.stats.power import detectable, items_needed, power_of, seeds_needed

#: Standard deviations of seeds, items and rest of either model.
SPREADS = [(0.1, 0.3, 1.0), (0.3, 0.3, 0.3), (0.02, 1.0, 1.0)]


def two_models(spread: tuple[float, float, float]) -> Components:
    seed, item, rest = (sd**2 for sd in spread)
    return Components((seed, seed), 2 * item, (rest, rest))


def of_one_seed(variance: float) -> Components:
    return Components((0.0,), variance, (0.0,), THESE_WEIGHTS)


@pytest.mark.parametrize("items", [5, 40, 1000])
@pytest.mark.parametrize("sides", [1, 2])
def test_one_seed_has_the_power_of_the_t_test(items: int, sides: int) -> None:
    for distance in (0.05, 0.3, 1.0):
        shift, df = distance * items**0.5 / 1.3, items - 1
        limit = stats.t.ppf(1 - 0.05 / sides, df)
        expected = stats.nct.sf(limit, df, shift)
        if sides == 2:
            expected += stats.nct.cdf(-limit, df, shift)
        found = power_of(of_one_seed(1.69), 1, items, distance, sides=sides)
        assert found == pytest.approx(expected, abs=1e-3)


def test_no_difference_is_found_as_often_as_the_level_says() -> None:
    assert power_of(of_one_seed(1.0), 1, 30, 0.0) == pytest.approx(0.05, abs=1e-3)
    assert power_of(of_one_seed(1.0), 1, 30, 0.0, sides=1, alpha=0.01) == pytest.approx(
        0.01, abs=1e-3
    )


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_what_is_called_detectable_is_found_in_four_of_five_cases(
    seeds: int, spread: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(0)
    told = detectable(two_models(spread), seeds, 50)

    def found(_: int) -> bool:
        a, b = (draw_crossed(rng, seeds, 50, spread) for _ in range(2))
        return crossed.difference(a + told.difference, b).p_value() < 0.05

    def shown_no_worse(_: int) -> bool:
        gap = crossed.difference(*(draw_crossed(rng, seeds, 50, spread) for _ in range(2)))
        return bool(gap.value - stats.t.ppf(0.95, gap.df) * gap.se > -told.margin)

    assert 0.755 <= share(500, found) <= 0.845
    assert 0.755 <= share(250, shown_no_worse) <= 0.87
    assert told.margin < told.difference


def test_normal_quantiles_would_promise_too_much() -> None:
    for spread, expected in (
        ((0.3, 0.3, 0.3), 0.469),
        ((0.1, 0.3, 1.0), 0.514),
        ((0.05, 0.3, 0.3), 0.621),
        ((0.0, 1.0, 1.0), 0.762),
    ):
        parts = two_models(spread)
        by_normal = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * design(parts, 3, 300).se
        assert power_of(parts, 3, 300, by_normal) == pytest.approx(expected, abs=0.01)
    rng, gap = np.random.default_rng(2), 2.8016 * design(two_models((0.3,) * 3), 3, 300).se

    def found(_: int) -> bool:
        a, b = (draw_crossed(rng, 3, 300, (0.3,) * 3) for _ in range(2))
        return crossed.difference(a + gap, b).p_value() < 0.05

    assert share(800, found) == pytest.approx(0.469, abs=0.04)


def test_seeds_that_are_needed_are_enough_and_one_fewer_is_not() -> None:
    parts = two_models((0.2, 0.3, 1.0))
    for distance, sides in ((0.2, 2), (0.4, 2), (0.3, 1)):
        needed = seeds_needed(parts, 300, distance, sides=sides)
        assert needed is not None
        assert needed > 2
        assert power_of(parts, needed, 300, distance, sides=sides) >= 0.8
        assert power_of(parts, needed - 1, 300, distance, sides=sides) < 0.8


def test_items_that_are_needed_are_enough_and_one_fewer_is_not() -> None:
    parts = two_models((0.05, 0.5, 1.0))
    needed = items_needed(parts, 5, 0.15)
    assert needed is not None
    assert power_of(parts, 5, needed, 0.15) >= 0.8
    assert power_of(parts, 5, needed - 1, 0.15) < 0.8


def test_no_number_of_seeds_makes_up_for_too_few_items_nor_the_other_way_round() -> None:
    parts = two_models((0.3, 1.0, 0.3))
    assert seeds_needed(parts, 20, 0.3) is None
    assert items_needed(parts, 3, 0.3) is None
    assert seeds_needed(parts, 2000, 0.3) is not None


def test_more_of_anything_detects_less() -> None:
    parts = two_models((0.1, 0.5, 1.0))
    told = [detectable(parts, s, n).difference for s, n in ((3, 50), (5, 50), (5, 200), (20, 200))]
    assert told == sorted(told, reverse=True)
    assert detectable(parts, 5, 50, power=0.9).difference > told[1]
    assert detectable(parts, 5, 50, alpha=0.01).difference > told[1]


def test_without_any_variance_everything_is_detectable() -> None:
    parts = Components((0.0,), 0.0, (0.0,))
    told = detectable(parts, 3, 10)
    assert (told.difference, told.margin) == (0.0, 0.0)
    assert power_of(parts, 3, 10, 0.1) == 1.0
    assert seeds_needed(parts, 10, 0.1) == 2


@pytest.mark.slow
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_power_is_what_long_simulation_shows(
    seeds: int, spread: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(1)
    told = detectable(two_models(spread), seeds, 100).difference

    def found(_: int) -> bool:
        a, b = (draw_crossed(rng, seeds, 100, spread) for _ in range(2))
        return crossed.difference(a + told, b).p_value() < 0.05

    assert share(6000, found) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: seeds_needed(of_one_seed(1.0), 10, 0.1), "cannot be told from one seed"),
        (lambda: items_needed(of_one_seed(1.0), 1, 0.0), "distance must be above 0"),
        (lambda: power_of(of_one_seed(1.0), 1, 9, -1.0), "distance must be at least 0"),
        (lambda: power_of(of_one_seed(1.0), 1, 9, 1.0, sides=3), "sides must be 1 or 2, got 3"),
        (lambda: detectable(of_one_seed(1.0), 1, 9, power=0.03), "power must be above alpha"),
        (lambda: detectable(of_one_seed(1.0), 1, 9, alpha=5), "alpha must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_planned_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
