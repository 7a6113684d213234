"""Metrics of one number an item: the field's conventions, with intervals that cover."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import influence, perfect, prepare, pseudo_values
from mmbench.metrics._items.scalar import ScalarItems
from mmbench.references import ScalarReferences
from mmbench.stats import crossed

CLASSES = ["acc2_has0", "acc2_non0", "f1_has0", "f1_non0", "acc5", "acc7"]
DISTANCES = ["mae", "mse", "rmse"]
AGREEMENT = ["pearson", "ccc", "spearman"]
METRICS = CLASSES + DISTANCES + AGREEMENT


def items_of(truth: object, said: object) -> ScalarItems:
    return prepare(said, ScalarReferences(np.asarray(truth, dtype=float)))


def corpus(seed: int, items: int, noise: float, digits: int = 16) -> ScalarItems:
    """Draw sentiments as people give them: thirds from -3 to 3, many of them 0."""
    draw = np.random.default_rng(seed)
    truth = np.where(draw.random(items) < 0.2, 0.0, draw.integers(-9, 10, items) / 3)
    said = np.round(0.7 * truth + noise * draw.normal(size=items), digits)
    return items_of(truth, said)


CORPORA = {
    "sentiment": corpus(0, 300, 0.8),
    "many ties": corpus(1, 150, 1.0, digits=0),
    "halves and zeros": items_of(
        [0.5, 1.5, -0.5, -2.5, 0.0, 0.0, 3.0, -0.0, 2.5], [1.5, 0.5, 0.0, -2.6, 0.0, -0.1, 9, 0, 3]
    ),
    "the same for all": items_of([1.0, -1.0, 0.5, 0.0], [0.1] * 4),
    "one truth": items_of([0.3] * 4, [0.1, 0.4, 0.2, 0.9]),
    "far from 0": items_of(1e6 + np.arange(50.0), 1e6 + 7 + np.sin(np.arange(50.0)) * 20),
    "backwards": items_of([1, 2, 3, -2], [-1, -2, -3, 2]),
    "two items": items_of([1, -2], [0.5, 1.5]),
}


def mmsa(name: str) -> Callable[[ScalarItems], float]:
    """Compute what MMSA reports under that name, from its definition."""

    def reference(items: ScalarItems) -> float:
        from sklearn.metrics import accuracy_score, f1_score

        truth, said = items.truth, items.said
        if name.startswith("Mult_acc_"):
            most = (int(name[-1]) - 1) / 2
            rounded = [np.round(np.clip(x, -most, most)).astype(int) for x in (truth, said)]
            return float(accuracy_score(*rounded))
        if name.startswith("Non0"):
            kept = [i for i, number in enumerate(truth) if number != 0]
            pair = truth[kept] > 0, said[kept] > 0
        else:
            pair = truth >= 0, said >= 0
        if name.endswith("acc_2"):
            return float(accuracy_score(*pair))
        return float(f1_score(*pair, average="weighted", zero_division=0.0))

    return reference


def distance(name: str) -> Callable[[ScalarItems], float]:
    def reference(items: ScalarItems) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(items.truth, items.said))

    return reference


def correlation(name: str) -> Callable[[ScalarItems], float]:
    def reference(items: ScalarItems) -> float:
        from scipy import stats

        if np.ptp(items.truth) == 0 or np.ptp(items.said) == 0:
            return 0.0  # scipy has no number there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of two items
            return float(getattr(stats, name)(items.truth, items.said).statistic)

    return reference


def concordance(items: ScalarItems) -> float:
    """Follow Lin: 1 less the squared distance, over that of independent numbers."""
    apart = np.mean((items.truth - items.said) ** 2)
    independent = np.mean((items.truth[:, None] - items.said[None, :]) ** 2)
    varies = np.ptp(items.truth) > 0 and np.ptp(items.said) > 0
    return float(1 - apart / independent) if varies else 0.0


#: Metric -> its value by somebody else, or from its definition.
REFERENCES: dict[str, Callable[[ScalarItems], float]] = {
    "acc2_has0": mmsa("Has0_acc_2"),
    "acc2_non0": mmsa("Non0_acc_2"),
    "f1_has0": mmsa("Has0_F1_score"),
    "f1_non0": mmsa("Non0_F1_score"),
    "acc5": mmsa("Mult_acc_5"),
    "acc7": mmsa("Mult_acc_7"),
    "mae": distance("mean_absolute_error"),
    "mse": distance("mean_squared_error"),
    "rmse": distance("root_mean_squared_error"),
    "pearson": correlation("pearsonr"),
    "spearman": correlation("spearmanr"),
    "ccc": concordance,
}


def value(name: str, items: ScalarItems) -> float:
    metric = registry.load("metric", name)
    return metric.of(metric.measure(items))


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", CORPORA)
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_numbers_equals_its_reference(name: str, which: str) -> None:
    expected = REFERENCES[name](CORPORA[which])
    assert value(name, CORPORA[which]) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    if which != "far from 0":
        assert value(name, CORPORA[which]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_concordance_differs_from_torchmetrics_by_the_divisor_of_the_variances() -> None:
    import torch
    from torchmetrics.functional import concordance_corrcoef

    items = CORPORA["sentiment"]
    said, truth = torch.tensor(items.said), torch.tensor(items.truth)
    other = float(concordance_corrcoef(said, truth))
    x, y, n = items.truth, items.said, len(items)
    both = np.cov(x, y)
    theirs = 2 * both[0, 1] / (both[0, 0] + both[1, 1] + (x.mean() - y.mean()) ** 2)
    assert other == pytest.approx(theirs, rel=1e-6)
    assert value("ccc", items) == pytest.approx(theirs, abs=2 / n)
    assert value("ccc", items) != pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_what_is_exactly_right_reaches_the_bound(name: str) -> None:
    references = ScalarReferences(np.array([-2.3, 0.0, 1.2, 3.0, 0.4]))
    items, metric = prepare(perfect(references), references), registry.load("metric", name)
    best = 1.0 if metric.higher_is_better else 0.0
    assert value(name, items) == pytest.approx(best, abs=1e-14)
    np.testing.assert_allclose(pseudo_values(metric, metric.measure(items)), best, atol=1e-9)


def test_zero_is_not_negative_where_zeros_count_and_negative_where_they_do_not() -> None:
    items = items_of([0.0, 1.0, -1.0], [0.0, 0.0, 0.0])
    assert value("acc2_has0", items) == pytest.approx(2 / 3)
    assert value("acc2_non0", items) == pytest.approx(1 / 2)


def test_halves_are_rounded_to_the_even_neighbour() -> None:
    assert value("acc7", items_of([0.5, 1.5, 2.5], [0.0, 2.0, 3.0])) == pytest.approx(2 / 3)


def test_a_collapse_to_one_answer_correlates_with_nothing() -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(size=1000)
    for constant in (0.1, 1 / 3, 1e5):
        items = items_of(truth, np.full(1000, constant))
        for name in AGREEMENT:
            assert value(name, items) == 0.0
            metric = registry.load("metric", name)
            assert not pseudo_values(metric, metric.measure(items)).any()


@pytest.mark.parametrize("name", CLASSES)
def test_no_answer_is_a_wrong_answer(name: str) -> None:
    truth = [1.0, 2.0, -1.0, -2.0]
    assert value(name, items_of(truth, [None, *truth[1:]])) < value(name, items_of(truth, truth))
    assert value(name, items_of(truth, [None] * 4)) == 0.0


NUMBERS = st.sampled_from([-3.0, -1.5, -0.5, 0.0, 0.25, 1.0, 2.5])
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=9)


@pytest.mark.parametrize("name", METRICS)
@given(pairs=PAIRS, order=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_order_and_repetition_of_the_items_do_not_matter(name: str, pairs, order) -> None:  # type: ignore[no-untyped-def]
    def of(pairs: list[tuple[float, float]]) -> float:
        return value(name, items_of(*zip(*pairs, strict=True)))

    pairs = [*pairs, (1.0, -0.5)]
    expected = of(pairs)
    low, high = registry.load("metric", name).bounds
    assert low <= expected
    assert high is None or expected <= high
    shuffled = list(pairs)
    order.shuffle(shuffled)
    assert of(shuffled) == pytest.approx(expected, rel=1e-10, abs=1e-10)
    assert of(pairs * 3) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@given(pairs=PAIRS)
@settings(max_examples=50, deadline=None)
def test_correlation_is_blind_to_scale_and_offset_and_concordance_is_not(pairs) -> None:  # type: ignore[no-untyped-def]
    truth, said = (np.array(part) for part in zip(*pairs, strict=True))
    moved = items_of(truth, 5.0 * said + 1000.0)
    assert value("pearson", moved) == pytest.approx(
        value("pearson", items_of(truth, said)), abs=1e-9
    )
    assert value("spearman", moved) == value("spearman", items_of(truth, said))
    assert abs(value("ccc", moved)) < 0.05


# --- what an item moves --------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["sentiment", "many ties"])
@pytest.mark.parametrize("name", METRICS)
def test_pseudo_values_are_those_of_leaving_items_out(name: str, which: str) -> None:
    metric, items = registry.load("metric", name), CORPORA[which]
    rows, size = metric.measure(items), len(items)
    pseudo, whole = pseudo_values(metric, rows), metric.of(rows)
    assert pseudo.mean() == pytest.approx(whole, rel=1e-9)
    left_out = [
        value(name, items_of(np.delete(items.truth, i), np.delete(items.said, i)))
        for i in range(size)
    ]
    expected = size * whole - (size - 1) * np.array(left_out)
    np.testing.assert_allclose(pseudo, expected, rtol=0.1, atol=0.05 * np.ptp(expected))
    assert np.corrcoef(pseudo, expected)[0, 1] > 0.998


@pytest.mark.parametrize("name", ["pearson", "ccc", "rmse", "mse"])
def test_gradients_by_formula_are_those_by_differences(name: str) -> None:
    from dataclasses import replace

    metric = registry.load("metric", name)
    rows = metric.measure(CORPORA["sentiment"])
    by_differences = influence(replace(metric, gradient=None), rows)
    np.testing.assert_allclose(influence(metric, rows), by_differences, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_rows_of_a_subgroup_give_the_metric_of_the_subgroup(name: str) -> None:
    items, metric = CORPORA["sentiment"], registry.load("metric", name)
    half = np.arange(0, len(items), 2)
    alone = value(name, items_of(items.truth[half], items.said[half]))
    assert metric.of(metric.measure(items)[half]) == pytest.approx(alone, rel=1e-10)


# --- intervals -----------------------------------------------------------------------------------


def draw_items(draw: np.random.Generator, size: int, seeds: int = 1) -> list[ScalarItems]:
    truth = np.where(draw.random(size) < 0.2, 0.0, np.clip(draw.normal(0.3, 1.4, size), -3, 3))
    hard = draw.normal(size=size)
    found = []
    for _ in range(seeds):
        scale = 0.7 + (0.04 * draw.standard_normal() if seeds > 1 else 0.0)
        found.append(items_of(truth, scale * truth + 0.5 * hard + 0.5 * draw.normal(size=size)))
    return found


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_over_items_covers(name: str) -> None:
    draw, metric, hits = np.random.default_rng(3), registry.load("metric", name), 0
    target = value(name, draw_items(draw, 2_000_000)[0])
    for _ in range(1000):
        found = crossed.interval(pseudo_values(metric, metric.measure(draw_items(draw, 300)[0])))
        hits += found.low <= target <= found.high
    assert 0.93 <= hits / 1000 <= 0.97


@pytest.mark.parametrize("name", ["mae", "pearson", "spearman", "f1_non0"])
def test_the_interval_over_seeds_and_items_covers(name: str) -> None:
    draw, metric, hits = np.random.default_rng(4), registry.load("metric", name), 0
    many = [value(name, items) for _ in range(60) for items in draw_items(draw, 10_000, 5)]
    for _ in range(600):
        rows = [metric.measure(items) for items in draw_items(draw, 200, 5)]
        found = crossed.interval(np.stack([pseudo_values(metric, r) for r in rows]))
        hits += found.low <= np.mean(many) <= found.high
    assert 0.93 <= hits / 600 <= 0.97


# --- what can be said ----------------------------------------------------------------------------

TWO = ScalarReferences(np.array([0.5, -1.0]))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([0.5, float("nan")], "of '1' is nan: expected a finite number"),
        ([float("-inf"), 0.5], "of '0' is -inf: expected a finite number"),
        (np.array([0.5, np.nan]), r"of '1' is np.float64\(nan\): expected a finite number"),
        (["0.5", 1.0], "of '0' is '0.5': expected a finite number"),
        ([True, 1.0], "of '0' is True: expected a finite number"),
        ([[0.5], 1.0], r"of '0' is \[0.5\]: expected a finite number"),
        (np.zeros((2, 1)), r"of '0' is array\(\[0.\]\): expected a finite number"),
    ],
)
def test_what_is_no_number_is_refused_with_the_item(said: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        prepare(said, TWO)
    assert "\n" not in str(caught.value)


def test_numbers_of_any_kind_are_taken() -> None:
    for said in ([1, 0.5], [np.float32(1), 0.5], np.array([1, 0.5], dtype=np.float32)):
        np.testing.assert_array_equal(prepare(said, TWO).said, [1.0, 0.5])
    np.testing.assert_array_equal(prepare([None, 0.5], TWO).missing, [True, False])


@pytest.mark.parametrize("name", DISTANCES + AGREEMENT)
def test_no_answer_is_at_no_distance(name: str) -> None:
    with pytest.raises(UsageError, match=rf"'{name}': 1 of 2 items have no answer.*acc2_has0"):
        registry.load("metric", name).measure(prepare([None, 0.5], TWO))


@pytest.mark.parametrize("name", ["acc2_non0", "f1_non0"])
def test_without_zeros_something_has_to_be_left(name: str) -> None:
    with pytest.raises(UsageError, match="the right number of every item is 0"):
        registry.load("metric", name).measure(items_of([0.0, 0.0], [1.0, 2.0]))


def test_a_right_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UsageError, match="right number of '1' is inf: not finite"):
        prepare([0.5, 1.0], ScalarReferences(np.array([0.5, np.inf])))
