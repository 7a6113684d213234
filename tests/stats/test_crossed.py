from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from simulated import coverage, draw_crossed, draw_words, share, wer_values

from mmbench.errors import UsageError
from mmbench.stats.crossed import SEEDS_AND_ITEMS, THESE_WEIGHTS, difference, interval


def test_one_seed_is_the_t_interval_of_the_mean() -> None:
    x = np.random.default_rng(0).gamma(2.0, size=40)
    found = interval(x)
    low, high = stats.t.interval(0.95, len(x) - 1, x.mean(), stats.sem(x))
    assert (found.value, found.se) == pytest.approx((x.mean(), stats.sem(x)))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.df, found.items, found.seeds) == (39, 40, (1,))
    assert found.scope == THESE_WEIGHTS


def test_its_p_value_is_that_of_the_t_test() -> None:
    x = np.random.default_rng(1).normal(0.3, 1.0, size=30)
    assert interval(x).p_value(0.1) == pytest.approx(stats.ttest_1samp(x, 0.1).pvalue)


def test_several_seeds_follow_the_formula() -> None:
    x = draw_crossed(np.random.default_rng(2), 4, 9, (0.5, 1.0, 0.7))
    seeds, items = x.shape
    mean = x.mean()
    ms_seed = items * sum((row.mean() - mean) ** 2 for row in x) / (seeds - 1)
    ms_item = seeds * sum((column.mean() - mean) ** 2 for column in x.T) / (items - 1)
    ms_rest = sum(
        (x[s, j] - x[s].mean() - x[:, j].mean() + mean) ** 2
        for s in range(seeds)
        for j in range(items)
    ) / ((seeds - 1) * (items - 1))
    total = ms_seed + ms_item - ms_rest
    df = total**2 / (
        ms_seed**2 / (seeds - 1)
        + ms_item**2 / (items - 1)
        + ms_rest**2 / ((seeds - 1) * (items - 1))
    )
    found = interval(x)
    assert ms_seed > ms_rest
    assert found.se == pytest.approx((total / x.size) ** 0.5)
    assert found.df == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * found.se
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))
    assert found.scope == SEEDS_AND_ITEMS


def test_seeds_that_agree_leave_the_variance_of_items() -> None:
    x = draw_crossed(np.random.default_rng(3), 3, 50, (0.0, 0.0, 1.0))
    x -= x.mean(axis=1, keepdims=True)  # the signed sum of mean squares is now negative or near it
    found = interval(x)
    of_items = interval(x.mean(axis=0))
    assert (found.se, found.df) == pytest.approx((of_items.se, of_items.df))
    assert found.se > 0


def test_seeds_that_are_copies_are_one_seed() -> None:
    x = np.random.default_rng(4).normal(size=30)
    found = interval(np.stack([x, x, x]))
    assert (found.se, found.df) == pytest.approx((interval(x).se, 29))


def test_without_any_spread_the_interval_is_a_point() -> None:
    found = interval(np.full((3, 10), 0.25))
    assert (found.low, found.value, found.high, found.se) == (0.25, 0.25, 0.25, 0.0)
    assert (found.p_value(0.25), found.p_value(0.5)) == (1.0, 2 * 0.5**10)


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(2, 6)),
        elements=st.sampled_from([0.0, 1.0, 0.5]),
    )
)
@settings(deadline=None)
def test_the_interval_is_always_finite_and_never_narrower_than_over_items(x: np.ndarray) -> None:
    found, items_only = interval(x), interval(x.mean(axis=0))
    assert np.isfinite([found.low, found.high, found.se, found.df]).all()
    assert found.df > 0
    assert found.low <= found.value <= found.high
    assert found.se >= items_only.se * (1 - 1e-12)


@given(st.permutations(range(6)), st.permutations(range(3)))
@settings(deadline=None)
def test_the_order_of_items_and_of_seeds_does_not_matter(
    items: list[int], seeds: list[int]
) -> None:
    x = draw_crossed(np.random.default_rng(5), 3, 6, (0.3, 1.0, 1.0))
    a, b = interval(x), interval(x[np.ix_(seeds, items)])
    assert (a.low, a.high, a.df) == pytest.approx((b.low, b.high, b.df))


# --- coverage ------------------------------------------------------------------------------------


def test_one_seed_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(10)
    found = [interval(rng.normal(size=100)) for _ in range(3000)]
    assert 0.935 <= coverage(found) <= 0.965
    assert (
        0.885 <= coverage([interval(rng.normal(size=100), level=0.9) for _ in range(3000)]) <= 0.915
    )


