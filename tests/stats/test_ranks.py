from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from simulated import draw_crossed

from mmbench.errors import UsageError
from mmbench.stats import bootstrap
from mmbench.stats.crossed import SEEDS_AND_ITEMS, THESE_WEIGHTS, difference
from mmbench.stats.holm import holm
from mmbench.stats.ranks import RankSets, by_holm, by_max_t


def draw_models(
    rng: np.random.Generator,
    means: list[float],
    seeds: int,
    items: int,
    spread: tuple[float, float, float],
) -> list[np.ndarray]:
    hard = rng.normal(size=items)
    return [mean + hard + draw_crossed(rng, seeds, items, spread) for mean in means]


def true_places(means: list[float]) -> list[tuple[int, int]]:
    """Return first and last place of each model; those of a tie share all of its places."""
    return [
        (1 + sum(o > mean for o in means), len(means) - sum(o < mean for o in means))
        for mean in means
    ]


def holds(sets: RankSets, means: list[float]) -> bool:
    places = zip(sets.low, sets.high, true_places(means), strict=True)
    return all(low <= first and last <= high for low, high, (first, last) in places)


@pytest.mark.parametrize("method", ["holm", "max_t"])
def test_models_far_apart_have_one_place_each(method: str) -> None:
    models = draw_models(np.random.default_rng(0), [0.0, 10.0, 5.0], 4, 40, (0.1, 0.1, 0.1))
    sets = by_holm(models) if method == "holm" else by_max_t(models, seed=0)
    assert (sets.low, sets.high) == ((3, 1, 2), (3, 1, 2))
    assert (sets.order, sets.best, sets.ties) == ((1, 2, 0), (1,), ((1,), (2,), (0,)))
    assert sets.scope == SEEDS_AND_ITEMS
    turned = by_holm(models, higher_is_better=False)
    assert (turned.low, turned.order) == ((1, 3, 2), (0, 2, 1))


def test_copies_share_all_places() -> None:
    x = np.random.default_rng(1).normal(size=(3, 20))
    for sets in (by_holm([x, x, x]), by_max_t([x, x, x], seed=0)):
        assert (sets.low, sets.high) == ((1, 1, 1), (3, 3, 3))
        assert sets.ties == ((0, 1, 2),)
        assert (sets.p_values == 1).all()


def test_holm_corrects_all_pairs_and_the_sign_says_which_is_better() -> None:
    models = draw_models(np.random.default_rng(2), [0, 0.3, 0.5, 0.1], 3, 30, (0.1, 0.3, 0.5))
    pairs = list(combinations(range(4), 2))
    gaps = [difference(models[a], models[b]) for a, b in pairs]
    expected = holm([gap.p_value() for gap in gaps])
    sets = by_holm(models, pooled=False)
    for (a, b), gap, p in zip(pairs, gaps, expected, strict=True):
        ahead, behind = (a, b) if gap.value > 0 else (b, a)
        assert sets.p_values[ahead, behind] == pytest.approx(p)
        assert sets.p_values[behind, ahead] == 1
    better = sets.p_values < 0.05
    assert sets.low == tuple(1 + better.sum(axis=0))
    assert sets.high == tuple(4 - better.sum(axis=1))


def test_seeds_that_happen_to_agree_take_the_spread_of_the_others() -> None:
    rng = np.random.default_rng(5)
    models = [draw_crossed(rng, 3, 200, (0.5, 0.1, 0.1)) for _ in range(7)]
    calm = draw_crossed(rng, 3, 200, (0.0, 0.1, 0.1))
    alone, together = (by_holm([*models, calm], pooled=pooled) for pooled in (False, True))
    assert (together.p_values >= alone.p_values - 1e-12).all()
    # One that is never twice the same hides nothing of the others.
    quiet = [m + draw_crossed(rng, 3, 200, (0.01, 0.1, 0.05)) for m in (0.0, 0.2, 0.4, 0.6)]
    wild = draw_crossed(rng, 3, 200, (5.0, 0.1, 0.05))
    assert by_holm([*quiet, wild]).p_values[3, 0] < 0.01


def test_two_models_are_the_paired_t_test() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 60)) + np.array([[0.3], [0.0]])
    p = stats.ttest_rel(a, b).pvalue
    for sets in (by_holm([a, b]), by_max_t([a, b], seed=0, count=40_000)):
        assert sets.p_values[0, 1] == pytest.approx(p, rel=0.1)
        assert sets.scope == THESE_WEIGHTS


