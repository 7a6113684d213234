from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from simulated import draw_crossed

from mmbench.errors import UsageError
from mmbench.stats import crossed
from mmbench.stats.components import Components, design
from mmbench.stats.group_sequential import (
    OBRIEN_FLEMING,
    POCOCK,
    information,
    shaped_boundaries,
    spent_boundaries,
    stopping,
)
from mmbench.stats.noninferiority import PASSED, judge


def even(looks: int) -> list[float]:
    return [(k + 1) / looks for k in range(looks)]


# --- published tables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "alpha", "constants"),
    [
        # Jennison & Turnbull 2000, tables 2.1 and 2.3: two-sided, 2, 3, 5 and 10 looks.
        (POCOCK, 0.05, [2.178, 2.289, 2.413, 2.555]),
        (POCOCK, 0.01, [2.772, 2.873, 2.986, 3.117]),
        (OBRIEN_FLEMING, 0.05, [1.977, 2.004, 2.040, 2.087]),
        (OBRIEN_FLEMING, 0.01, [2.580, 2.595, 2.621, 2.660]),
    ],
)
def test_shaped_boundaries_have_the_published_constants(
    shape: str, alpha: float, constants: list[float]
) -> None:
    for looks, constant in zip((2, 3, 5, 10), constants, strict=True):
        found = shaped_boundaries(even(looks), shape=shape, alpha=alpha)
        assert round(found.z[-1], 3) == constant
        expected = constant * (1 if shape == POCOCK else looks**0.5)
        assert found.z[0] == pytest.approx(expected, abs=0.002)


def test_spent_boundaries_are_those_of_the_lan_demets_programs() -> None:
    # Reboussin, DeMets, Kim & Lan 2000, five looks, two-sided 5 %.
    assert [round(z, 4) for z in spent_boundaries(even(5)).z] == [
        4.8769,
        3.3570,
        2.6803,
        2.2898,
        2.0310,
    ]
    pocock = spent_boundaries(even(5), spending=POCOCK)
    assert [round(z, 4) for z in pocock.z] == [2.4380, 2.4268, 2.4102, 2.3966, 2.3860]


def test_looking_often_at_five_per_cent_inflates_as_published() -> None:
    # Armitage, McPherson & Rowe 1969, table 2.
    for looks, expected in ((2, 0.083), (3, 0.107), (4, 0.126), (5, 0.142), (10, 0.193)):
        found = sum(stopping(even(looks), [1.959964] * looks))
        assert found == pytest.approx(expected, abs=6e-4)
    assert sum(stopping(even(20), [1.959964] * 20)) == pytest.approx(0.248, abs=6e-4)


# --- against other ways to compute ---------------------------------------------------------------


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("drift", [0.0, 2.0])
def test_stopping_is_the_multivariate_normal_probability(sides: int, drift: float) -> None:
    times, z = np.array([0.3, 0.45, 1.0]), np.array([2.6, 2.3, 1.9])
    correlation = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    going_on = [1.0]
    for k in range(1, 4):
        low = -z[:k] if sides == 2 else np.full(k, -np.inf)
        going_on.append(
            stats.multivariate_normal.cdf(
                z[:k],
                mean=drift * np.sqrt(times[:k]),
                cov=correlation[:k, :k],
                lower_limit=low,
                abseps=1e-6,
                releps=1e-6,
            )
        )
    found = stopping(times, z, sides=sides, drift=drift)
    assert found == pytest.approx(-np.diff(going_on), abs=2e-5)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("spending", [OBRIEN_FLEMING, POCOCK])
def test_random_walks_stop_as_often_as_was_spent(spending: str, sides: int) -> None:
    times = [0.25, 0.3, 0.7, 1.0]
    found = spent_boundaries(times, spending=spending, sides=sides, alpha=0.1)
    steps = np.random.default_rng(0).normal(size=(60_000, 4)) * np.sqrt(np.diff(times, prepend=0))
    z = np.cumsum(steps, axis=1) / np.sqrt(times)
    beyond = (np.abs(z) if sides == 2 else z) >= found.z
    stopped = [beyond[:, : k + 1].any(axis=1).mean() for k in range(4)]
    assert stopped == pytest.approx(found.spent, abs=0.005)
    assert found.spent[-1] == pytest.approx(0.1)


def test_what_is_spent_by_when_is_the_spending_function() -> None:
    times = [0.1, 0.5, 0.9, 1.0]
    obf = spent_boundaries(times, alpha=0.025, sides=1)
    expected = 2 - 2 * stats.norm.cdf(stats.norm.ppf(1 - 0.0125) / np.sqrt(times))
    assert obf.spent == pytest.approx(expected, abs=1e-9)
    pocock = spent_boundaries(times, spending=POCOCK, alpha=0.05)
    assert pocock.spent == pytest.approx(0.05 * np.log(1 + (np.e - 1) * np.array(times)), abs=1e-9)
    assert pocock.nominal == pytest.approx(2 * stats.norm.sf(pocock.z))


