from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest
from scipy import stats
from simulated import WER, draw_crossed, draw_words, share, wer_values

from mmbench.errors import UsageError
from mmbench.stats import bootstrap, crossed
from mmbench.stats.crossed import SEEDS_AND_ITEMS, THESE_WEIGHTS


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def rows_of(scores: np.ndarray) -> np.ndarray:
    """Return the rows [..., N, 2] whose value is the mean of scores [..., N]."""
    return np.stack([scores, np.ones_like(scores)], axis=-1)


# --- the standard error --------------------------------------------------------------------------


def test_the_standard_error_is_the_spread_of_the_resamples_however_many_there_are() -> None:
    scores = np.random.default_rng(0).gamma(2.0, size=100)
    expected = scores.std() / 10  # the exact one of a bootstrapped mean
    for count in (400, 4000, 40_000):
        found = bootstrap.interval(mean, rows_of(scores), seed=0, count=count)
        assert len(found.values) == count
        assert found.se == pytest.approx(found.values.std(ddof=1))
        assert found.se == pytest.approx(expected, rel=4 / (2 * count) ** 0.5)


def test_resamples_are_distributed_as_all_of_them_are() -> None:
    (rows,) = draw_words(np.random.default_rng(1), [1], 5, 0.0, 0.3)
    every = [WER.value(rows[0, list(draw)].sum(axis=0)) for draw in product(range(5), repeat=5)]
    found = bootstrap.interval(WER.value, rows[0], seed=1, count=20_000)
    assert stats.ks_2samp(found.values, every).statistic < 0.015
    assert found.se == pytest.approx(np.std(every), rel=0.03)


def test_seeds_and_items_have_the_variance_of_the_pigeonhole() -> None:
    x = draw_crossed(np.random.default_rng(2), 4, 12, (0.5, 1.0, 0.8))
    a, b = x.mean(axis=1, keepdims=True), x.mean(axis=0, keepdims=True)
    rest = x - a - b + x.mean()
    # Multinomial weights of seeds and of items are independent, each with variance 1 - 1/n.
    exact = a.var() / 4 + b.var() / 12 + (rest**2).mean() / 48
    found = bootstrap.interval(mean, rows_of(x), seed=2, count=40_000)
    assert found.se == pytest.approx(exact**0.5, rel=0.015)
    assert found.scope == SEEDS_AND_ITEMS


# --- intervals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["percentile", "basic"])
def test_intervals_agree_with_those_of_scipy(method: str) -> None:
    (rows,) = draw_words(np.random.default_rng(3), [1], 80, 0.0, 0.3)
    found = bootstrap.interval(WER.value, rows[0], seed=3, count=20_000)
    theirs = stats.bootstrap(
        (rows[0, :, 0], rows[0, :, 1]),
        lambda errors, words, axis: errors.sum(axis=axis) / words.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method=method,
        rng=np.random.default_rng(4),
    ).confidence_interval
    assert getattr(found, method)() == pytest.approx(tuple(theirs), abs=0.04 * found.se * 2)


def test_the_basic_interval_mirrors_the_other() -> None:
    found = bootstrap.Resamples(2.0, np.linspace(1.0, 5.0, 401), (1,), 9, THESE_WEIGHTS)
    assert found.percentile(0.5) == pytest.approx((2.0, 4.0))
    assert found.basic(0.5) == pytest.approx((0.0, 2.0))


def test_one_seed_covers_nearly_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)

    def covers(trial: int) -> bool:
        (rows,) = draw_words(rng, [1], 150, 0.0, 0.3)
        low, high = bootstrap.interval(WER.value, rows, seed=trial, count=400).percentile()
        return low <= 0.2 <= high

    assert 0.915 <= share(400, covers) <= 0.975


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "least", "most"),
    [(3, 0.0, 0.0, 0.025), (3, 0.3, 0.11, 0.3), (5, 0.0, 0.0, 0.025), (5, 0.3, 0.07, 0.2)],
)
def test_seeds_and_items_miss_the_level_where_the_crossed_interval_keeps_it(
    seeds: int, seed_sd: float, least: float, most: float
) -> None:
    rng = np.random.default_rng(6)
    ours = theirs = 0
    for trial in range(300):
        a, b = draw_words(rng, (seeds, seeds), 60, seed_sd, item_sd=0.3)
        low, high = bootstrap.difference(WER.value, a, b, seed=trial, count=200).percentile()
        theirs += low > 0 or high < 0
        ours += crossed.difference(wer_values(a), wer_values(b)).p_value() < 0.05
    assert least <= theirs / 300 <= most
    assert 0.01 <= ours / 300 <= 0.075


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("items", [60, 200])
def test_the_range_of_its_error_is_what_the_docstring_says(seeds: int, items: int) -> None:
    rng, found, ours = np.random.default_rng(7), [], []
    for seed_sd in (0.0, 0.05, 0.1, 0.3):
        theirs = crossed_ones = 0
        for trial in range(800):
            a, b = draw_words(rng, (seeds, seeds), items, seed_sd, item_sd=0.3)
            low, high = bootstrap.difference(WER.value, a, b, seed=trial, count=400).percentile()
            theirs += low > 0 or high < 0
            crossed_ones += crossed.difference(wer_values(a), wer_values(b)).p_value() < 0.05
        found.append(theirs / 800)
        ours.append(crossed_ones / 800)
    assert min(found) < 0.015
    assert max(found) > (0.14 if seeds == 3 else 0.08)
    assert min(ours) > 0.015
    assert max(ours) < 0.07