def test_few_seeds_keep_their_few_degrees_of_freedom() -> None:
    rng = np.random.default_rng(11)
    a, b = (m + draw_crossed(rng, 3, 60, (0.3, 0.1, 0.1)) for m in (0.6, 0.0))
    gap = difference(a, b)
    assert gap.df < 6
    normal = 2 * stats.norm.sf(gap.value / gap.se)
    found = by_max_t([a, b], seed=0, count=40_000).p_values[0, 1]
    assert found == pytest.approx(gap.p_value(), rel=0.1)
    assert found > 2 * normal


def test_the_largest_statistic_knows_what_seeds_and_items_share() -> None:
    rng = np.random.default_rng(12)
    spreads = [(1.0, 0.3, 0.1)] + [(0.02, 0.3, 0.1)] * 5  # all pairs with the first go together
    models = [draw_crossed(rng, 6, 50, spread) for spread in spreads]
    models[0] += 2.0 - models[0].mean()
    found = by_max_t(models, seed=0, count=20_000)

    means = np.stack([x.mean(axis=0) for x in models])
    seeds = []
    for x in models:
        rest = x - x.mean(axis=0) - x.mean(axis=1, keepdims=True) + x.mean()
        of_rest = (rest**2).sum() / 5 / 49
        seeds.append(max(0.0, x.mean(axis=1).var(ddof=1) - of_rest / 50) / 6)
    covariance = np.cov(means) / 50 + np.diag(seeds)
    errors = rng.multivariate_normal(np.zeros(6), covariance, size=40_000)
    pairs = list(combinations(range(6), 2))
    z = np.stack(
        [
            (errors[:, i] - errors[:, j])
            / (covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]) ** 0.5
            for i, j in pairs
        ]
    )
    gaps = [difference(models[i], models[j]) for i, j in pairs]
    seen = max(stats.norm.isf(gap.p_value() / 2) for gap in gaps)
    expected = np.mean(np.abs(z).max(axis=0) >= seen)
    assert 0.001 < expected < 0.2
    assert found.p_values.min() == pytest.approx(expected, rel=0.1)


def test_the_largest_statistic_is_tukey_s_for_many_independent_items() -> None:
    rng = np.random.default_rng(0)
    # Equal variances, no correlation: the studentised range is the exact distribution.
    models = [rng.normal(mean, 1, size=20_000) for mean in (0.0, 0.0, 0.0, 0.0265)]
    sets = by_max_t(models, seed=0, count=40_000)
    gaps = [difference(models[3], other) for other in models[:3]]
    largest = max(gap.value / gap.se for gap in gaps)
    expected = stats.studentized_range.sf(largest * 2**0.5, 4, np.inf)
    assert 0.01 < expected < 0.1
    assert sets.p_values.min() == pytest.approx(expected, rel=0.06)


def test_the_largest_statistic_finds_at_least_as_much_as_holm() -> None:
    rng = np.random.default_rng(5)
    means = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    wide = narrow = 0
    for trial in range(60):
        models = draw_models(rng, means, 5, 80, (0.05, 0.2, 0.5))
        a, b = by_holm(models), by_max_t(models, seed=trial, count=1000)
        wide += sum(a.high) - sum(a.low)
        narrow += sum(b.high) - sum(b.low)
    assert narrow < wide


def test_the_seed_decides_the_draws() -> None:
    models = draw_models(np.random.default_rng(6), [0, 0, 0.2], 3, 30, (0.1, 0.3, 0.5))
    a, b, c = (by_max_t(models, seed=s, count=500).p_values for s in (1, 1, 2))
    assert (a == b).all()
    assert not (a == c).all()


def test_clusters_are_the_units() -> None:
    rng = np.random.default_rng(7)
    names = np.repeat(np.arange(12), 10)
    wrong = np.zeros(3)
    for trial in range(60):
        models = [rng.normal(size=12)[names] + 0.1 * rng.normal(size=120) for _ in range(4)]
        found = by_holm(models, names), by_max_t(models, names, seed=trial, count=300)
        wrong += [not holds(sets, [0.0] * 4) for sets in (*found, by_holm(models))]
    assert (wrong[:2] / 60 <= 0.15).all()
    assert wrong[2] / 60 > 0.8


def test_a_line_is_drawn_only_where_all_above_beat_all_below() -> None:
    p = np.ones((4, 4))
    p[0, [2, 3]] = p[1, 3] = p[2, 3] = 0.001  # 1 against 2 is open
    sets = RankSets((1, 1, 2, 4), (2, 3, 3, 4), (0, 1, 2, 3), p, SEEDS_AND_ITEMS, 0.95)
    assert sets.ties == ((0, 1, 2), (3,))
    assert sets.best == (0, 1)


