from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy import stats
from simulated import WER, draw_words, share

from mmbench.errors import UsageError
from mmbench.stats import mcnemar, permutation
from mmbench.stats.crossed import THESE_WEIGHTS


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def rows_of(scores: np.ndarray) -> np.ndarray:
    return np.stack([scores, np.ones_like(scores)], axis=-1)


# --- exchanging items ----------------------------------------------------------------------------


def test_few_items_are_exchanged_in_every_way() -> None:
    a, b = (rows[0] for rows in draw_words(np.random.default_rng(0), (1, 1), 9, 0.0, 0.3))
    gaps = []
    for ways in product([False, True], repeat=9):
        turned = np.array(ways)[:, None]
        ours, theirs = np.where(turned, b, a), np.where(turned, a, b)
        gaps.append(WER.value(ours.sum(axis=0)) - WER.value(theirs.sum(axis=0)))
    found = permutation.paired(WER.value, a, b, seed=0)
    assert found.exact
    assert found.arrangements == 2**9
    assert found.value == pytest.approx(gaps[0])
    assert found.p_value == np.mean(np.abs(gaps) >= abs(gaps[0]) - 1e-12)
    assert found.least == np.mean(np.abs(gaps) >= max(np.abs(gaps)) - 1e-12)
    assert found.scope == THESE_WEIGHTS


def test_drawn_exchanges_come_near_the_exact_p_value() -> None:
    rng = np.random.default_rng(1)
    a, b = rows_of(rng.normal(0.4, 1, size=13)), rows_of(rng.normal(size=13))
    exact = permutation.paired(mean, a, b, seed=0, count=2**13)
    drawn = permutation.paired(mean, a, b, seed=0, count=2**13 - 1)
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=4 * (0.25 / 2**13) ** 0.5)


def test_a_drawn_p_value_counts_the_data_themselves() -> None:
    a, b = np.ones(100), np.zeros(100)
    found = permutation.paired(mean, rows_of(a), rows_of(b), seed=0, count=999)
    assert (found.p_value, found.least) == (1 / 1000, 1 / 1000)
    equal = permutation.paired(mean, rows_of(a), rows_of(a), seed=0, count=999)
    assert (equal.p_value, equal.value) == (1.0, 0.0)


def test_right_and_wrong_answers_give_mcnemar_s_exact_p_value() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        a, b = rng.integers(0, 2, size=(2, 12))
        found = permutation.paired(mean, rows_of(1.0 * a), rows_of(1.0 * b), seed=0)
        assert found.p_value == pytest.approx(mcnemar.compare(a, b).p_value)


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_systems_differ_as_rarely_as_they_should_and_unequal_ones_often(seeds: int) -> None:
    rng = np.random.default_rng(3)

    def rejects(worse: float, trial: int) -> bool:
        a, b = draw_words(rng, (seeds, seeds), 80, 0.0, item_sd=0.3)
        b[..., 0] += rng.random(b.shape[:-1]) < worse
        return permutation.paired(WER.value, a, b, seed=trial, count=199).p_value <= 0.05

    assert 0.03 <= share(1000, lambda trial: rejects(0.0, trial)) <= 0.07
    assert share(100, lambda trial: rejects(0.8, trial)) > 0.7


def test_items_of_a_cluster_are_exchanged_together() -> None:
    rng = np.random.default_rng(4)
    names = np.repeat(np.arange(20), 8)
    with_clusters = without = 0
    for trial in range(400):
        gap = rng.normal(size=20)[names] + 0.5 * rng.normal(size=160)
        a, b = rows_of(gap), rows_of(np.zeros(160))
        found = permutation.paired(mean, a, b, names, seed=trial, count=199)
        with_clusters += found.p_value <= 0.05
        without += permutation.paired(mean, a, b, seed=trial, count=199).p_value <= 0.05
    assert 0.02 <= with_clusters / 400 <= 0.085
    assert without / 400 > 0.3


def test_the_seed_decides_and_numpy_s_global_state_does_not() -> None:
    a, b = np.random.default_rng(5).normal(size=(2, 40))
    first = permutation.paired(mean, rows_of(a), rows_of(b), seed=1)
    np.random.seed(3)
    assert permutation.paired(mean, rows_of(a), rows_of(b), seed=1) == first
    others = {permutation.paired(mean, rows_of(a), rows_of(b), seed=s).p_value for s in range(8)}
    assert len(others) > 1