@pytest.mark.parametrize(
    "spread",
    [(0.1, 1.0, 1.0), (0.3, 0.5, 1.0), (0.05, 1.0, 0.3), (0.0, 1.0, 0.5), (1.0, 0.3, 0.3)],
)
def test_five_seeds_cover_as_often_as_they_say(spread: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(11)
    found = [interval(draw_crossed(rng, 5, 100, spread)) for _ in range(2500)]
    assert 0.93 <= coverage(found) <= 0.97


def test_items_alone_claim_too_much_about_other_seeds() -> None:
    rng = np.random.default_rng(12)
    drawn = [draw_crossed(rng, 5, 100, (0.3, 0.5, 1.0)) for _ in range(1000)]
    assert coverage([interval(x.mean(axis=0)) for x in drawn]) < 0.8


def right_or_wrong(rng: np.random.Generator, seeds: int, items: int, sd: float) -> np.ndarray:
    """Draw accuracies: easy and hard items, better and worse seeds; the truth is one half."""
    logit = 1.5 * rng.standard_normal((1, items)) + sd * rng.standard_normal((seeds, 1))
    return (rng.random((seeds, items)) < 1 / (1 + np.exp(-logit))).astype(np.float64)


def test_five_seeds_cover_an_accuracy() -> None:
    rng = np.random.default_rng(13)
    found = [interval(right_or_wrong(rng, 5, 300, 0.1)) for _ in range(2000)]
    assert 0.93 <= coverage(found, 0.5) <= 0.97


def test_five_seeds_cover_a_ratio_of_sums() -> None:
    rng = np.random.default_rng(14)
    found = []
    for _ in range(1000):
        words = rng.integers(1, 30, size=200)
        hard = 0.2 + 0.05 * rng.standard_normal((5, 1)) * 0.3 + rng.uniform(-0.1, 0.1, size=200)
        errors = rng.binomial(words, hard)
        rows = np.stack([errors, np.broadcast_to(words, errors.shape)], axis=-1)
        found.append(interval(wer_values(rows.astype(float))))
    assert 0.93 <= coverage(found, 0.2) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "least"), [(2, 0.865), (3, 0.92), (5, 0.938), (10, 0.942)])
