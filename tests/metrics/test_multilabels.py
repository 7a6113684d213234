"""Metrics of any number of classes an item: equal to scikit-learn's, with intervals that cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import perfect, prepare, pseudo_values
from mmbench.metrics._items.multilabel import MultilabelItems
from mmbench.references import MultilabelReferences
from mmbench.scoring import combine
from mmbench.stats import crossed

F1S = ["micro", "macro", "weighted", "samples"]
SETS = [f"multilabel_{average}_f1" for average in F1S]
SETS += ["multilabel_subset_accuracy", "multilabel_hamming_loss"]
RANKED = ["multilabel_map", "multilabel_macro_auroc"]
METRICS = SETS + RANKED


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def items_of(truth: object, said: object, scores: object = None) -> MultilabelItems:
    labels = np.asarray(truth, dtype=bool)
    references = MultilabelReferences(labels, names(labels.shape[1]))
    return prepare(said, references, None if scores is None else {"scores": scores})


def corpus(seed: int, items: int, classes: int, digits: int = 16) -> MultilabelItems:
    """Draw sets of classes of unequal frequency, and probabilities that know of them."""
    draw = np.random.default_rng(seed)
    truth = draw.random((items, classes)) < 0.6 / np.arange(1, classes + 1) ** 0.7
    logits = draw.normal(size=(items, classes)) + 2.0 * truth - 1.0
    scores = np.round(1 / (1 + np.exp(-logits)), digits)
    return items_of(truth, [None] * items, scores)


CORPORA = {
    "eight classes": corpus(0, 200, 8),
    "many ties": corpus(1, 120, 5, digits=1),
    "more classes than items": corpus(2, 20, 50),
    "one class": corpus(3, 60, 1),
    "classes that never occur or always": items_of(
        [[1, 0, 0, 1], [1, 0, 1, 1], [1, 0, 0, 1]],
        [[1, 0, 0, 0], [0, 1, 1, 1], [1, 0, 0, 1]],
        [[0.9, 0.2, 0.3, 0.4], [0.3, 0.7, 0.8, 0.6], [0.9, 0.1, 0.1, 0.9]],
    ),
    "nothing right and nothing said": items_of([[0, 0], [0, 0]], [[0, 0], [0, 0]]),
    "nothing said": items_of([[0, 1], [1, 1], [0, 0]], [[], [], []]),
    "all wrong": items_of([[0, 1], [1, 0]], [[1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8]]),
}


def by_sklearn(name: str, **options: object) -> Callable[[MultilabelItems], float]:
    def reference(items: MultilabelItems) -> float:
        from sklearn import metrics

        truth, said = items.truth.astype(int), items.said.astype(int)
        if truth.shape[1] == 1 and options:  # one column is taken for a vector of two classes
            truth, said = (np.hstack([x, np.zeros_like(x)]) for x in (truth, said))
            options_of_one = {**options, "labels": [0]}
            return float(getattr(metrics, name)(truth, said, **options_of_one))
        return float(getattr(metrics, name)(truth, said, **options))

    return reference


def ranked(name: str, wrong_too: bool) -> Callable[[MultilabelItems], float]:
    def reference(items: MultilabelItems) -> float:
        from sklearn import metrics

        counts = items.truth.any(axis=0) & (~items.truth.all(axis=0) if wrong_too else True)
        return float(
            getattr(metrics, name)(items.truth[:, counts], items.scores[:, counts], average="macro")
        )

    return reference


#: Metric -> its value by somebody else.
REFERENCES: dict[str, Callable[[MultilabelItems], float]] = {
    **{
        f"multilabel_{average}_f1": by_sklearn("f1_score", average=average, zero_division=0.0)
        for average in F1S
    },
    "multilabel_subset_accuracy": by_sklearn("accuracy_score"),
    "multilabel_hamming_loss": by_sklearn("hamming_loss"),
    "multilabel_map": ranked("average_precision_score", wrong_too=False),
    "multilabel_macro_auroc": ranked("roc_auc_score", wrong_too=True),
}

SCORABLE = [
    (name, which)
    for name in METRICS
    for which, items in CORPORA.items()
    if not registry.load("metric", name).check(items)
]
ORDINARY = [pair for pair in SCORABLE if pair[1] in ("eight classes", "many ties")]


def value(name: str, items: MultilabelItems) -> float:
    metric = registry.load("metric", name)
    return metric.of(metric.measure(items))


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "which"), SCORABLE)
def test_a_metric_of_sets_of_classes_equals_scikit_learn(name: str, which: str) -> None:
    expected = REFERENCES[name](CORPORA[which])
    assert value(name, CORPORA[which]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_what_is_exactly_right_reaches_the_bound(name: str) -> None:
    references = MultilabelReferences(np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]], bool), names(3))
    best = 1.0 if registry.load("metric", name).higher_is_better else 0.0
    assert value(name, prepare(perfect(references), references)) == pytest.approx(best, abs=1e-15)


@pytest.mark.parametrize("name", SETS)
def test_no_answer_is_wrong_even_where_no_class_is_right(name: str) -> None:
    truth = [[1, 0], [0, 1], [0, 0]]
    better = 1 if registry.load("metric", name).higher_is_better else -1
    full = better * value(name, items_of(truth, truth))
    assert better * value(name, items_of(truth, [None, *truth[1:]])) < full - 0.1
    if name in ("multilabel_subset_accuracy", "multilabel_hamming_loss"):
        assert better * value(name, items_of(truth, [*truth[:2], None])) < full - 0.1


def test_saying_nothing_scores_no_f1() -> None:
    for average in F1S:
        assert value(f"multilabel_{average}_f1", CORPORA["nothing said"]) == 0.0


SETS_OF_THREE = st.lists(st.booleans(), min_size=3, max_size=3)
PAIRS = st.lists(st.tuples(SETS_OF_THREE, SETS_OF_THREE), min_size=2, max_size=9)


@pytest.mark.parametrize("name", METRICS)
@given(pairs=PAIRS, order=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_order_and_repetition_of_the_items_do_not_matter(name: str, pairs, order) -> None:  # type: ignore[no-untyped-def]
    def of(pairs: list[tuple[list[bool], list[bool]]]) -> float:
        truth, said = (np.array(part) for part in zip(*pairs, strict=True))
        return value(name, items_of(truth, said, np.where(said, 0.75, 0.25)))

    pairs = [*pairs, ([True, False, False], [True, False, True])]
    pairs = [*pairs, ([False, True, False], [True, False, True])]
    expected = of(pairs)
    assert -1e-12 <= expected <= 1 + 1e-12
    shuffled = list(pairs)
    order.shuffle(shuffled)
    assert of(shuffled) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert of(pairs * 2) == pytest.approx(expected, rel=1e-12, abs=1e-12)


# --- what an item moves --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "which"), ORDINARY)
def test_pseudo_values_are_those_of_leaving_items_out(name: str, which: str) -> None:
    metric, items = registry.load("metric", name), CORPORA[which]
    pseudo, whole = pseudo_values(metric, metric.measure(items)), value(name, items)
    size = len(items)
    assert pseudo.mean() == pytest.approx(whole, rel=1e-12)

    def without(item: int) -> float:
        truth, said, scores = (
            np.delete(part, item, axis=0) for part in (items.truth, items.said, items.scores)
        )
        return value(name, items_of(truth, said, scores))

    expected = size * whole - (size - 1) * np.array([without(item) for item in range(size)])
    np.testing.assert_allclose(pseudo, expected, rtol=0.1, atol=0.1 * np.ptp(expected))
    assert np.corrcoef(pseudo, expected)[0, 1] > 0.995


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_pseudo_values_of_a_mean_over_classes_are_its_derivative(average: str) -> None:
    from sklearn.metrics import f1_score

    items = CORPORA["eight classes"]
    metric = registry.load("metric", f"multilabel_{average}_f1")
    pseudo, size = pseudo_values(metric, metric.measure(items)), len(items)

    def of(weights: np.ndarray) -> float:
        return f1_score(
            items.truth, items.said, average=average, sample_weight=weights, zero_division=0.0
        )

    for item in range(0, size, 11):
        step = 1e-4 * np.eye(size)[item]
        slope = (of(1 + step) - of(1 - step)) / 2e-4
        assert pseudo[item] == pytest.approx(of(np.ones(size)) + size * slope, rel=1e-6, abs=1e-6)


# --- intervals -----------------------------------------------------------------------------------

FREQUENT = np.array([0.5, 0.4, 0.3, 0.25])


def draw_items(draw: np.random.Generator, size: int, seeds: int = 1) -> list[MultilabelItems]:
    """Draw items that some seeds answer better, and that are easy or hard for all of them."""
    truth = draw.random((size, 4)) < FREQUENT
    easy = draw.normal(size=(size, 1))
    found = []
    for _ in range(seeds):
        skill = 0.8 + (0.1 * draw.standard_normal() if seeds > 1 else 0.0)
        logits = (2 * truth - 1) * (skill + 0.5 * easy) + 1.2 * draw.normal(size=(size, 4)) - 0.5
        found.append(items_of(truth, [None] * size, 1 / (1 + np.exp(-logits))))
    return found


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_over_items_covers(name: str) -> None:
    draw, metric, hits = np.random.default_rng(5), registry.load("metric", name), 0
    target = value(name, draw_items(draw, 500_000)[0])
    for _ in range(800):
        found = crossed.interval(pseudo_values(metric, metric.measure(draw_items(draw, 300)[0])))
        hits += found.low <= target <= found.high
    assert 0.93 <= hits / 800 <= 0.97


@pytest.mark.parametrize("name", ["multilabel_macro_f1", "multilabel_map"])
def test_the_interval_over_seeds_and_items_covers(name: str) -> None:
    draw, metric, hits = np.random.default_rng(6), registry.load("metric", name), 0
    many = [value(name, items) for _ in range(40) for items in draw_items(draw, 5_000, 5)]
    target = np.mean(many)
    for _ in range(400):
        rows = [metric.measure(items) for items in draw_items(draw, 200, 5)]
        found = crossed.interval(np.stack([pseudo_values(metric, r) for r in rows]))
        hits += found.low <= target <= found.high
    assert 0.925 <= hits / 400 <= 0.975


def test_settled_rows_combine_over_seeds() -> None:
    metric = registry.load("metric", "multilabel_map")
    rows = [metric.measure(items) for items in draw_items(np.random.default_rng(7), 100, 3)]
    assert not metric.local
    found = combine("multilabel_map", rows)
    assert found.value == pytest.approx(np.mean([metric.of(r) for r in rows]))
    assert (found.seeds, found.n) == (3, 100)


# --- what can be said ----------------------------------------------------------------------------

CLASSES = ("dog", "cat", "cow")
THREE = MultilabelReferences(np.array([[1, 1, 0], [0, 0, 0]], dtype=bool), CLASSES)


@pytest.mark.parametrize(
    "said",
    [
        [["dog", "cow"], []],
        [{"cow", "dog"}, ()],
        [[1, 0, 1], [0, 0, 0]],
        [[True, False, True], np.zeros(3)],
        np.array([[1, 0, 1], [0, 0, 0]]),
        np.array([[1, 0, 1], [0, 0, 0]], dtype=bool),
        np.array([[1, 0, 1], [0, 0, 0]], dtype=np.float32),
    ],
)
def test_classes_may_be_named_or_marked(said: object) -> None:
    found = prepare(said, THREE)
    np.testing.assert_array_equal(found.said, [[1, 0, 1], [0, 0, 0]])
    assert not found.missing.any()


def test_probabilities_alone_say_the_classes_from_a_half_on() -> None:
    found = prepare([None, None], THREE, {"scores": [[0.5, 0.49, 0.9], None]})
    np.testing.assert_array_equal(found.said, [[1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(found.missing, [False, True])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([["dog"], ["cart"]], "of '1' names 'cart': did you mean 'cat'"),
        (["dog", []], "of '0' is 'dog': expected a list of class names.*dog, cat, cow"),
        ([[1, 0], []], r"of '0' is \[1, 0\]: expected .* 3 times 0 or 1"),
        ([[1, 0, 2], []], r"of '0' is \[1, 0, 2\]: expected"),
        ([[0.3, 0.9, 0.1], []], r"of '0' is \[0.3, 0.9, 0.1\]: expected"),
        ([["dog", 1], []], "expected a list of class names"),
        ([[], 7], "of '1' is 7: expected"),
        (np.array([[1, 0, 2], [0, 0, 0]]), r"of '0' is \[1, 0, 2\]: expected"),
    ],
)
def test_what_are_no_classes_is_refused_with_the_item_and_what_would_work(
    said: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        prepare(said, THREE)
    assert "\n" not in str(caught.value)


def test_probabilities_need_not_add_up_to_one_but_must_be_some() -> None:
    assert prepare([[], []], THREE, {"scores": np.full((2, 3), 0.9)}).scores is not None
    with pytest.raises(UsageError, match=r"scores of '1' hold 3.0: expected probabilities, 0 to 1"):
        prepare([[], []], THREE, {"scores": [[0.1] * 3, [0.1, 3.0, 0.2]]})


@pytest.mark.parametrize("name", RANKED)
def test_rankings_need_probabilities_of_all_items(name: str) -> None:
    metric = registry.load("metric", name)
    with pytest.raises(UsageError, match=rf"'{name}'.*no probabilities.*columns p:CLASS"):
        metric.measure(prepare([[], []], THREE))
    with pytest.raises(UsageError, match="1 of 2 items have no probabilities"):
        metric.measure(prepare([[], []], THREE, {"scores": [[0.1] * 3, None]}))
    never = items_of([[0, 0], [0, 0]], [[], []], [[0.1, 0.2], [0.3, 0.4]])
    with pytest.raises(UsageError, match="no class is right for some items"):
        metric.measure(never)


def test_right_classes_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"expected right classes of shape \(2, 3\), got \(2, 2\)"):
        prepare([[], []], MultilabelReferences(np.zeros((2, 2), bool), CLASSES))
