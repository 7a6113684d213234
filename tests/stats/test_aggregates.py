from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from simulated import share

from mmbench.errors import UsageError
from mmbench.stats import aggregates
from mmbench.stats.aggregates import SEEDS, TASKS, interval, iqm, optimality_gap, profile

SCORES = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.floats(-1, 2, allow_subnormal=False),
)


def mean(scores: np.ndarray) -> np.ndarray:
    return scores.mean(axis=(-2, -1))


@given(SCORES)
def test_the_interquartile_mean_is_scipy_s_trimmed_mean(scores: np.ndarray) -> None:
    assert float(iqm(scores)) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))
    of_two = iqm(np.stack([scores, scores + 1]))
    assert of_two == pytest.approx(float(iqm(scores)) + np.array([0, 1]))


@given(SCORES)
def test_the_optimality_gap_is_what_is_missing(scores: np.ndarray) -> None:
    expected = np.mean([max(0.0, 1 - score) for score in scores.ravel()])
    assert float(optimality_gap(scores)) == pytest.approx(expected)
    assert float(optimality_gap(scores, target=-1.0)) == 0.0


def test_one_outlier_moves_the_interquartile_mean_little() -> None:
    scores = np.linspace(0.4, 0.6, 20).reshape(5, 4)
    spoilt = scores.copy()
    spoilt[-1, -1] = 100.0
    assert iqm(spoilt) == pytest.approx(iqm(scores))
    assert spoilt.mean() > 5


# --- intervals -----------------------------------------------------------------------------------


def test_seeds_are_drawn_within_their_task() -> None:
    apart = np.tile([0.1, 0.5, 0.9], (4, 1))  # tasks differ, seeds do not
    found = interval(mean, apart, over=SEEDS, seed=0)
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))
    assert (found.seeds, found.tasks, found.over) == (4, 3, SEEDS)
    over_tasks = interval(mean, apart, over=TASKS, seed=0)
    assert over_tasks.low < 0.3 < 0.7 < over_tasks.high


def test_tasks_are_drawn_with_the_seeds_they_have() -> None:
    balanced = np.array([[0.0] * 6, [1.0] * 6])  # each task has the same mean, seeds differ
    found = interval(mean, balanced, over=TASKS, seed=0)
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))
    over_seeds = interval(mean, balanced, over=SEEDS, seed=0)
    assert over_seeds.low < 0.4 < 0.6 < over_seeds.high


@pytest.mark.parametrize("over", [SEEDS, TASKS])
def test_the_spread_is_the_exact_one_of_a_bootstrapped_mean(over: str) -> None:
    scores = np.random.default_rng(0).normal(size=(6, 8))
    by_task = scores.var(axis=0).sum() / 6 / 8**2
    exact = by_task if over == SEEDS else scores.mean(axis=0).var() / 8
    found = interval(mean, scores, over=over, seed=0, count=20_000, level=0.6827)
    assert (found.high - found.low) / 2 == pytest.approx(exact**0.5, rel=0.03)


@pytest.mark.parametrize("over", [SEEDS, TASKS])
def test_the_seed_decides_and_numpy_s_global_state_does_not(over: str) -> None:
    scores = np.random.default_rng(1).normal(size=(5, 7))
    np.random.seed(0)
    first = interval(iqm, scores, over=over, seed=3)
    np.random.seed(99)
    np.random.normal(size=10)
    assert interval(iqm, scores, over=over, seed=3) == first
    assert interval(iqm, scores, over=over, seed=4) != first
    curve = profile(scores, [0.0, 0.5], over=over, seed=3)
    again = profile(scores, [0.0, 0.5], over=over, seed=3)
    assert (curve.low == again.low).all()


def coverage(seeds: int, times: int) -> float:
    rng, means = np.random.default_rng(2), np.linspace(0.3, 0.7, 5)
    truth = float(iqm(means + 0.05 * rng.normal(size=(100_000, 5))))

    def covers(trial: int) -> bool:
        scores = means + 0.05 * rng.normal(size=(seeds, 5))
        found = interval(iqm, scores, over=SEEDS, seed=trial, count=400)
        return found.low <= truth <= found.high

    return share(times, covers)


def test_ten_seeds_cover_nearly_as_often_as_they_say_and_three_do_not() -> None:
    assert 0.89 <= coverage(10, 300) <= 0.97
    assert 0.75 <= coverage(3, 300) <= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "expected"), [(3, 0.83), (5, 0.89), (10, 0.93)])
def test_coverage_is_what_the_docstring_says(seeds: int, expected: float) -> None:
    assert coverage(seeds, 3000) == pytest.approx(expected, abs=0.02)


# --- profiles ------------------------------------------------------------------------------------


def test_a_profile_is_the_share_of_runs_above() -> None:
    scores = np.array([[0.1, 0.5], [0.5, 0.9]])
    found = profile(scores, [0.0, 0.1, 0.5, 0.9], over=SEEDS, seed=0)
    assert found.share.tolist() == [1.0, 0.75, 0.25, 0.0]
    assert (found.low <= found.share).all()
    assert (found.share <= found.high).all()


def test_a_profile_s_band_is_that_of_each_threshold() -> None:
    scores = np.random.default_rng(3).normal(size=(8, 4))
    curve = profile(scores, [-1.0, 0.3], over=SEEDS, seed=7)
    one = interval(lambda x: (x > 0.3).mean(axis=(-2, -1)), scores, over=SEEDS, seed=7)
    assert (curve.low[1], curve.share[1], curve.high[1]) == (one.low, one.value, one.high)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interval(iqm, [0.1, 0.2], over=SEEDS, seed=0), r"as many seeds on each task, got"),
        (lambda: interval(iqm, [[0.1, 0.2], [0.1]], over=SEEDS, seed=0), "all rows alike"),
        (lambda: interval(iqm, [[0.1, np.nan]], over=TASKS, seed=0), "finite"),
        (lambda: interval(iqm, [[0.1, 0.2]], over=SEEDS, seed=0), "at least two seeds, got one"),
        (lambda: interval(iqm, [[0.1], [0.2]], over=TASKS, seed=0), "at least two tasks, got one"),
        (lambda: interval(iqm, np.ones((2, 2)), over="both", seed=0), "over must be one of 'seeds"),
        (lambda: aggregates.interval(iqm, np.ones((2, 2)), over=SEEDS, seed=0, level=2), "level"),
    ],
)
def test_what_is_no_table_of_seeds_and_tasks_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