# --- differences ---------------------------------------------------------------------------------


def test_items_are_the_same_for_both_models() -> None:
    rng = np.random.default_rng(8)
    hard = rng.normal(size=(1, 50))
    a, b = rows_of(hard + 0.1 * rng.normal(size=(1, 50))), rows_of(hard)
    paired = bootstrap.difference(mean, a, b, seed=0)
    assert paired.se < 0.2 * bootstrap.interval(mean, a, seed=0).se
    assert paired.value == pytest.approx(a[..., 0].mean() - b[..., 0].mean())
    assert bootstrap.difference(mean, b, b, seed=0).se == 0.0


def test_seeds_are_drawn_for_each_model_on_its_own() -> None:
    by_seed = np.random.default_rng(9).normal(size=(6, 1)) + np.zeros((6, 20))
    alone = bootstrap.interval(mean, rows_of(by_seed), seed=0, count=4000).se
    both = bootstrap.difference(mean, rows_of(by_seed), rows_of(by_seed), seed=0, count=4000).se
    assert both == pytest.approx(2**0.5 * alone, rel=0.06)
    unequal = bootstrap.difference(mean, rows_of(by_seed), rows_of(by_seed[:3]), seed=0)
    assert unequal.seeds == (6, 3)


def test_these_weights_keep_all_seeds_in_each_resample() -> None:
    by_seed = np.arange(5.0)[:, None] + np.zeros((5, 20))
    kept = bootstrap.interval(mean, rows_of(by_seed), seed=0, scope=THESE_WEIGHTS)
    assert kept.se == 0.0
    assert kept.value == 2.0
    one_seed = bootstrap.difference(mean, rows_of(by_seed[0]), rows_of(by_seed), seed=0)
    assert (one_seed.scope, one_seed.se) == (THESE_WEIGHTS, 0.0)


def test_drawing_clusters_is_drawing_their_sums() -> None:
    rng = np.random.default_rng(10)
    rows, names = rng.normal(size=(2, 40, 2)) + 5, np.repeat(np.arange(8), 5)
    a = bootstrap.interval(mean, rows, names, seed=0)
    b = bootstrap.interval(mean, rows.reshape(2, 8, 5, 2).sum(axis=2), seed=0)
    assert a.values == pytest.approx(b.values)
    assert a.items == 8


# --- randomness and memory -----------------------------------------------------------------------


def test_the_seed_decides_and_numpy_s_global_state_does_not() -> None:
    rows = rows_of(np.random.default_rng(11).normal(size=(3, 30)))
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    a = bootstrap.interval(mean, rows, seed=5)
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(2)
    b = bootstrap.interval(mean, rows, seed=5)
    assert (a.values == b.values).all()
    assert not (a.values == bootstrap.interval(mean, rows, seed=6).values).any()


def test_more_resamples_begin_with_the_fewer() -> None:
    rows = rows_of(np.random.default_rng(12).normal(size=(2, 30)))
    few, many = (bootstrap.interval(mean, rows, seed=0, count=n).values for n in (300, 1000))
    assert many[:300] == pytest.approx(few)
    assert len(np.unique(many)) > 990, "blocks repeat"


def test_memory_is_bounded_whatever_the_number_of_items() -> None:
    rows = rows_of(np.arange(100_000.0))
    tracemalloc.start()
    bootstrap.interval(mean, rows, seed=0, count=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6, "all weights together would take 80 MB, and as much again to draw them"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap.interval(mean, np.zeros(5), seed=0), r"seeds, items, statistics\], got"),
        (lambda: bootstrap.interval(mean, [[[1.0, 1.0]], [[1.0]]], seed=0), "all rows alike"),
        (lambda: bootstrap.interval(mean, np.ones((1, 2)), seed=0), "at least two items, got 1"),
        (lambda: bootstrap.interval(mean, np.ones((5, 2)), seed=0, count=1), "count must be at le"),
        (lambda: bootstrap.interval(mean, np.ones((5, 2)), seed=0, scope="all"), "scope must be"),
        (
            lambda: bootstrap.interval(lambda s: s[..., 0] * np.nan, np.ones((5, 2)), seed=0),
            "must be finite for the sums",
        ),
        (lambda: bootstrap.interval(lambda s: s.sum(), np.ones((5, 2)), seed=0), "into values"),
        (
            lambda: bootstrap.difference(mean, np.ones((5, 2)), np.ones((6, 2)), seed=0),
            "same items and statistics",
        ),
        (
            lambda: bootstrap.interval(mean, np.ones((5, 2)), seed=0).percentile(95),
            "level must lie between 0 and 1, got 95",
        ),
    ],
)
def test_what_cannot_be_resampled_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
