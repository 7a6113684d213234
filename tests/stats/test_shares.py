"""Intervals of shares near their bounds, by exact sums over all outcomes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from mmbench.errors import UsageError
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
    one, other = crossed.interval(*shares.widened(x, BOUNDS)), counted.interval(values, counts)
    assert (one.low, one.high, one.df) == pytest.approx((other.low, other.high, other.df))


def test_seeds_get_the_same_four() -> None:
    x = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert shares.widened(x, BOUNDS)[0][:, 3:].tolist() == [[0.0, 0.0, 1.0, 1.0]] * 2


@pytest.mark.parametrize(
    ("values", "bounds"),
    [([[0.0, 0.5]], (0.0, 1.0)), ([[0.0, 1.0]], (0.0, None)), ([[0.0, 1.0]], (0.0, 10.0))],
)
def test_what_is_no_share_stays_as_it_is(
    values: list[list[float]], bounds: tuple[float, float | None]
) -> None:
    x = np.array(values)
    assert shares.widened(x, bounds)[0] is x
    assert shares.widened_counts(x[0], np.ones(2), bounds)[0] is not None
    assert len(shares.widened_counts(x[0], np.ones(2), bounds)[0]) == 2


def test_pseudo_values_that_are_rounded_lie_on_the_bounds_all_the_same() -> None:
    # Those of chrF and of BLEU come from differences: 100 is 99.99999998.
    near = np.array([[100 - 2e-4, 2e-9, 100 + 2e-8]])
    found = shares.widened(near, (0.0, 100.0))[0]
    assert found.tolist() == [[100, 0, 100, 0, 0, 100, 100]], "rounding is no variance"
    assert shares.widened(near, (0.0, 200.0))[0].shape == (1, 3)


def test_without_an_upper_bound_only_items_all_right_or_all_wrong_are_widened() -> None:
    none, some = np.zeros((1, 5)), np.array([[0.0, 0.3, 1.0]])
    assert shares.widened(none, (0.0, None), 1.0)[0][0, 5:].tolist() == [0, 0, 1, 1]
    assert shares.widened(none + 1, (0.0, None), 1.0)[0][0, 5:].tolist() == [0, 0, 1, 1]
    assert shares.widened(some, (0.0, None), 1.0)[0] is some
    assert shares.widened(none, (0.0, None))[0] is none
    one = shares.widened_counts(np.zeros(1), np.array([5.0]), (0.0, None), 1.0)
    assert one[0].tolist() == [0, 0, 1]
    assert one[1].tolist() == [5, 2, 2]


def test_items_that_are_all_right_in_clusters_say_as_much_as_their_clusters() -> None:
    right, names = np.ones((1, 40)), [k // 8 for k in range(40)]
    values, clusters = shares.widened(right, BOUNDS, clusters=names)
    assert clusters is not None
    assert len(values[0]) == len(clusters) == 40 + 4 * 8
    assert len(set(clusters)) == 9
    found, alone = (
        crossed.interval(values, clusters),
        crossed.interval(*shares.widened(right[:, :5], BOUNDS)),
    )
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_clusters_that_are_as_independent_as_items_get_four_items() -> None:
    x = np.random.default_rng(0).integers(0, 2, (1, 400)).astype(float)
    values, clusters = shares.widened(x, BOUNDS, clusters=[k % 100 for k in range(400)])
    assert clusters is not None
    assert len(values[0]) - 400 in (4, 8)
    assert len(set(clusters)) == 104


def test_a_cluster_without_a_name_is_refused_by_its_place() -> None:
    with pytest.raises(UsageError, match="item 1 has no cluster name"):
        shares.widened(np.ones((1, 3)), BOUNDS, clusters=["a", None, "b"])


@pytest.mark.parametrize(("clusters", "least"), [(10, 0.88), (50, 0.92)])
@pytest.mark.parametrize("size", [5, 20])
@pytest.mark.parametrize("alike", [0.0, 0.5])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_interval_covers_shares_of_clusters(
    clusters: int, least: float, size: int, alike: float, share: float
) -> None:
    draw = np.random.default_rng(7)
    names, held, plain = np.repeat(np.arange(clusters), size).tolist(), 0, 0
    for _ in range(400):
        each = np.full(clusters, share)
        if alike:
            each = draw.beta(*(p * (1 - alike) / alike for p in (share, 1 - share)), clusters)
        x = (draw.random((clusters, size)) < each[:, None]).astype(float).reshape(1, -1)
        found, value = crossed.interval(*shares.widened(x, BOUNDS, clusters=names)), x.mean()
        held += min(found.low, value) <= share <= max(found.high, value)
        bare = crossed.interval(x, names)
        plain += bare.low <= share <= bare.high
    assert held / 400 >= least
    if (clusters, alike, share) == (10, 0.5, 0.99):
        assert plain / 400 < 0.5
