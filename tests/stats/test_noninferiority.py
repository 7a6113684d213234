from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats
from simulated import draw_crossed

from mmbench.errors import UsageError
from mmbench.stats import crossed
from mmbench.stats.components import Components, estimate_difference
from mmbench.stats.crossed import SEEDS_AND_ITEMS, THESE_WEIGHTS, Interval, difference
from mmbench.stats.noninferiority import FAILED, INCONCLUSIVE, PASSED, judge


def gap(value: float, se: float = 0.1, df: float = 8.0) -> Interval:
    return Interval(value, -9, 9, se, df, (5, 5), 100, SEEDS_AND_ITEMS, 0.95)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (1.0, PASSED),
        (0.0, PASSED),
        (-0.1, PASSED),
        (-0.2, INCONCLUSIVE),
        (-0.4, INCONCLUSIVE),
        (-0.5, FAILED),
        (-0.6, FAILED),
    ],
)
def test_the_interval_s_place_beside_the_margin_decides(value: float, status: str) -> None:
    found = judge(gap(value), 0.3)
    assert found.status == status
    half = stats.t.ppf(0.95, 8) * 0.1
    assert (found.worst, found.best) == pytest.approx((value - half, value + half))
    assert (status == PASSED) is (found.worst >= -0.3)
    assert (status == FAILED) is (found.best < -0.3)


def test_where_lower_is_better_a_rise_is_a_loss() -> None:
    assert judge(gap(0.6), 0.3, higher_is_better=False).status == FAILED
    assert judge(gap(-0.6), 0.3, higher_is_better=False).status == PASSED
    up, down = judge(gap(0.2), 0.3), judge(gap(-0.2), 0.3, higher_is_better=False)
    assert (up.benefit, up.p_pass, up.reason) == (down.benefit, down.p_pass, down.reason)


def test_p_values_say_the_same_as_the_status() -> None:
    for value in np.linspace(-0.8, 0.2, 41):
        found = judge(gap(float(value)), 0.3, alpha=0.1)
        assert (found.p_pass <= 0.1) is (found.status == PASSED)
        assert (found.p_fail < 0.1) is (found.status == FAILED)
        assert found.p_pass == pytest.approx(stats.t.sf((value + 0.3) / 0.1, 8))


def test_without_any_spread_the_value_decides() -> None:
    same = np.linspace(0, 1, 20)
    assert judge(difference(same, same), 0.0).status == PASSED
    worse = judge(difference(same - 0.25, same), 0.1)
    assert (worse.status, worse.p_pass, worse.p_fail) == (FAILED, 1.0, 0.0)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [(0.1, 0.3, 0.5), (0.0, 0.5, 0.5)])
def test_candidates_at_the_margin_pass_and_fail_as_rarely_as_said(
    seeds: int, spread: tuple[float, float, float]
) -> None:
    rng, statuses = np.random.default_rng(0), []
    for _ in range(700):
        a, b = (draw_crossed(rng, seeds, 60, spread) for _ in range(2))
        statuses.append(judge(crossed.difference(a - 0.1, b), 0.1).status)
    assert statuses.count(PASSED) / 700 <= 0.07
    assert statuses.count(FAILED) / 700 <= 0.07
    assert statuses.count(PASSED) / 700 >= 0.025


def test_too_little_data_are_inconclusive_not_passed() -> None:
    rng = np.random.default_rng(1)
    a, b = (draw_crossed(rng, 2, 10, (0.5, 1, 1)) for _ in range(2))
    found = judge(difference(a, b), 0.05)
    assert found.status == INCONCLUSIVE
    assert difference(a, b).p_value() > 0.05, (
        "not significantly worse, yet not shown to be no worse"
    )


def test_the_reason_names_what_is_credible_and_the_margin() -> None:
    assert judge(gap(0.0), 0.3).reason == "a loss of 0.186 at worst; a loss of 0.3 is accepted"
    assert judge(gap(-0.6), 0.3).reason == "a loss of 0.414 at best; a loss of 0.3 is accepted"
    between = judge(gap(-0.2), 0.3).reason
    assert between == "between a loss of 0.386 and a loss of 0.01405; margin 0.3"


def test_an_inconclusive_verdict_says_what_would_decide_and_it_does() -> None:
    parts = Components((0.0025, 0.0025), 0.18, (0.25, 0.25))
    found = judge(gap(-0.05, se=0.11, df=9), 0.13, components=parts)
    assert found.status == INCONCLUSIVE
    offer = re.search(r"if they are equal, (\d+) seeds of each or (\d+) items would", found.reason)
    assert offer, found.reason
    rng, spread = np.random.default_rng(2), (0.05, 0.3, 0.5)
    for seeds, items in ((int(offer[1]), 100), (5, int(offer[2]))):
        passed = 0
        for _ in range(250):
            a, b = (draw_crossed(rng, seeds, items, spread) for _ in range(2))
            passed += judge(crossed.difference(a, b), 0.13).status == PASSED
        assert passed / 250 > 0.73


def test_what_no_number_of_seeds_or_items_decides_is_said_too() -> None:
    few_items = judge(gap(0.0), 0.05, components=Components((1e-4,) * 2, 1.0, (0.0,) * 2)).reason
    assert "items would show it" in few_items
    assert "seeds of each" not in few_items
    few_seeds = judge(gap(0.0), 0.05, components=Components((0.05,) * 2, 0.0, (0.0,) * 2)).reason
    assert "seeds of each would show it" in few_seeds
    assert "items" not in few_seeds
    neither = judge(gap(0.0), 0.05, components=Components((0.1,) * 2, 1.0, (0.0,) * 2)).reason
    assert "more seeds or more items alone would not show" in neither
    equal = judge(gap(0.0), 0.0, components=Components((1.0,) * 2, 1.0, (0.0,) * 2)).reason
    assert "no number of seeds or items" in equal
    unlucky = judge(gap(-0.29), 0.3, components=Components((0.0,) * 2, 0.01, (0.0,) * 2)).reason
    assert "may differ by about the margin" in unlucky


def test_one_seed_is_told_to_get_items_only() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 40))
    found = difference(a, b)
    reason = judge(found, 0.1, components=estimate_difference(a, b)).reason
    assert found.scope == THESE_WEIGHTS
    assert "seeds" not in reason
    assert "items would show it" in reason


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: judge(gap(0.0), -0.1), "margin must be at least 0, got -0.1"),
        (lambda: judge(gap(0.0), float("nan")), "margin must be at least 0, got nan"),
        (lambda: judge(gap(0.0), 0.1, alpha=0), "alpha must lie between 0 and 1"),
    ],
)
def test_what_is_no_margin_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
