from __future__ import annotations

import numpy as np
import pytest
from simulated import coverage, draw_crossed

from mmbench.errors import UsageError
from mmbench.stats.clusters import cluster_sums, independent_units, numbered
from mmbench.stats.crossed import difference, interval


def test_names_are_numbered_as_they_come() -> None:
    assert numbered(["b", "a", "b", "c"], 4).tolist() == [0, 1, 0, 2]
    assert numbered([("film", 2), ("film", 1), ("film", 2)], 3).tolist() == [0, 1, 0]
    assert numbered(np.array([7.0, 7.0, 3.0]), 3).tolist() == [0, 0, 1]


def test_sums_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    rows, names = rng.normal(size=(3, 20, 2)), rng.integers(0, 6, size=20)
    found = cluster_sums(rows, names)
    for seed in range(3):
        for place, name in enumerate(dict.fromkeys(names.tolist())):
            expected = sum(rows[seed, j] for j in range(20) if names[j] == name)
            assert found[seed, place] == pytest.approx(expected)


def test_units_are_the_linearised_ratio_of_survey_sampling() -> None:
    rng = np.random.default_rng(1)
    x, names = rng.normal(size=60), rng.integers(0, 12, size=60)
    # Taylor linearisation of sum y / sum n over clusters (Cochran 1977, equation 6.13).
    of_cluster = [x[names == name] for name in np.unique(names)]
    sizes, count = np.array([len(part) for part in of_cluster]), len(of_cluster)
    residuals = np.array([part.sum() for part in of_cluster]) - x.mean() * sizes
    variance = (residuals**2).sum() / (count - 1) / count / sizes.mean() ** 2
    assert interval(x, names).se == pytest.approx(variance**0.5)
    assert independent_units(x, names).mean() == pytest.approx(x.mean())


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_clusters_whose_size_goes_with_their_score_are_covered(seeds: int) -> None:
    rng = np.random.default_rng(2)
    sd = 0.1 if seeds > 1 else 0.0
    found = []
    for _ in range(800):
        sizes = rng.integers(1, 9, size=50)
        names = np.repeat(np.arange(50), sizes)
        of_cluster = 0.3 * (sizes - 4.5) + 0.5 * rng.normal(size=50)
        x = of_cluster[names] + draw_crossed(rng, seeds, len(names), (sd, 0.5, 0.5))
        found.append(interval(x, names))
    # The mean over items weighs clusters by their size: E[n (n - 4.5)] / E[n] with n in 1...8.
    n = np.arange(1, 9)
    truth = 0.3 * (n * (n - 4.5)).mean() / n.mean()
    assert 0.925 <= coverage(found, truth) <= 0.97


@pytest.mark.parametrize("seeds", [1, 4])
def test_equal_models_on_clusters_are_told_apart_as_rarely_as_they_should(seeds: int) -> None:
    rng = np.random.default_rng(3)
    sd = 0.1 if seeds > 1 else 0.0
    names = np.repeat(np.arange(30), 6)
    with_clusters = without = 0
    for _ in range(600):
        hard = rng.normal(size=180)
        a, b = (
            hard + 0.5 * rng.normal(size=30)[names] + draw_crossed(rng, seeds, 180, (sd, 0.3, 0.5))
            for _ in range(2)
        )
        with_clusters += difference(a, b, names).p_value() < 0.05
        without += difference(a, b).p_value() < 0.05
    assert 0.025 <= with_clusters / 600 <= 0.075
    assert without / 600 > 0.12


def test_the_order_of_items_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    x, names, order = rng.normal(size=(2, 30)), rng.integers(0, 7, size=30), rng.permutation(30)
    a, b = interval(x, names), interval(x[:, order], names[order])
    assert (a.low, a.high, a.df) == pytest.approx((b.low, b.high, b.df))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", None, "b"], r"item 1 has no cluster name \(None\)"),
        ([1.0, 2.0, float("nan")], r"item 2 has no cluster name \(nan\)"),
        (["a", "b"], "expected 3 cluster names, one an item: 2"),
        (["a", "a", "a"], "at least two clusters, got 1"),
    ],
)
def test_clusters_that_say_nothing_are_refused(names: list[object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        interval([0.1, 0.2, 0.3], names)
