"""Metrics of one class an item: equal to scikit-learn's, with intervals that cover."""

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
from mmbench.metrics._coded import Coded
from mmbench.metrics._influence import estimate
from mmbench.metrics._items.label import LabelItems
from mmbench.references import LabelReferences
from mmbench.scoring import combine, score
from mmbench.stats import crossed
from mmbench.types import Predictions

METRICS = [
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "macro_precision",
    "macro_recall",
    "mcc",
    "cohen_kappa",
]


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def items_of(truth: object, said: object, classes: int) -> LabelItems:
    references = LabelReferences(np.asarray(truth), names(classes))
    return prepare(said, references)


def corpus(seed: int, items: int, classes: int, right: float, missing: float = 0.0) -> LabelItems:
    """Draw classes of unequal frequency; some never occur."""
    draw = np.random.default_rng(seed)
    weights = 1 / np.arange(1, classes + 1)
    truth = draw.choice(classes, size=items, p=weights / weights.sum())
    said = np.where(draw.random(items) < right, truth, draw.integers(0, classes, items))
    answers = [None if draw.random() < missing else int(c) for c in said]
    return items_of(truth, answers, classes)


CORPORA = {
    "ten classes": corpus(0, 400, 10, 0.7),
    "two classes": corpus(1, 200, 2, 0.6),
    "more classes than items": corpus(2, 60, 300, 0.5),
    "some without an answer": corpus(3, 150, 4, 0.7, missing=0.2),
    "classes that never occur": items_of([0, 0, 1, 1, 2], [0, 4, 1, 1, 0], 6),
    "one class occurs": items_of([2] * 8, [2, 2, 1, 0, 2, 2, 2, 2], 3),
    "one class is said": items_of([0, 1, 2, 1, 0, 0], [1] * 6, 3),
    "one class occurs and is said": items_of([1] * 5, [1] * 5, 3),
    "all wrong": items_of([0, 1, 2, 0], [1, 2, 0, 2], 3),
    "nothing said": items_of([0, 1, 2, 0], [None] * 4, 3),
    "one class in all": items_of([0] * 3, [0] * 3, 1),
    "two items": items_of([0, 1], [0, 0], 2),
}


def by_sklearn(name: str, **options: object) -> Callable[[LabelItems], float]:
    def reference(items: LabelItems) -> float:
        from sklearn import metrics

        # An answer that is missing is one more class, which is not among the labels.
        said = np.where(items.said < 0, len(items.classes), items.said)
        given = {"labels": range(len(items.classes)), "zero_division": 0.0} if options else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a single class; its value is 0 all the same
            return float(getattr(metrics, name)(items.truth, said, **given, **options))

    return reference


def balanced_accuracy(items: LabelItems) -> float:
    from sklearn.metrics import recall_score

    # scikit-learn's own warns wherever a class is said that does not occur.
    occur = np.unique(items.truth)
    return float(recall_score(items.truth, items.said, labels=occur, average="macro"))


def cohen_kappa(items: LabelItems) -> float:
    from sklearn.metrics import cohen_kappa_score

    if len(set(items.truth) | set(items.said)) == 1:
        return 0.0  # 0 / 0: see `test_kappa_of_one_class_is_zero_where_scikit_learn_has_no_number`
    return float(cohen_kappa_score(items.truth, items.said))


#: Metric -> its value by somebody else.
REFERENCES: dict[str, Callable[[LabelItems], float]] = {
    "accuracy": by_sklearn("accuracy_score"),
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": by_sklearn("f1_score", average="macro"),
    "micro_f1": by_sklearn("f1_score", average="micro"),
    "weighted_f1": by_sklearn("f1_score", average="weighted"),
    "macro_precision": by_sklearn("precision_score", average="macro"),
    "macro_recall": by_sklearn("recall_score", average="macro"),
    "mcc": by_sklearn("matthews_corrcoef"),
    "cohen_kappa": cohen_kappa,
}


def value(name: str, items: LabelItems) -> float:
    metric = registry.load("metric", name)
    return metric.of(metric.measure(items))


def dense(items: LabelItems, name: str) -> np.ndarray:
    return np.asarray(registry.load("metric", name).measure(items))


# --- values --------------------------------------------------------------------------------------


#: A metric and a corpus that it can score.
SCORABLE = [
    (name, which)
    for name in METRICS
    for which, items in CORPORA.items()
    if not registry.load("metric", name).check(items)
]
ORDINARY = [
    pair for pair in SCORABLE if pair[1] in ("ten classes", "two classes", "some without an answer")
]


