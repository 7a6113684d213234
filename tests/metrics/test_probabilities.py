"""Metrics of probabilities: equal to their references, with intervals that cover."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import Metric, perfect, prepare, pseudo_values
from mmbench.metrics._items.label import LabelItems
from mmbench.references import LabelReferences
from mmbench.scoring import combine, score
from mmbench.stats import crossed
from mmbench.types import Predictions

METRICS = [
    "top_k_accuracy",
    "auroc",
    "average_precision",
    "nll",
    "bits",
    "brier",
    "ece",
    "squared_ece",
]


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def items_of(truth: object, scores: object) -> LabelItems:
    classes = names(np.shape(scores)[1])
    references = LabelReferences(np.asarray(truth), classes)
    return prepare([None] * len(references), references, {"scores": scores})


def corpus(seed: int, items: int, classes: int, sure: float, digits: int = 16) -> LabelItems:
    """Draw truths, and probabilities that know of them; few digits make many ties."""
    draw = np.random.default_rng(seed)
    truth = draw.choice(classes, size=items, p=(w := 1 / np.arange(1, classes + 1)) / w.sum())
    logits = draw.normal(size=(items, classes)) + sure * np.eye(classes)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if digits < 16:
        scores = np.round(scores * 10**digits) + 1
        scores /= scores.sum(axis=1, keepdims=True)
    return items_of(truth, scores)


CORPORA = {
    "ten classes": corpus(0, 300, 10, 2.0),
    "two classes": corpus(1, 200, 2, 1.0),
    "many ties": corpus(2, 150, 7, 1.5, digits=1),
    "two classes with ties": corpus(3, 100, 2, 0.5, digits=1),
    "more classes than items": corpus(4, 40, 60, 3.0),
    "certain, at times wrongly": items_of([0, 1, 5, 3, 4, 2], np.eye(6)[[0, 1, 5, 3, 4, 0]]),
    "all the same": items_of([0, 3, 5, 5], np.full((4, 8), 1 / 8)),
    "two items": items_of([0, 1], [[0.7, 0.3], [0.6, 0.4]]),
}


def top_k(items: LabelItems) -> float:
    places = [
        sorted(range(len(row)), key=lambda c: (-row[c], c == true)).index(true)
        for row, true in zip(items.scores.tolist(), items.truth.tolist(), strict=True)
    ]
    return sum(place < 5 for place in places) / len(places)


def one_vs_rest(name: str, wrong_too: bool) -> Callable[[LabelItems], float]:
    def reference(items: LabelItems) -> float:
        from sklearn import metrics

        true = np.bincount(items.truth, minlength=len(items.classes))
        classes = [c for c, n in enumerate(true) if n and (n < len(items) or not wrong_too)]
        if len(items.classes) == 2:
            classes = [1]
        of = getattr(metrics, name)
        return float(np.mean([of(items.truth == c, items.scores[:, c]) for c in classes]))

    return reference


def log_loss(items: LabelItems) -> float:
    from sklearn import metrics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of probabilities that add up to 1 but for rounding
        return float(metrics.log_loss(items.truth, items.scores, labels=range(len(items.classes))))


def brier(items: LabelItems) -> float:
    from sklearn.metrics import brier_score_loss

    labels = list(range(len(items.classes)))
    if len(labels) == 2:  # of the second class; both, so twice
        return 2 * float(
            brier_score_loss(items.truth, items.scores[:, 1], pos_label=1, labels=labels)
        )
    return float(brier_score_loss(items.truth, items.scores, labels=labels, scale_by_half=False))


def bins_of(items: LabelItems, bins: int = 15) -> dict[int, list[float]]:
    """Return, for each bin that is not empty, whether its items are right less how sure."""
    gaps: dict[int, list[float]] = {}
    for row, true in zip(items.scores.tolist(), items.truth.tolist(), strict=True):
        sure = max(row)
        place = min(b for b in range(bins) if sure <= np.linspace(0, 1, bins + 1)[b + 1] + 1e-300)
        gaps.setdefault(place, []).append((row.index(sure) == true) - sure)
    return gaps


def ece(items: LabelItems) -> float:
    return sum(abs(sum(gaps)) for gaps in bins_of(items).values()) / len(items)


def squared_ece(items: LabelItems) -> float:
    total = 0.0
    for gaps in bins_of(items).values():
        pairs = [a * b for i, a in enumerate(gaps) for j, b in enumerate(gaps) if i != j]
        total += len(gaps) * (sum(pairs) / len(pairs) if pairs else 0.0)
    return total / len(items)


#: Metric -> its value by somebody else, or written out pair by pair.
REFERENCES: dict[str, Callable[[LabelItems], float]] = {
    "top_k_accuracy": top_k,
    "auroc": one_vs_rest("roc_auc_score", wrong_too=True),
    "average_precision": one_vs_rest("average_precision_score", wrong_too=False),
    "nll": log_loss,
    "bits": lambda items: log_loss(items) / math.log(2),
    "brier": brier,
    "ece": ece,
    "squared_ece": squared_ece,
}

SCORABLE = [
    (name, which)
    for name in METRICS
    for which, items in CORPORA.items()
    if not registry.load("metric", name).check(items)
]
ORDINARY = [pair for pair in SCORABLE if pair[1] in ("ten classes", "two classes", "many ties")]


def value(name: str, items: LabelItems) -> float:
    metric = registry.load("metric", name)
    return metric.of(metric.measure(items))


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "which"), SCORABLE)
def test_a_metric_of_probabilities_equals_its_reference(name: str, which: str) -> None:
    expected = REFERENCES[name](CORPORA[which])
    assert value(name, CORPORA[which]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("which", ["ten classes", "many ties", "more classes than items"])
def test_macro_auroc_and_average_precision_equal_scikit_learns_own_averages(which: str) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score
    from sklearn.preprocessing import label_binarize

    items = CORPORA[which]
    seen = np.unique(items.truth)
    truth = label_binarize(items.truth, classes=range(len(items.classes)))[:, seen]
    for name, of in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
        expected = of(truth, items.scores[:, seen], average="macro")
        assert value(name, items) == pytest.approx(expected, rel=1e-12)


def test_top_k_equals_scikit_learn_where_nothing_ties() -> None:
    from sklearn.metrics import top_k_accuracy_score

    items, metric = CORPORA["ten classes"], registry.load("metric", "top_k_accuracy(k=3)")
    expected = top_k_accuracy_score(items.truth, items.scores, k=3, labels=range(10))
    assert metric.of(metric.measure(items)) == pytest.approx(expected, rel=1e-12)


def test_equal_probabilities_for_all_classes_find_nothing() -> None:
    assert value("top_k_accuracy", CORPORA["all the same"]) == 0.0
    assert value("auroc", CORPORA["all the same"]) == 0.5


def test_calibration_error_equals_torchmetrics_between_the_edges_of_bins() -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    torch.set_num_threads(1)
    items = CORPORA["ten classes"]
    for bins in (15, 4):
        metric = registry.load("metric", f"ece(bins={bins})")
        expected = multiclass_calibration_error(
            torch.tensor(items.scores), torch.tensor(items.truth), num_classes=10, n_bins=bins
        )
        assert metric.of(metric.measure(items)) == pytest.approx(float(expected), abs=1e-6)


def test_with_one_confidence_a_bin_squared_ece_is_the_estimator_of_kumar() -> None:
    draw = np.random.default_rng(3)
    sure = draw.choice([0.55, 0.72, 0.9], size=500)
    truth = (draw.random(500) > sure - 0.1).astype(int)
    items = items_of(truth, np.stack([sure, 1 - sure], axis=1))
    expected = 0.0
    for confidence in np.unique(sure):
        right = (truth == 0)[sure == confidence]
        accuracy, n = right.mean(), len(right)
        noise = accuracy * (1 - accuracy) / (n - 1)
        expected += n / 500 * ((accuracy - confidence) ** 2 - noise)
    assert value("squared_ece", items) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", METRICS)
def test_what_is_exactly_right_reaches_the_bound(name: str) -> None:
    references = LabelReferences(np.array([0, 2, 1, 1, 0, 4, 3, 5]), names(6))
    items = prepare(perfect(references), references)
    best = 1.0 if registry.load("metric", name).higher_is_better else 0.0
    assert value(name, items) == pytest.approx(best, abs=1e-15)


def test_the_binary_brier_score_counts_both_classes() -> None:
    from sklearn.metrics import brier_score_loss

    items = CORPORA["two classes"]
    halved = brier_score_loss(items.truth, items.scores[:, 1])
    assert value("brier", items) == pytest.approx(2 * halved, rel=1e-12)


def test_an_impossible_truth_costs_a_finite_number_of_nats() -> None:
    items = items_of([0, 1], [[1.0, 0.0], [1.0, 0.0]])
    assert value("nll", items) == pytest.approx(52 * math.log(2) / 2)
    assert value("bits", items) == pytest.approx(26)


def test_plain_ece_falls_with_the_number_of_items_and_the_debiased_one_does_not() -> None:
    draw = np.random.default_rng(4)
    plain, debiased = {}, {}
    for size in (100, 1600):
        drawn = [calibrated(draw, size) for _ in range(300)]
        plain[size] = np.mean([value("ece", items) for items in drawn])
        debiased[size] = np.array([value("squared_ece", items) for items in drawn])
    assert plain[100] > 3.5 * plain[1600] > 0
    for values in debiased.values():
        assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5
        assert (values < 0).mean() > 0.4


SCORES = st.lists(st.integers(1, 5), min_size=3, max_size=3)
PAIRS = st.lists(st.tuples(st.integers(0, 2), SCORES), min_size=3, max_size=10)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "top_k_accuracy"])
@given(pairs=PAIRS, order=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_and_repetition_of_the_items_do_not_matter(name: str, pairs, order) -> None:  # type: ignore[no-untyped-def]
    def of(pairs: list[tuple[int, list[int]]]) -> float:
        scores = np.array([row for _, row in pairs], dtype=float)
        items = items_of([true for true, _ in pairs], scores / scores.sum(axis=1, keepdims=True))
        return value(name, items)

    if name == "auroc" and len({true for true, _ in pairs}) == 1:
        pairs = [*pairs, ((pairs[0][0] + 1) % 3, [1, 2, 3])]
    expected = of(pairs)
    low, high = registry.load("metric", name).bounds
    assert low is None or expected >= low - 1e-12
    assert high is None or expected <= high + 1e-12
    shuffled = list(pairs)
    order.shuffle(shuffled)
    assert of(shuffled) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    if name != "squared_ece":  # pairs of different items: a copy is taken for one
        assert of(pairs * 2) == pytest.approx(expected, rel=1e-12, abs=1e-12)


# --- what an item moves --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "which"), ORDINARY)
def test_pseudo_values_are_those_of_leaving_items_out(name: str, which: str) -> None:
    metric, items = registry.load("metric", name), CORPORA[which]
    rows, size = metric.measure(items), len(items)
    pseudo, whole = pseudo_values(metric, rows), metric.of(rows)
    assert pseudo.mean() == pytest.approx(whole, rel=1e-9, abs=1e-12)
    left_out = np.array([value(name, without(items, item)) for item in range(size)])
    expected = size * whole - (size - 1) * left_out
    close = np.isclose(pseudo, expected, rtol=0.1, atol=0.1 * np.ptp(expected))
    # The gap of a bin may change its sign with one item; its absolute value has no derivative.
    assert close.mean() > (0.95 if name == "ece" else 0.999)
    assert np.corrcoef(pseudo[close], expected[close])[0, 1] > 0.99


def without(items: LabelItems, item: int) -> LabelItems:
    return items_of(np.delete(items.truth, item), np.delete(items.scores, item, axis=0))


@pytest.mark.parametrize("which", ["two classes", "two classes with ties"])
def test_the_standard_error_of_auroc_is_delongs(which: str) -> None:
    items = CORPORA[which]
    right = items.scores[items.truth == 1, 1][:, None]
    wrong = items.scores[items.truth == 0, 1][None, :]
    above = (right > wrong) + 0.5 * (right == wrong)
    variance = (
        above.mean(axis=1).var(ddof=1) / len(right) + above.mean(axis=0).var(ddof=1) / wrong.size
    )
    found = combine("auroc", [registry.load("metric", "auroc").measure(items)])
    assert found.se == pytest.approx(variance**0.5, rel=1e-12)


@pytest.mark.parametrize("which", ["two classes", "two classes with ties", "ten classes"])
def test_pseudo_values_of_average_precision_are_its_derivative(which: str) -> None:
    from sklearn.metrics import average_precision_score

    items = CORPORA[which]
    classes = [1] if len(items.classes) == 2 else np.unique(items.truth).tolist()

    def of(weights: np.ndarray) -> float:
        pairs = [(items.truth == c, items.scores[:, c]) for c in classes]
        return float(np.mean([average_precision_score(*p, sample_weight=weights) for p in pairs]))

    metric = registry.load("metric", "average_precision")
    pseudo = pseudo_values(metric, metric.measure(items))
    for item in range(0, len(items), 7):
        step = 1e-4 * np.eye(len(items))[item]
        slope = (of(1 + step) - of(1 - step)) / 2e-4
        expected = of(np.ones(len(items))) + len(items) * slope
        assert pseudo[item] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_many_items_are_ranked_as_exactly_as_few() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 2, 200_000)
    sure = np.clip(draw.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    items = items_of(truth, np.stack([1 - sure, sure], axis=1))
    assert value("auroc", items) == pytest.approx(REFERENCES["auroc"](items), rel=1e-12)


# --- intervals -----------------------------------------------------------------------------------


def coverage(name: str, target: float, draw: Callable[[], LabelItems], times: int) -> float:
    metric: Metric = registry.load("metric", name)
    hits = 0
    for _ in range(times):
        found = crossed.interval(pseudo_values(metric, metric.measure(draw())))
        hits += found.low <= target <= found.high
    return hits / times


def two_normals(draw: np.random.Generator, size: int, apart: float, share: float) -> LabelItems:
    truth = np.zeros(size, dtype=int)
    truth[: round(size * share)] = 1
    score = 1 / (1 + np.exp(-draw.normal(apart * truth)))
    return items_of(truth, np.stack([1 - score, score], axis=1))


@pytest.mark.parametrize(("size", "share"), [(200, 0.5), (300, 0.2)])
def test_the_interval_of_auroc_covers(size: int, share: float) -> None:
    from scipy.stats import norm

    draw, target = np.random.default_rng(5), norm.cdf(1.0 / 2**0.5)
    found = coverage("auroc", target, lambda: two_normals(draw, size, 1.0, share), 1500)
    assert 0.93 <= found <= 0.97


def test_the_interval_of_average_precision_covers() -> None:
    draw = np.random.default_rng(6)
    target = value("average_precision", two_normals(draw, 2_000_000, 1.5, 0.3))
    found = coverage("average_precision", target, lambda: two_normals(draw, 400, 1.5, 0.3), 1500)
    assert 0.93 <= found <= 0.97


def calibrated(draw: np.random.Generator, size: int, over: float = 0.0) -> LabelItems:
    """Draw items that are right as often as is said, or less often by `over`."""
    sure = draw.uniform(0.5, 1.0, size)
    truth = (draw.random(size) >= sure - over * (sure - 0.5)).astype(int)
    return items_of(truth, np.stack([sure, 1 - sure], axis=1))


def true_squared_error(over: float) -> float:
    """Return the mean squared gap over the bins; within a bin, confidence is uniform."""
    edges = np.unique(np.clip(np.linspace(0, 1, 16), 0.5, 1.0))
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 0.5
    return float(width @ (over * (middle - 0.5)) ** 2)


@pytest.mark.parametrize("size", [300, 3000])
@pytest.mark.parametrize("over", [0.0, 0.1, 0.4])
def test_the_interval_of_squared_ece_covers_at_and_away_from_a_calibrated_model(
    size: int, over: float
) -> None:
    draw = np.random.default_rng(7)
    target = true_squared_error(over)
    found = coverage("squared_ece", target, lambda: calibrated(draw, size, over), 1000)
    assert 0.92 <= found <= 0.98


def test_the_interval_of_plain_ece_misses_a_calibrated_model() -> None:
    draw = np.random.default_rng(8)
    assert coverage("ece", 0.0, lambda: calibrated(draw, 300), 200) < 0.5


@pytest.mark.parametrize("name", ["nll", "brier", "auroc"])
def test_the_interval_over_seeds_and_items_covers(name: str) -> None:
    draw = np.random.default_rng(9)
    metric = registry.load("metric", name)

    def seeds(size: int) -> list[LabelItems]:
        truth = draw.integers(0, 2, size)
        easy = draw.normal(size=size)
        found = []
        for _ in range(5):
            skill = 1.0 + 0.1 * draw.standard_normal()
            logit = skill * (2 * truth - 1) + easy + draw.normal(size=size)
            sure = 1 / (1 + np.exp(-logit))
            found.append(items_of(truth, np.stack([1 - sure, sure], axis=1)))
        return found

    target = np.mean([value(name, items) for _ in range(60) for items in seeds(20_000)])
    hits = 0
    for _ in range(600):
        pseudo = [pseudo_values(metric, metric.measure(items)) for items in seeds(200)]
        found = crossed.interval(np.stack(pseudo))
        hits += found.low <= target <= found.high
    assert 0.93 <= hits / 600 <= 0.97


# --- what is refused -----------------------------------------------------------------------------

CLASSES = ("angry", "happy", "sad")
THREE = LabelReferences(np.array([0, 1, 2]), CLASSES)
GOOD = [0.2, 0.3, 0.5]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([GOOD, [0.2, 0.3, 0.6], GOOD], "scores of '1' add up to 1.1: expected probabilities"),
        ([GOOD, GOOD, [2.0, -1.0, 0.0]], "scores of '2' hold 2.0: expected probabilities, 0 to 1"),
        ([GOOD, GOOD, [0.7, -0.1, 0.4]], "scores of '2' hold -0.1: expected probabilities, 0 to 1"),
        ([GOOD, [0.5, float("nan"), 0.5], GOOD], "scores of '1' hold nan"),
        ([GOOD, [0.5, 0.5], GOOD], r"'1' are \[0.5, 0.5\]: expected 3 numbers.*angry, happy, sad"),
        ([GOOD, "high", GOOD], "'1' are 'high': expected 3 numbers"),
        ([GOOD, GOOD], "expected scores of 3 items, got 2"),
        (np.full((3, 4), 0.25), r"'0' are array.*expected 3 numbers"),
    ],
)
def test_what_are_no_probabilities_is_refused_with_the_item(scores: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        prepare([0, 1, 2], THREE, {"scores": scores})
    assert "\n" not in str(caught.value)


def test_probabilities_may_be_rounded() -> None:
    rows = [[0.33334, 0.33334, 0.33334], GOOD, np.array(GOOD, dtype=np.float32)]
    items = prepare([0, 1, 2], THREE, {"scores": rows})
    assert items.scores.shape == (3, 3)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "top_k_accuracy"])
def test_predictions_without_probabilities_are_refused_with_what_to_give(name: str) -> None:
    metric = registry.load("metric", name)
    with pytest.raises(UsageError, match=rf"'{name}'.*no probabilities.*columns p:CLASS"):
        metric.measure(prepare([0, 1, 2], THREE))
    some = prepare([0, 1, 2], THREE, {"scores": [GOOD, None, GOOD]})
    with pytest.raises(UsageError, match=rf"'{name}': 1 of 3 items have no probabilities"):
        metric.measure(some)


@pytest.mark.parametrize(
    ("name", "truth", "message"),
    [
        ("auroc", [1, 1, 1], "all items are of one class"),
        ("top_k_accuracy", [0, 1, 2], "always among 5 of 3 classes: ask for k=2 or less"),
        ("top_k_accuracy(k=0)", [0, 1, 2], "k is 0: expected at least 1"),
        ("ece(bins=0)", [0, 1, 2], "bins is 0: expected at least 1"),
    ],
)
def test_what_has_no_value_is_refused(name: str, truth: list[int], message: str) -> None:
    references = LabelReferences(np.array(truth), CLASSES)
    items = prepare([0, 1, 2], references, {"scores": [GOOD] * 3})
    with pytest.raises(UsageError, match=message):
        registry.load("metric", name).measure(items)


def test_average_precision_of_a_class_that_never_occurs_is_refused() -> None:
    items = items_of([0, 0], [[0.3, 0.7], [0.5, 0.5]])
    with pytest.raises(UsageError, match="no item is of the class 'class 1'"):
        value("average_precision", items)


def test_a_subgroup_of_a_ranking_is_not_in_its_rows() -> None:
    assert not registry.load("metric", "auroc").local
    assert not registry.load("metric", "average_precision").local
    assert registry.load("metric", "ece").local


# --- from end to end -----------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["ten classes", "many ties"])
def test_probabilities_travel_as_a_column_of_the_output_in_any_order(which: str) -> None:
    items = CORPORA[which]
    ids = [f"item {place}" for place in range(len(items))]
    order = np.random.default_rng(0).permutation(len(items))
    rows = [items.scores[place].tolist() for place in order]
    said = Predictions(
        [ids[place] for place in order], {"mood": [None] * len(ids)}, {"mood.scores": rows}
    )
    references = {"mood": LabelReferences(items.truth, items.classes)}
    found = score(said, references, "mood", [*METRICS, "macro_f1"], ids=ids)
    for name in METRICS:
        assert found.scores[name].value == pytest.approx(value(name, items), rel=1e-12), name
        assert found.scores[name].low <= found.scores[name].value <= found.scores[name].high
    assert set(found.statistics) == {
        "top_k_accuracy",
        "auroc",
        "average_precision",
        "nll",
        "brier",
        "calibration",
        "confusion",
    }