@pytest.mark.parametrize("items", [30, 500])
@pytest.mark.parametrize(
    "spread",
    [
        (0.0, 1.0, 1.0),
        (0.0, 0.0, 1.0),
        (0.02, 0.4, 1.0),
        (0.1, 0.7, 0.7),
        (0.3, 0.7, 0.7),
        (1.0, 0, 1.0),
    ],
)
def test_coverage_is_what_the_docstring_says(
    seeds: int, least: float, items: int, spread: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(15)
    found = [interval(draw_crossed(rng, seeds, items, spread)) for _ in range(4000)]
    assert least - 0.006 <= coverage(found) <= 0.978


# --- clusters ------------------------------------------------------------------------------------


def test_a_cluster_of_its_own_for_each_item_changes_nothing() -> None:
    x = draw_crossed(np.random.default_rng(20), 3, 12, (0.3, 1.0, 1.0))
    a, b = interval(x), interval(x, clusters=[f"item {j}" for j in range(12)])
    assert (a.low, a.high, a.df, a.items) == pytest.approx((b.low, b.high, b.df, b.items))


def test_clusters_of_equal_size_are_as_good_as_their_means() -> None:
    x = np.random.default_rng(21).normal(size=(2, 20))
    a = interval(x, clusters=np.repeat(np.arange(5), 4))
    b = interval(x.reshape(2, 5, 4).mean(axis=2))
    assert (a.low, a.high, a.df, a.items) == pytest.approx((b.low, b.high, b.df, 5))


def test_clusters_of_unequal_size_keep_the_mean_of_items() -> None:
    x = np.arange(6.0)
    found = interval(x, clusters=["a", "a", "a", "b", "b", "c"])
    assert found.value == pytest.approx(2.5)
    assert found.items == 3


@pytest.mark.parametrize("seeds", [1, 5])
def test_clusters_cover_where_items_alone_do_not(seeds: int) -> None:
    rng = np.random.default_rng(22)
    clusters = np.repeat(np.arange(40), 5)
    with_clusters, without = [], []
    for _ in range(1000):
        x = draw_crossed(rng, seeds, 200, (0.0, 0.5, 0.5)) + rng.normal(size=40)[clusters]
        with_clusters.append(interval(x, clusters))
        without.append(interval(x))
    assert 0.925 <= coverage(with_clusters) <= 0.975
    assert coverage(without) < 0.8


# --- differences ---------------------------------------------------------------------------------


def test_a_difference_of_two_seeds_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(30)
    a, b = rng.normal(size=(2, 25))
    found = difference(a, b)
    assert found.p_value() == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.seeds == (1, 1)
    assert found.scope == THESE_WEIGHTS


def test_a_difference_turns_its_sign_with_the_models() -> None:
    rng = np.random.default_rng(31)
    a, b = draw_crossed(rng, 3, 20, (0.2, 1, 1)), draw_crossed(rng, 5, 20, (0.1, 1, 1))
    there, back = difference(a, b), difference(b, a)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert (there.df, there.seeds, back.seeds) == (pytest.approx(back.df), (3, 5), (5, 3))


def test_a_difference_from_a_constant_is_the_interval_of_the_model() -> None:
    x = draw_crossed(np.random.default_rng(32), 4, 30, (0.5, 1, 1))
    a, b = difference(x, np.zeros(30)), interval(x)
    assert (a.value, a.se, a.df) == pytest.approx((b.value, b.se, b.df))


def test_items_are_paired_and_seeds_are_not() -> None:
    rng = np.random.default_rng(33)
    hard = 2.0 * rng.normal(size=50)
    a, b = (hard + draw_crossed(rng, 4, 50, (0.1, 0, 0.3)) for _ in range(2))
    assert difference(a, b).se < 0.5 * interval(a).se
    shuffled = difference(a, b[:, rng.permutation(50)])
    assert shuffled.se > 2 * difference(a, b).se
    turned = difference(a, b[[2, 0, 3, 1]])
    assert turned.se == pytest.approx(difference(a, b).se)


@pytest.mark.parametrize("seeds", [(5, 5), (3, 8), (1, 1)])
def test_equal_models_are_told_apart_as_rarely_as_they_should(seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng(34)
    sd = 0.0 if seeds == (1, 1) else 0.2
    rejected = 0
    for _ in range(2500):
        hard = rng.normal(size=80)
        a, b = (hard + draw_crossed(rng, s, 80, (sd, 0.3, 0.5)) for s in seeds)
        rejected += difference(a, b).p_value() < 0.05
    assert 0.025 <= rejected / 2500 <= 0.07


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.3])
def test_equal_word_error_rates_are_told_apart_as_rarely_as_they_should(
    seeds: int, seed_sd: float
) -> None:
    rng = np.random.default_rng(36)

    def told_apart(_: int) -> bool:
        a, b = draw_words(rng, (seeds, seeds), 60, seed_sd, item_sd=0.3)
        return difference(wer_values(a), wer_values(b)).p_value() < 0.05

    assert 0.015 <= share(500, told_apart) <= 0.07


def test_one_seed_against_several_speaks_of_these_weights() -> None:
    x = draw_crossed(np.random.default_rng(35), 5, 40, (0.2, 1, 1))
    found = difference(x[0], x)
    assert found.scope == THESE_WEIGHTS
    assert found.seeds == (1, 5)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interval([0.5]), "at least two items, got 1"),
        (lambda: interval([0.1, 0.2, 0.3], clusters=["a"] * 3), "at least two clusters, got 1"),
        (lambda: interval([0.1, 0.2], clusters=["a"]), "expected 2 cluster names"),
        (lambda: interval([]), r"shape \[seeds, items\]"),
        (lambda: interval(np.zeros((2, 2, 2))), r"got \(2, 2, 2\)"),
        (lambda: interval([0.1, float("nan")]), "finite"),
        (lambda: interval([0.1, 0.2], level=1.0), "level must lie between 0 and 1, got 1.0"),
        (lambda: difference([0.1, 0.2], [0.1, 0.2, 0.3]), "first model has 2, the second 3"),
    ],
)
def test_what_has_no_interval_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]


def test_few_clusters_never_have_an_interval_without_end() -> None:
    draw = np.random.default_rng(0)
    found = [interval(draw.standard_normal((3, 3))) for _ in range(2000)]
    assert min(one.df for one in found) >= 2
    assert max((one.high - one.low) / one.se for one in found) < 2 * 4.31


def test_a_difference_without_spread_is_as_sure_as_the_sign_test() -> None:
    from scipy.stats import binomtest

    for items in (2, 3, 8):
        found = difference(np.ones(items), np.zeros(items))
        assert found.p_value() == pytest.approx(binomtest(items, items).pvalue)