@pytest.mark.parametrize(("name", "which"), SCORABLE)
def test_a_metric_of_labels_equals_scikit_learn(name: str, which: str) -> None:
    items = CORPORA[which]
    assert value(name, items) == pytest.approx(REFERENCES[name](items), rel=1e-12, abs=1e-12)


def test_scikit_learn_averages_over_the_classes_it_sees_unless_told_otherwise() -> None:
    from sklearn.metrics import f1_score

    items = CORPORA["classes that never occur"]
    seen = f1_score(items.truth, items.said, average="macro", zero_division=0.0)
    assert value("macro_f1", items) == pytest.approx(seen * 4 / 6, rel=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's, where it has no number
def test_kappa_of_one_class_is_zero_where_scikit_learn_has_no_number() -> None:
    from sklearn.metrics import cohen_kappa_score

    items = CORPORA["one class occurs and is said"]
    assert np.isnan(cohen_kappa_score(items.truth, items.said))
    assert value("cohen_kappa", items) == 0.0


@pytest.mark.parametrize("name", METRICS)
def test_what_is_exactly_right_reaches_the_bound(name: str) -> None:
    references = LabelReferences(np.array([0, 2, 1, 1, 0]), names(3))
    assert value(name, prepare(perfect(references), references)) == 1.0


@pytest.mark.parametrize("name", [name for name in METRICS if name != "macro_precision"])
def test_no_answer_is_a_wrong_answer(name: str) -> None:
    said = [0, 0, 1, 1, 2, 2]
    without = items_of(said, [None, *said[1:]], 3)
    assert value(name, without) < value(name, items_of(said, said, 3)) - 0.05
    assert value(name, items_of(said, [None] * 6, 3)) <= 0.0


def test_precision_refuses_to_leave_items_out() -> None:
    with pytest.raises(UsageError, match=r"'macro_precision': 1 of 3 items have no answer"):
        value("macro_precision", items_of([0, 1, 2], [0, None, 2], 3))


LABELS = st.integers(0, 3)
PAIRS = st.lists(st.tuples(LABELS, st.one_of(st.none(), LABELS)), min_size=2, max_size=12)


@pytest.mark.parametrize("name", METRICS)
@given(pairs=PAIRS, order=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_and_repetition_of_the_items_do_not_matter(name: str, pairs, order) -> None:  # type: ignore[no-untyped-def]
    if name == "macro_precision":
        pairs = [(truth, 0 if said is None else said) for truth, said in pairs]
    expected = value(name, items_of(*zip(*pairs, strict=True), 5))
    low, high = registry.load("metric", name).bounds
    assert low - 1e-12 <= expected <= high + 1e-12
    shuffled = list(pairs)
    order.shuffle(shuffled)
    for other in (shuffled, pairs * 3):
        again = value(name, items_of(*zip(*other, strict=True), 5))
        assert again == pytest.approx(expected, rel=1e-12, abs=1e-12)


# --- what an item moves --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "which"), ORDINARY)
def test_pseudo_values_are_those_of_leaving_items_out(name: str, which: str) -> None:
    metric, rows = registry.load("metric", name), dense(CORPORA[which], name)
    whole, size = metric.of(rows), len(rows)
    pseudo = pseudo_values(metric, rows)
    assert pseudo.mean() == pytest.approx(whole, rel=1e-12)
    left_out = [metric.of(np.delete(rows, item, axis=0)) for item in range(size)]
    expected = size * whole - (size - 1) * np.array(left_out)
    np.testing.assert_allclose(pseudo, expected, rtol=0.1, atol=0.1 * np.ptp(expected))
    assert np.corrcoef(pseudo, expected)[0, 1] > 0.995


@pytest.mark.parametrize(("name", "which"), ORDINARY)
def test_pseudo_values_are_the_derivative_by_item_weights(name: str, which: str) -> None:
    metric, coded = (
        registry.load("metric", name),
        registry.load("metric", name).measure(CORPORA[which]),
    )
    assert isinstance(coded, Coded)
    value_of, step = (lambda table, counts: weighted(metric, table, counts)), 1e-4
    _, pseudo = estimate(metric, coded)
    for row in np.flatnonzero(coded.counts):
        ends = []
        for sign in (1, -1):
            counts = coded.counts.copy()
            counts[row] += sign * step
            ends.append(value_of(coded.table, counts))
        slope = (ends[0] - ends[1]) / (2 * step)
        expected = metric.of(coded) + len(coded) * slope
        assert pseudo[row] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def weighted(metric, table: np.ndarray, counts: np.ndarray) -> float:  # type: ignore[no-untyped-def]
    if metric.whole is None:
        return float(metric.of_sums(counts @ table))
    return metric.whole(table, counts=counts)[0]


# --- rows that are counted -----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "which"), SCORABLE)
def test_counted_rows_and_rows_one_by_one_say_the_same(name: str, which: str) -> None:
    metric, coded = (
        registry.load("metric", name),
        registry.load("metric", name).measure(CORPORA[which]),
    )
    rows = np.asarray(coded)
    assert isinstance(coded, Coded)
    assert rows.shape == coded.shape == (len(CORPORA[which]), len(metric.columns))
    close = {"rtol": 1e-14, "atol": 1e-14}
    np.testing.assert_allclose(metric.of(coded), metric.of(rows), **close)
    np.testing.assert_allclose(pseudo_values(metric, coded), pseudo_values(metric, rows), **close)
    np.testing.assert_array_equal(coded.sum(axis=0), rows.sum(axis=0))
    if metric.whole is None:
        np.testing.assert_allclose(influence(metric, coded), influence(metric, rows), **close)


@pytest.mark.parametrize(("name", "which"), ORDINARY)
def test_the_interval_of_counted_rows_is_that_of_rows_one_by_one(name: str, which: str) -> None:
    coded = registry.load("metric", name).measure(CORPORA[which])
    rows = np.asarray(coded)
    clusters = np.arange(len(rows)) // 3
    for seeds, others, units in (
        ([coded], [rows], None),
        ([coded], [rows], clusters),
        ([coded, coded], [rows, coded], None),
    ):
        fast, slow = combine(name, seeds, units), combine(name, others, units)
        for field in ("value", "low", "high", "se", "df"):
            got, expected = getattr(fast, field), getattr(slow, field)
            assert got == pytest.approx(expected, rel=2e-14, abs=1e-14), field
        assert (fast.n, fast.seeds, fast.scope) == (slow.n, slow.seeds, slow.scope)


def test_counted_rows_read_as_the_array_that_they_stand_for() -> None:
    coded = CORPORA["some without an answer"].cells
    rows = np.asarray(coded)
    assert (coded.shape, coded.ndim, coded.dtype, len(coded)) == (
        rows.shape,
        2,
        np.float64,
        len(rows),
    )
    odd = np.arange(len(rows)) % 2 == 1
    for index in (3, slice(2, 9), odd, [4, 4, 1], (slice(None), 1), (slice(3), [0, 2]), (5, 1)):
        np.testing.assert_array_equal(coded[index], rows[index])
    assert np.asarray(coded, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.stack([coded, coded]), np.stack([rows, rows]))
    with pytest.raises(ValueError, match="axis 0"):
        coded.sum(axis=1)


def test_many_classes_take_no_more_rows_than_there_are_items() -> None:
    items = corpus(5, 2000, 1000, 0.6)
    assert len(items.cells.table) <= 2000
    assert value("macro_f1", items) == pytest.approx(REFERENCES["macro_f1"](items), rel=1e-12)


def test_metrics_of_the_confusion_matrix_are_stored_once() -> None:
    items = CORPORA["ten classes"]
    said = Predictions([str(i) for i in range(len(items))], {"kind": items.said})
    references = {"kind": LabelReferences(items.truth, items.classes)}
    found = score(said, references, "kind", METRICS)
    assert set(found.statistics) == {"accuracy", "confusion"}
    assert found.statistics["confusion"].columns == ("truth", "said", "classes")
    for name in METRICS:
        again = combine(name, [np.asarray(found.statistics[family_of(name)].rows)])
        assert again.se == pytest.approx(found.scores[name].se, rel=1e-12)


def family_of(name: str) -> str:
    return registry.load("metric", name).family


def test_rows_of_a_subgroup_give_the_metric_of_the_subgroup() -> None:
    items = CORPORA["ten classes"]
    half = np.arange(0, len(items), 2)
    alone = items_of(items.truth[half], items.said[half], 10)
    for name in METRICS:
        metric = registry.load("metric", name)
        assert metric.local
        assert metric.of(metric.measure(items)[half]) == pytest.approx(value(name, alone))


# --- intervals -----------------------------------------------------------------------------------

CONFUSION = np.array([[0.75, 0.15, 0.10], [0.25, 0.60, 0.15], [0.30, 0.20, 0.50]])
PRIOR = np.array([0.6, 0.3, 0.1])


def population(name: str, confusion: np.ndarray = CONFUSION) -> float:
    """Return the value of infinitely many items."""
    truth, said = np.divmod(np.arange(9), 3)
    table = np.stack([truth, said, np.full(9, 3)], axis=1).astype(float)
    weights = (PRIOR[:, None] * confusion).ravel()
    if name == "accuracy":
        return float(weights @ (truth == said))
    return float(registry.load("metric", name).whole(table, counts=weights)[0])


def answers(draw: np.random.Generator, truth: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    return (draw.random((len(truth), 1)) > np.cumsum(confusion[truth], axis=1)).sum(axis=1)


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_over_items_covers(name: str) -> None:
    draw, truth_value = np.random.default_rng(7), population(name)
    metric, hits = registry.load("metric", name), 0
    for _ in range(1000):
        truth = draw.choice(3, size=300, p=PRIOR)
        rows = metric.measure(items_of(truth, answers(draw, truth, CONFUSION), 3))
        found = crossed.interval(pseudo_values(metric, rows))
        hits += found.low <= truth_value <= found.high
    assert 0.93 <= hits / 1000 <= 0.97


def seeds_of(draw: np.random.Generator, items: int) -> list[LabelItems]:
    """Draw five seeds that answer the same items; some seeds are better, some items easier."""
    truth = draw.choice(3, size=items, p=PRIOR)
    easy = draw.random((items, 1))
    found = []
    for _ in range(5):
        luck = 0.03 * draw.standard_normal()
        lean = np.clip(0.6 * (easy - 0.5) + luck, -0.5, 0.5)
        confusion = CONFUSION[truth] * (1 - np.maximum(lean, 0) * 0.5)
        right = np.eye(3)[truth]
        confusion = confusion + right * (1 - confusion.sum(axis=1, keepdims=True))
        spoiled = confusion * (1 + np.minimum(lean, 0) * right)
        spoiled[:, 0] += 1 - spoiled.sum(axis=1)
        said = (draw.random((items, 1)) > np.cumsum(spoiled, axis=1)[:, :2]).sum(axis=1)
        found.append(items_of(truth, said, 3))
    return found


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_the_interval_over_seeds_and_items_covers(name: str) -> None:
    draw, metric, hits = np.random.default_rng(8), registry.load("metric", name), 0
    many = [metric.of(metric.measure(x)) for _ in range(40) for x in seeds_of(draw, 20_000)]
    target = float(np.mean(many))
    for _ in range(700):
        rows = [metric.measure(items) for items in seeds_of(draw, 250)]
        found = crossed.interval(np.stack([pseudo_values(metric, r) for r in rows]))
        hits += found.low <= target <= found.high
    assert 0.93 <= hits / 700 <= 0.97


# --- what can be said ----------------------------------------------------------------------------

CLASSES = ("angry", "happy", "sad")
THREE = LabelReferences(np.array([0, 1, 2]), CLASSES)


@pytest.mark.parametrize(
    "said",
    [
        ["angry", "sad", "sad"],
        [0, 2, 2],
        np.array([0, 2, 2], dtype=np.uint8),
        [np.int64(0), 2, np.int32(2)],
        ["angry", 2, np.str_("sad")],
        [0.0, 2.0, 2.0],
    ],
)
def test_a_class_may_be_named_or_numbered(said: object) -> None:
    np.testing.assert_array_equal(prepare(said, THREE).said, [0, 2, 2])


def test_a_class_named_by_a_digit_is_its_name_and_not_its_number() -> None:
    digits = LabelReferences(np.array([0, 1]), ("1", "0"))
    np.testing.assert_array_equal(prepare(["1", 1], digits).said, [0, 1])


def test_probabilities_alone_say_the_likeliest_class_the_first_of_equals() -> None:
    scores = [[0.2, 0.4, 0.4], [0.5, 0.25, 0.25], None]
    found = prepare([None, "sad", None], THREE, {"scores": scores})
    np.testing.assert_array_equal(found.said, [1, 2, -1])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["angry", "hapy", "sad"], r"of '1' is 'hapy': did you mean 'happy'\?.*angry, happy, sad"),
        (["angry", "1", "sad"], "of '1' is '1': expected one of the 3 classes"),
        ([0, 3, 1], r"of '1' is 3: expected .* or its number, 0 to 2"),
        ([0, 1, -1], "of '2' is -1: expected one of"),
        (np.array([0, -1, 1]), r"of '1' is np.int64\(-1\): expected one of"),
        ([0, 0.5, 1], "of '1' is 0.5: expected one of"),
        ([0, float("nan"), 1], "of '1' is nan: expected one of"),
        ([True, False, True], "of '0' is True: expected one of"),
        ([0, [1], 2], r"of '1' is \[1\]: expected one of"),
        (np.zeros((3, 3), dtype=int), r"of '0' is array\(\[0, 0, 0\]\): expected one of"),
    ],
)
def test_what_is_no_class_is_refused_with_the_item_and_what_would_work(
    said: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        prepare(said, THREE)
    assert "\n" not in str(caught.value)


def test_a_right_class_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="right class of '1' is number 3: expected 0 to 2"):
        prepare([0, 1], LabelReferences(np.array([0, 3]), CLASSES))
