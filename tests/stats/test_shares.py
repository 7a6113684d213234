"""Intervals of shares near their bounds, by exact sums over all outcomes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from mmbench.stats import counted, crossed, shares

BOUNDS = (0.0, 1.0)


def ends(right: int, items: int, widen: bool = True) -> tuple[float, float]:
    values, counts = np.array([0.0, 1.0]), np.array([items - right, right], dtype=float)
    if widen:
        values, counts = shares.widened_counts(values, counts, BOUNDS)
    found = counted.interval(values, counts)
    value = right / items
    return min(found.low, value), max(found.high, value)


def coverage(items: int, share: float, widen: bool = True) -> float:
    """The probability of all numbers of right items whose interval holds the share."""
    held = [low <= share <= high for low, high in (ends(k, items, widen) for k in range(items + 1))]
    return float(binom.pmf(np.arange(items + 1), items, share) @ np.array(held, dtype=float))


@pytest.mark.parametrize("items", [20, 50, 100, 200, 1000])
@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.3, 0.5, 0.8, 0.9, 0.97, 0.98])
def test_the_interval_covers_shares_near_the_bounds_too(items: int, share: float) -> None:
    assert coverage(items, share) >= 0.93


def test_without_the_four_it_would_not() -> None:
    assert coverage(50, 0.98, widen=False) < 0.7
    assert coverage(20, 0.9, widen=False) < 0.9


def test_items_that_are_all_right_leave_doubt() -> None:
    low, high = ends(3, 3)
    assert low < 0.6
    assert high >= 1.0


def test_counted_and_laid_out_are_the_same() -> None:
    x = np.repeat([[0.0, 1.0]], [3, 17], axis=1)
    values, counts = shares.widened_counts(np.array([0.0, 1.0]), np.array([3.0, 17.0]), BOUNDS)
    one, other = crossed.interval(shares.widened(x, BOUNDS)), counted.interval(values, counts)
    assert (one.low, one.high, one.df) == pytest.approx((other.low, other.high, other.df))


def test_seeds_get_the_same_four() -> None:
    x = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert shares.widened(x, BOUNDS)[:, 3:].tolist() == [[0.0, 0.0, 1.0, 1.0]] * 2


@pytest.mark.parametrize(
    ("values", "bounds"),
    [([[0.0, 0.5]], (0.0, 1.0)), ([[0.0, 1.0]], (0.0, None)), ([[0.0, 1.0]], (0.0, 10.0))],
)
def test_what_is_no_share_stays_as_it_is(
    values: list[list[float]], bounds: tuple[float, float | None]
) -> None:
    x = np.array(values)
    assert shares.widened(x, bounds) is x
    assert shares.widened_counts(x[0], np.ones(2), bounds)[0] is not None
    assert len(shares.widened_counts(x[0], np.ones(2), bounds)[0]) == 2