# --- turning signs -------------------------------------------------------------------------------


def test_turning_signs_is_scipy_s_permutation_of_samples() -> None:
    a, b = np.random.default_rng(6).normal(size=(2, 10))
    theirs = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
    )
    found = permutation.sign_flip(a - b, seed=0)
    assert found.exact
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.value == pytest.approx(theirs.statistic)


def test_turning_signs_is_exchanging_items_of_a_mean() -> None:
    a, b = np.random.default_rng(7).normal(size=(2, 60))
    flipped = permutation.sign_flip(a - b, seed=0)
    swapped = permutation.paired(mean, rows_of(a), rows_of(b), seed=0)
    assert flipped.p_value == swapped.p_value


def test_another_hypothesis_than_zero_is_tested() -> None:
    x = np.random.default_rng(8).normal(5.0, 1.0, size=50)
    at_five = permutation.sign_flip(x, seed=0, null=5.0)
    assert at_five.p_value > 0.05
    assert at_five.value == pytest.approx(x.mean())
    assert permutation.sign_flip(x, seed=0, null=4.0).p_value < 0.01


# --- dealing seeds -------------------------------------------------------------------------------


def test_dealing_seeds_is_scipy_s_permutation_test() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.normal(0.8, 1, size=4), rng.normal(size=6)
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis), vectorized=True
    )
    found = permutation.seeds(a, b)
    gaps = np.abs(theirs.null_distribution)
    assert found.arrangements == comb(10, 4)
    assert found.p_value == pytest.approx(np.mean(gaps >= abs(theirs.statistic) - 1e-12))


@pytest.mark.parametrize(
    ("sizes", "least"),
    [((3, 3), 0.1), ((4, 4), 2 / 70), ((5, 5), 2 / 252), ((3, 8), 1 / 165), ((1, 1), 1.0)],
)
def test_the_smallest_p_value_of_so_few_seeds_is_told(sizes: tuple[int, int], least: float) -> None:
    low, high = np.arange(sizes[0]) * 0.9, 100 + np.arange(sizes[1]) * 1.3
    apart = permutation.seeds(low, high)
    assert (apart.least, apart.p_value) == pytest.approx((least, least))
    mixed = np.arange(sum(sizes)) ** 1.5
    mixed = permutation.seeds(mixed[:: len(mixed) // sizes[0]][: sizes[0]], mixed[1 : 1 + sizes[1]])
    assert mixed.p_value >= mixed.least


def test_three_seeds_never_reach_five_per_cent() -> None:
    rng = np.random.default_rng(10)
    found = [permutation.seeds(rng.normal(9, 1, 3), rng.normal(0, 1, 3)) for _ in range(50)]
    assert {round(result.p_value, 9) for result in found} == {0.1}


def test_equal_seeds_differ_as_rarely_as_they_should() -> None:
    rng = np.random.default_rng(11)
    p = [permutation.seeds(*rng.exponential(size=(2, 5))).p_value for _ in range(1500)]
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.065


def test_too_many_ways_of_dealing_are_drawn() -> None:
    rng = np.random.default_rng(12)
    a, b = rng.normal(0.5, 1, size=9), rng.normal(size=9)
    exact = permutation.seeds(a, b)
    drawn = permutation.seeds(a, b, most=1000, count=4000, seed=0)
    assert (exact.exact, exact.arrangements) == (True, comb(18, 9))
    assert (drawn.exact, drawn.arrangements, drawn.least) == (False, 4000, 1 / 4001)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=4 * (0.25 / 4000) ** 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: permutation.paired(mean, np.ones((4, 2)), np.ones((5, 2)), seed=0),
            "same items, seeds and statistics",
        ),
        (lambda: permutation.paired(mean, np.ones((1, 2)), np.ones((1, 2)), seed=0), "two items"),
        (lambda: permutation.sign_flip(np.ones((2, 2)), seed=0), r"shape \[items\]"),
        (lambda: permutation.sign_flip([1.0, 2.0], seed=0, count=0), "count must be at least 1"),
        (lambda: permutation.seeds([], [1.0]), r"first: expected numbers of shape \[seeds\]"),
        (
            lambda: permutation.paired(
                lambda s: s[..., 0] / 0.0, np.zeros((4, 1)) + 1, np.ones((4, 1)), seed=0
            ),
            "finite whichever items",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_what_cannot_be_exchanged_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