# --- what the sets promise -----------------------------------------------------------------------


def test_equal_methods_keep_all_places_and_bootstrapped_ranks_do_not() -> None:
    rng = np.random.default_rng(8)
    by_rows = by_draws = 0
    bootstrapped, complete = [], 0
    for trial in range(60):
        models = draw_models(rng, [0.0] * 8, 1, 150, (0.0, 1.0, 0.0))
        for sets, method in ((by_holm(models), 0), (by_max_t(models, seed=trial, count=500), 1)):
            full = set(sets.low) == {1} and set(sets.high) == {8}
            by_rows, by_draws = by_rows + (full and not method), by_draws + (full and method)
        rows = [np.stack([x[0], np.ones(150)], axis=-1) for x in models]
        values = np.stack(
            [
                bootstrap.interval(lambda s: s[..., 0] / s[..., 1], r, seed=trial, count=200).values
                for r in rows
            ]
        )
        ranks = 1 + (values[None] > values[:, None]).sum(axis=1)
        low, high = np.quantile(ranks, [0.025, 0.975], axis=1, method="inverted_cdf")
        full_ones = (low == 1) & (high == 8)
        bootstrapped.append(full_ones.mean())
        complete += full_ones.all()
    assert by_rows / 60 > 0.9
    assert by_draws / 60 > 0.9
    assert np.mean(bootstrapped) < 0.45  # a method's interval holds all places
    assert complete / 60 < 0.1  # those of all eight do


@pytest.mark.parametrize("means", [[0.0] * 8, [0.0, 0.0, 0.0, 0.4, 0.4, 0.8]])
def test_all_places_are_held_together_as_often_as_said(means: list[float]) -> None:
    rng = np.random.default_rng(9)
    held = np.zeros(2)
    for trial in range(80):
        models = draw_models(rng, means, 5, 60, (0.1, 0.3, 0.5))
        held += [
            holds(by_holm(models), means),
            holds(by_max_t(models, seed=trial, count=300), means),
        ]
    assert (held / 80 >= 0.87).all()


@pytest.mark.slow
@pytest.mark.parametrize("spread", [(0.3, 0.3, 0.3), (0.0, 0.5, 0.5)])
@pytest.mark.parametrize(("seeds", "least"), [(3, (0.9, 0.88)), (5, (0.935, 0.91))])
def test_coverage_is_what_the_docstring_says(
    seeds: int, least: tuple[float, float], spread: tuple[float, float, float]
) -> None:
    rng, means = np.random.default_rng(10), [0.0] * 8
    held = np.zeros(2)
    for trial in range(600):
        models = draw_models(rng, means, seeds, 60, spread)
        held += [
            holds(by_holm(models), means),
            holds(by_max_t(models, seed=trial, count=600), means),
        ]
    assert (held / 600 >= least).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: by_holm([np.ones(4)]), "at least two models, got 1"),
        (lambda: by_holm([np.ones(4), np.ones(5)]), "first model has 4, the second 5"),
        (lambda: by_max_t([np.ones(4), np.ones(4)], seed=0, count=0), "count must be at least 1"),
        (lambda: by_holm([np.ones(4), np.ones(4)], level=0.0), "level must lie between 0 and 1"),
    ],
)
def test_what_has_no_ranking_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("clusters", [None, [item // 3 for item in range(30)]])
@pytest.mark.parametrize("seeds", [(3, 3, 3, 3), (1, 1, 1, 1), (2, 1, 5, 3)])
def test_all_pairs_at_once_are_what_each_pair_is(
    clusters: list[int] | None, seeds: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(7)
    models = [draw_models(rng, [0.1 * k], n, 30, (0.1, 0.3, 0.5))[0] for k, n in enumerate(seeds)]
    models += [models[0].copy(), np.full((3, 30), 0.5), np.full((2, 30), 0.25)]
    p_values = []
    for a, b in combinations(models, 2):
        gap = difference(a, b, clusters)
        if gap.se > 0:
            t = gap.value / gap.se
            p_values.append(2 * stats.t.sf(abs(t), gap.df))
        else:
            p_values.append(2 * 0.5**gap.items if gap.value else 1.0)
    expected = np.array(holm(p_values))
    sets = by_holm(models, clusters, pooled=False)
    places = list(combinations(range(len(models)), 2))
    got = np.array([min(sets.p_values[a, b], sets.p_values[b, a]) for a, b in places])
    assert got[expected < 0.9] == pytest.approx(expected[expected < 0.9], rel=1e-9, abs=1e-12)
    assert (got[expected >= 0.9] > 0.89).all()
