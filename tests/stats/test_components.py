from __future__ import annotations

import numpy as np
import pytest
from simulated import draw_crossed

from mmbench.errors import UsageError
from mmbench.stats import crossed
from mmbench.stats.components import Components, design, estimate, estimate_difference
from mmbench.stats.crossed import SEEDS_AND_ITEMS, THESE_WEIGHTS


def test_the_components_are_unbiased() -> None:
    rng = np.random.default_rng(0)
    found = [estimate(draw_crossed(rng, 6, 30, (1.0, 0.8, 0.5))) for _ in range(1500)]
    assert np.mean([part.seed[0] for part in found]) == pytest.approx(1.0, rel=0.06)
    assert np.mean([part.item for part in found]) == pytest.approx(0.64, rel=0.04)
    assert np.mean([part.rest[0] for part in found]) == pytest.approx(0.25, rel=0.02)


def test_the_components_of_a_difference_are_unbiased() -> None:
    rng, found = np.random.default_rng(1), []
    for _ in range(1500):
        hard = rng.normal(size=30)  # shared difficulty cancels out
        a = hard + draw_crossed(rng, 6, 30, (1.0, 0.8, 0.5))
        b = hard + draw_crossed(rng, 4, 30, (0.5, 0.6, 1.0))
        found.append(estimate_difference(a, b))
    assert np.mean([part.seed for part in found], axis=0) == pytest.approx([1.0, 0.25], rel=0.08)
    assert np.mean([part.item for part in found]) == pytest.approx(0.64 + 0.36, rel=0.05)
    assert np.mean([part.rest for part in found], axis=0) == pytest.approx([0.25, 1.0], rel=0.02)


def test_the_same_design_has_the_standard_error_of_the_crossed_interval() -> None:
    rng = np.random.default_rng(2)
    a, b = draw_crossed(rng, 4, 25, (0.8, 1, 0.5)), draw_crossed(rng, 6, 25, (0.5, 1, 1))
    for plan, found in (
        (design(estimate(a), 4, 25), crossed.interval(a)),
        (design(estimate_difference(a, b), (4, 6), 25), crossed.difference(a, b)),
    ):
        assert (plan.se, plan.df) == pytest.approx((found.se, found.df))


def test_a_design_has_the_variance_that_simulation_shows() -> None:
    rng = np.random.default_rng(3)
    parts = Components(seed=(0.2,), item=0.5, rest=(1.0,))
    spread = (0.2**0.5, 0.5**0.5, 1.0)
    means = [draw_crossed(rng, 4, 20, spread).mean() for _ in range(6000)]
    assert design(parts, 4, 20).se == pytest.approx(np.std(means), rel=0.03)


def test_one_seed_says_nothing_about_seeds() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=50), rng.normal(size=(3, 50))
    alone = estimate(x)
    assert (alone.seed, alone.rest, alone.scope) == ((0.0,), (0.0,), THESE_WEIGHTS)
    assert alone.item == pytest.approx(x.var(ddof=1))
    assert estimate(y).scope == SEEDS_AND_ITEMS
    mixed = estimate_difference(x, y)
    assert mixed.scope == THESE_WEIGHTS
    assert mixed.seed[0] == 0.0
    plan = design(mixed, (1, 3), 50)
    found = crossed.difference(x, y)
    if mixed.seed[1] and mixed.item:
        assert (plan.se, plan.df) == pytest.approx((found.se, found.df))


def test_seeds_that_agree_have_no_variance_below_zero() -> None:
    x = draw_crossed(np.random.default_rng(5), 3, 50, (0.0, 1.0, 1.0))
    x -= x.mean(axis=1, keepdims=True)
    assert estimate(x).seed == (0.0,)


def test_clusters_are_the_items() -> None:
    x = np.random.default_rng(6).normal(size=(3, 40))
    names = np.repeat(np.arange(10), 4)
    assert estimate(x, names) == estimate(x.reshape(3, 10, 4).mean(axis=2)) or estimate(
        x, names
    ).item == pytest.approx(estimate(x.reshape(3, 10, 4).mean(axis=2)).item)


def test_without_any_variance_nothing_is_uncertain() -> None:
    plan = design(Components((0.0,), 0.0, (0.0,)), 3, 10)
    assert (plan.se, plan.df) == (0.0, 9.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Components((1.0, 1.0), 1.0, (1.0,)), "of one model, or of two"),
        (lambda: Components((-1.0,), 1.0, (1.0,)), "a variance must be at least 0, got -1"),
        (lambda: design(Components((1.0,), 1.0, (1.0,)), 0, 10), "seeds must be at least 1"),
        (lambda: design(Components((1.0,), 1.0, (1.0,)), 2, 1), "items must be at least 2"),
        (lambda: design(Components((1.0,), 1.0, (1.0,)), (2, 2), 9), "seeds of 1 models, got 2"),
        (lambda: estimate_difference(np.ones(3), np.ones(4)), "has 3 items, the second 4"),
    ],
)
def test_what_is_no_design_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