def test_one_look_is_the_test_itself() -> None:
    for found in (spent_boundaries([1.0]), shaped_boundaries([1.0], shape=0.3)):
        assert found.z[0] == pytest.approx(1.959964, abs=1e-6)
        assert found.nominal[0] == pytest.approx(0.05)
    assert spent_boundaries([1.0], sides=1).z[0] == pytest.approx(1.644854, abs=1e-6)


def test_looks_that_nearly_coincide_and_looks_far_too_early_are_computed() -> None:
    close = spent_boundaries([0.5, 0.501, 1.0])
    assert close.spent[-1] == pytest.approx(0.05)
    early = spent_boundaries([0.01, 0.02, 1.0])
    assert early.z[:2] == (8.0, 8.0)
    assert early.z[2] == pytest.approx(1.96, abs=1e-3)


def test_power_comes_with_the_drift() -> None:
    # 2.8016 standard errors at the end have 80 % power in one look; looking costs a little.
    assert sum(stopping([1.0], [1.959964], drift=2.8016)) == pytest.approx(0.8, abs=1e-3)
    for spending, least in ((OBRIEN_FLEMING, 0.78), (POCOCK, 0.7)):
        z = spent_boundaries(even(5), spending=spending).z
        assert least < sum(stopping(even(5), z, drift=2.8016)) < 0.8


# --- adding seeds --------------------------------------------------------------------------------


def test_information_of_added_seeds_counts_the_items_once() -> None:
    parts = Components((0.04, 0.04), 0.5, (0.25, 0.25))
    fractions = information(parts, [3, 6, 12], 50)
    assert fractions == pytest.approx(
        [(design(parts, 12, 50).se / design(parts, s, 50).se) ** 2 for s in (3, 6, 12)]
    )
    assert fractions[0] > 3 / 12
    rng, means = np.random.default_rng(1), []
    for _ in range(4000):
        x = draw_crossed(rng, 12, 50, (0.2, 0.5, 0.5)) - draw_crossed(rng, 12, 50, (0.2, 0.5, 0.5))
        means.append([x[:s].mean() for s in (3, 6, 12)])
    correlation = np.corrcoef(np.array(means).T)
    assert correlation[0, 2] == pytest.approx(fractions[0] ** 0.5, abs=0.03)
    assert correlation[0, 1] == pytest.approx((fractions[0] / fractions[1]) ** 0.5, abs=0.03)


def false_passes(
    spread: tuple[float, float, float], looks: list[int], levels: tuple[float, ...], times: int
) -> float:
    """Return how often candidates that are worse by the margin pass at any look."""
    rng, passed = np.random.default_rng(2), 0
    for _ in range(times):
        a, b = (draw_crossed(rng, looks[-1], 60, spread) for _ in range(2))
        passed += any(
            judge(crossed.difference(a[:s] - 0.1, b[:s]), 0.1, alpha=level).status == PASSED
            for s, level in zip(looks, levels, strict=True)
        )
    return passed / times


def test_adding_seeds_until_it_passes_passes_three_times_too_often() -> None:
    assert sum(stopping([s / 20 for s in range(5, 21)], [1.644854] * 16, sides=1)) == pytest.approx(
        0.156, abs=1e-3
    )
    looks = list(range(5, 21))
    assert 0.12 <= false_passes((0.3, 0.02, 0.1), looks, (0.05,) * 16, 300) <= 0.2


@pytest.mark.parametrize("spread", [(0.1, 0.05, 0.1), (0.1, 0.5, 0.5)])
@pytest.mark.parametrize("spending", [OBRIEN_FLEMING, POCOCK])
def test_planned_looks_pass_as_rarely_as_they_should(
    spending: str, spread: tuple[float, float, float]
) -> None:
    seed, item, rest = (sd**2 for sd in spread)
    looks = [3, 5, 10, 15, 20]
    times = information(Components((seed, seed), 2 * item, (rest, rest)), looks, 60)
    levels = spent_boundaries(times, spending=spending, alpha=0.05, sides=1).nominal
    assert 0.02 <= false_passes(spread, looks, levels, 300) <= 0.075


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spent_boundaries([]), "must grow from above 0 to 1"),
        (lambda: spent_boundaries([0.5, 0.4, 1.0]), "must grow"),
        (lambda: spent_boundaries([0.5, 0.9]), "must grow from above 0 to 1"),
        (lambda: spent_boundaries([0.5, 0.5005, 1.0]), "by 0.001 at least"),
        (lambda: spent_boundaries([1.0], spending="linear"), "spending must be one of"),
        (lambda: spent_boundaries([1.0], sides=3), "sides must be 1 or 2, got 3"),
        (lambda: spent_boundaries([1.0], alpha=5), "alpha must lie between 0 and 1"),
        (lambda: shaped_boundaries([1.0], shape="round"), "shape must be 'obrien_fleming'"),
        (lambda: shaped_boundaries([1.0], shape=0.7), "0 to 0.5: 0.7"),
        (lambda: stopping([0.5, 1.0], [2.0]), "expected 2 boundaries, one a look, got 1"),
        (lambda: information(Components((0.0,), 0.0, (0.0,)), [3, 5], 9), "a variance above 0"),
        (lambda: information(Components((1.0,), 0.0, (0.0,)), [], 9), "at least one look"),
    ],
)
def test_what_is_no_plan_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
