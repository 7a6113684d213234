from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from simulated import share

from mmbench.errors import UsageError
from mmbench.stats.improvement import judge, judge_all, probability, runs_needed, verdict


def test_the_probability_is_mann_and_whitney_s_u_over_all_tasks() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, size=(6, 5)) / 3, rng.integers(0, 4, size=(4, 5)) / 3
    expected = np.mean([stats.mannwhitneyu(x[:, t], y[:, t]).statistic / 24 for t in range(5)])
    assert float(probability(x, y)) == pytest.approx(expected)
    assert float(probability(y, x)) == pytest.approx(1 - expected)


def test_ties_count_by_half() -> None:
    x = np.full((3, 2), 0.5)
    found = judge(x, x, seed=0)
    assert (found.probability, found.low, found.high) == (0.5, 0.5, 0.5)
    assert not found.claimed


@pytest.mark.parametrize(
    ("probability", "low", "claimed"),
    [
        (0.75, 0.501, True),
        (0.75, 0.5, False),
        (0.749, 0.6, False),
        (1.0, 1.0, True),
        (0.9, 0.3, False),
        (0.5, 0.5, False),
    ],
)
def test_an_improvement_has_to_be_there_and_to_be_worth_having(
    probability: float, low: float, claimed: bool
) -> None:
    said, reason = verdict(probability, low)
    assert said is claimed
    assert f"{100 * probability:.0f} %" in reason
    if not claimed:
        assert ("needs 75 %" in reason) is (probability < 0.75)


def test_a_method_that_always_wins_is_an_improvement_and_the_loser_is_none() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0.6, 1, size=(5, 4)), rng.uniform(0, 0.4, size=(7, 4))
    assert judge(x, y, seed=0).claimed
    assert judge(x, y, seed=0).seeds == (5, 7)
    lost = judge(y, x, seed=0)
    assert (lost.claimed, lost.probability) == (False, 0.0)


def test_a_sure_but_small_improvement_is_not_claimed() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(0.5, 1, size=(60, 8)), rng.normal(0, 1, size=(60, 8))
    found = judge(x, y, seed=0)
    assert found.low > 0.5
    assert not found.claimed
    assert "needs 75 %" in found.reason


def test_tasks_are_drawn_together_for_both_methods() -> None:
    rng = np.random.default_rng(3)
    levels = 10 * np.arange(6.0)  # tasks of quite different scale
    y = levels + rng.uniform(size=(5, 6))
    found = judge(y + 2, y, seed=0, over="tasks")
    assert (found.low, found.high) == (1.0, 1.0)
    mixed = judge(y + np.where(np.arange(6) < 4, 2.0, -2.0), y, seed=0, over="tasks")
    assert mixed.low < 0.5 < mixed.probability


def test_seeds_are_drawn_for_each_method_on_its_own() -> None:
    y = np.arange(5.0)[:, None] + np.zeros((5, 3))
    found = judge(y + 0.5, y, seed=0)  # pairing would win always
    assert found.probability == pytest.approx(15 / 25)
    assert found.low < 0.6 < found.high


def test_the_seed_decides_and_numpy_s_global_state_does_not() -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 5, 3))
    np.random.seed(0)
    first = judge(x, y, seed=1)
    np.random.seed(5)
    assert judge(x, y, seed=1) == first
    bounds = {judge(x, y, seed=s, count=100).low for s in range(10)}
    assert len(bounds) > 1


def claims(seeds: int, tasks: int, times: int, better: float = 0.0) -> float:
    rng = np.random.default_rng(5)

    def claimed(trial: int) -> bool:
        x, y = rng.normal(size=(2, seeds, tasks))
        return judge(x + better, y, seed=trial, count=300).claimed

    return share(times, claimed)


def test_equal_methods_are_rarely_an_improvement_and_better_ones_often() -> None:
    assert claims(10, 1, 300) <= 0.06
    assert claims(5, 5, 300) <= 0.03
    assert claims(10, 5, 60, better=1.5) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "tasks", "low", "high"),
    [
        (3, 1, 0.09, 0.15),
        (5, 1, 0.025, 0.06),
        (10, 1, 0.02, 0.05),
        (3, 5, 0, 0.02),
        (5, 5, 0, 0.01),
    ],
)
def test_false_claims_are_what_the_docstring_says(
    seeds: int, tasks: int, low: float, high: float
) -> None:
    assert low <= claims(seeds, tasks, 3000) <= high


def test_twenty_nine_runs_tell_three_quarters_from_one_half() -> None:
    assert runs_needed() == 29
    rng = np.random.default_rng(6)
    # P(X > Y) = .75 for normal scores that are sqrt(2) z_.75 apart.
    x = rng.normal(2**0.5 * stats.norm.ppf(0.75), 1, size=(1500, 29))
    y = rng.normal(size=(1500, 29))
    p = stats.mannwhitneyu(x, y, alternative="greater", axis=1).pvalue
    assert 0.92 <= np.mean(p <= 0.05) <= 0.97


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: judge(np.ones((3, 2)), np.ones((3, 3)), seed=0), "has 2 tasks, the second 3"),
        (lambda: judge(np.ones((1, 2)), np.ones((3, 2)), seed=0), "at least two seeds"),
        (lambda: judge(np.ones((3, 1)), np.ones((3, 1)), seed=0, over="tasks"), "two tasks"),
        (lambda: judge([0.1, 0.2], np.ones((3, 1)), seed=0), r"first: .*\[seeds, tasks\]"),
        (lambda: runs_needed(worth=0.5), "worth must differ from 0.5"),
        (lambda: runs_needed(power=1.0), "power must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("seeds", [(3, 3, 3), (2, 5, 3, 5, 2)])
def test_all_pairs_at_once_are_judged_as_each_alone(seeds: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    models = [rng.integers(0, 6, size=(n, 4)) / 5 + 0.1 * k for k, n in enumerate(seeds)]
    found = judge_all(models, seed=0)
    assert list(found) == list(combinations(range(len(seeds)), 2))
    for (a, b), got in found.items():
        alone = judge(models[a], models[b], seed=0)
        numbers = (got.probability, got.low, got.high)
        assert numbers == pytest.approx((alone.probability, alone.low, alone.high), abs=1e-12)
        told = (got.claimed, got.reason, got.over, got.seeds, got.tasks, got.level)
        expected = (alone.claimed, alone.reason, alone.over, alone.seeds, alone.tasks, alone.level)
        assert told == expected


def test_no_pair_is_judged_where_there_is_none() -> None:
    assert judge_all([], seed=0) == {}
    assert judge_all([np.zeros((3, 2))], seed=0) == {}


def test_models_of_other_tasks_are_not_judged_together() -> None:
    with pytest.raises(UsageError, match="one method has 2 tasks, one 3"):
        judge_all([np.zeros((3, 2)), np.zeros((3, 3))], seed=0)
    with pytest.raises(UsageError, match="needs at least two seeds"):
        judge_all([np.zeros((1, 2)), np.zeros((1, 2))], seed=0)
