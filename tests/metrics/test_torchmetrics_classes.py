"""Every class of torchmetrics: scored as the library scores it, or refused with a reason."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest

from mmbench import registry
from mmbench.errors import IncompatibleError, MissingExtraError, MmbenchError, UsageError
from mmbench.metrics import Metric, influence, perfect, prepare, pseudo_values
from mmbench.metrics._items.label import LabelItems
from mmbench.metrics._items.text import TextItems
from mmbench.metrics._torchmetrics import classes, known
from mmbench.references import (
    LabelReferences,
    MatchReferences,
    MultilabelReferences,
    ScalarReferences,
    TextReferences,
)

N = 40
DRAW = np.random.default_rng(3)
CLASSES = ("cat", "dog", "fox")
WORDS = ["a", "red", "cube", "left", "of", "the", "blue", "ball", "under", "one", "green", "box"]

#: Arguments that a class cannot do without; of those that give several numbers, which is meant.
FIXED = {
    "PrecisionAtFixedRecall": "min_recall=.9",
    "RecallAtFixedPrecision": "min_precision=.9",
    "SensitivityAtSpecificity": "min_specificity=.9",
    "SpecificityAtSensitivity": "min_sensitivity=.9",
}
ARGUMENTS = {
    "ClusterAccuracy": "num_classes=3",
    "BinaryFBetaScore": "beta=.5",
    "CriticalSuccessIndex": "threshold=.5",
    "MinkowskiDistance": "p=3",
    "MulticlassEER": "num_classes=3, average=macro",
    "MulticlassFBetaScore": "num_classes=3, beta=.5",
    "MulticlassLogAUC": "num_classes=3, average=macro",
    "MultilabelEER": "num_labels=3, key=1",
    "MultilabelFBetaScore": "num_labels=3, beta=.5",
    "MultilabelLogAUC": "num_labels=3, average=macro",
    "ROUGEScore": "rouge_keys=rougeL, key=rougeL_fmeasure",
    "SQuAD": "key=f1",
    **{f"Binary{name}": f"{given}, key=0" for name, given in FIXED.items()},
    **{f"Multiclass{n}": f"num_classes=3, {a}, key=(0, 1)" for n, a in FIXED.items()},
    **{f"Multilabel{n}": f"num_labels=3, {a}, key=(0, 2)" for n, a in FIXED.items()},
}
#: What is no number: curves and tables, and the packages of others that are missing here.
NO_NUMBER = {"ConfusionMatrix", "PrecisionRecallCurve", "ROC", "StatScores"}
NOT_INSTALLED = ("ClusterAccuracy",)
#: What takes classes; other classes of classification need probabilities.
BY_CLASS = {
    "Accuracy",
    "CohenKappa",
    "ExactMatch",
    "F1Score",
    "FBetaScore",
    "HammingDistance",
    "JaccardIndex",
    "MatthewsCorrCoef",
    "NegativePredictiveValue",
    "Precision",
    "Recall",
    "Specificity",
}
#: The same and other forms of classes: probabilities for classes, bins for lists.
FURTHER = [
    "Accuracy(task=multiclass, num_classes=3, top_k=2)",
    "Accuracy(task=binary)",
    "F1Score(task=multilabel, num_labels=3, average=weighted)",
    "BinaryF1Score(threshold=.3)",
    "MultilabelF1Score(num_labels=3, threshold=.7)",
    "MulticlassF1Score(num_classes=3, average=weighted, ignore_index=1)",
    "BinaryAUROC(thresholds=20)",
    "MulticlassAUROC(num_classes=3, thresholds=20)",
    "MulticlassRecall(num_classes=3, average=none, key=2)",
    "MultilabelAUROC(num_labels=3, average=micro)",
    "MeanSquaredError(squared=False)",
    "BLEUScore(n_gram=2, smooth=True)",
    "SacreBLEUScore(tokenize=char, lowercase=True)",
    "CHRFScore(n_word_order=0)",
    "RetrievalRecall(top_k=5)",
    "RetrievalNormalizedDCG(top_k=10)",
]


@cache
def data() -> dict[str, Any]:
    """Items by kind, and the same as the library takes them: predictions and references."""
    import torch

    def label(classes: int) -> tuple[Any, Any]:
        truth = DRAW.integers(0, classes, N)
        scores = DRAW.dirichlet(np.ones(classes), N) + 0.1 * np.eye(classes)[truth]
        scores /= scores.sum(axis=1, keepdims=True)
        references = LabelReferences(truth, CLASSES[:classes])
        items = prepare(scores.argmax(axis=1), references, {"scores": scores})
        chances = torch.from_numpy(scores if classes > 2 else scores[:, 1])
        return items, (torch.from_numpy(items.said), chances, torch.from_numpy(truth))

    truth = DRAW.random((N, 3)) < 0.5
    scores = np.clip(DRAW.random((N, 3)) + 0.3 * truth, 0, 1)
    sets = prepare([None] * N, MultilabelReferences(truth, CLASSES), {"scores": scores})
    right = DRAW.gamma(2, 1, N)
    number = prepare(right + DRAW.gamma(1, 0.5, N), ScalarReferences(right))
    one = [texts(1) for _ in range(N)]
    said = [noisy(first) for (first,) in one]
    two = [(first, noisy(first)) for (first,) in one]
    relevant = [tuple(range(2 * i, 2 * i + 1 + i % 2)) for i in range(N)]
    similar = DRAW.normal(size=(N, 100))
    for query, entries in enumerate(relevant):
        similar[query, list(entries)] += 1.5
    match = prepare([None] * N, MatchReferences(relevant, 100), {"scores": similar})
    matched = torch.zeros((N, 100), dtype=torch.long)
    matched[match.query, match.entry] = 1
    queries = torch.arange(N).repeat_interleave(100)
    scored = torch.from_numpy(scores)
    return {
        "binary": label(2),
        "label": label(3),
        "multilabel": (
            sets,
            ((scored >= 0.5).long(), scored, torch.from_numpy(truth).long()),
        ),
        "scalar": (number, (torch.from_numpy(number.said), torch.from_numpy(right))),
        "text": (prepare(said, TextReferences(two)), (said, [list(texts) for texts in two])),
        "one text": (prepare(said, TextReferences(one)), (said, [first for (first,) in one])),
        "match": (
            match,
            (torch.from_numpy(similar).sigmoid().flatten(), matched.flatten(), queries),
        ),
    }


def texts(count: int) -> tuple[str, ...]:
    return tuple(" ".join(DRAW.choice(WORDS, DRAW.integers(5, 10))) for _ in range(count))


def noisy(text: str) -> str:
    return " ".join(w if DRAW.random() > 0.2 else str(DRAW.choice(WORDS)) for w in text.split())


def titles() -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sorted({title for domain in known.KINDS for title in classes._exported(domain)})


def is_for_a_task(title: str) -> bool:
    """Whether it is one of the classes that stand for three: ``Accuracy(task=binary)``."""
    return f"Binary{title}" in TITLES or f"Multilabel{title}" in TITLES


TITLES = titles()
SCORED = [
    title
    for title in TITLES
    if title not in known.LACKING
    and classes.plain(title) not in NO_NUMBER
    and title not in NOT_INSTALLED
    and not is_for_a_task(title)
]


def call_of(title: str) -> str:
    default = ""
    if title.startswith("Multiclass") or title in classes._exported("nominal"):
        default = "num_classes=3"
    if title.startswith("Multilabel"):
        default = "num_labels=3"
    given = ARGUMENTS.get(title, default)
    return f"{title}({given})" if given else title


CALLS = [call_of(title) for title in SCORED] + FURTHER


def load(call: str) -> Metric:
    found = registry.load("metric", f"torchmetrics:{call}")
    assert isinstance(found, Metric)
    return found


def corpus(metric: Metric) -> str:
    made = type_of(metric)
    if metric.kind == "label" and made.startswith("Binary"):
        return "binary"
    return "one text" if metric.kind == "text" and metric.check(data()["text"][0]) else metric.kind


def type_of(metric: Metric) -> str:
    return type(library(metric)).__name__


def library(metric: Metric) -> Any:
    """Return the library's own metric, made as anybody would."""
    title, given, named = registry.parse_call(metric.name.partition(":")[2])
    named = {key: v for key, v in named.items() if key not in ("key", "higher_is_better")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps all it is given
        return classes.find(title).cls(*given, **named)


def of_the_library(metric: Metric) -> float:
    """Return the value that the library computes of all items in single precision."""
    _, _, named = registry.parse_call(metric.name.partition(":")[2])
    theirs, where = library(metric), corpus(metric)
    inputs = data()[where][1]
    if where in ("binary", "label", "multilabel"):
        said, scores, truth = inputs
        labelled = type(theirs).__module__.startswith("torchmetrics.classification")
        by_class = not labelled or classes.plain(type(theirs).__name__) in BY_CLASS
        asked = "threshold" in named or named.get("top_k", 1) > 1
        theirs.update(said if by_class and not asked else scores.float(), truth)
    elif type(theirs).__name__ == "SQuAD":
        theirs.update(
            [{"id": text, "prediction_text": text} for text in inputs[0]],
            [
                {"id": text, "answers": {"answer_start": [0], "text": right}}
                for text, right in zip(*inputs, strict=True)
            ],
        )
    else:
        theirs.update(*inputs)
    found, key = theirs.compute(), named.get("key")
    for step in key if isinstance(key, tuple) else () if key is None else (key,):
        found = found[step]
    return float(found)


@pytest.mark.filterwarnings("ignore")  # those of the library itself, called by itself
@pytest.mark.parametrize("call", CALLS)
def test_the_value_is_that_of_the_library_and_the_pseudo_values_average_to_it(call: str) -> None:
    metric = load(call)
    rows = metric.measure(data()[corpus(metric)][0])
    value, pseudo = metric.of(rows), pseudo_values(metric, rows)
    assert value == pytest.approx(of_the_library(metric), rel=2e-5, abs=1e-6)
    assert pseudo.mean() == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert not any("." in column for column in metric.columns)  # the store splits at the last one
    low, high = metric.bounds
    assert low is None or value >= low
    assert high is None or value <= high


@pytest.mark.parametrize("call", CALLS)
def test_an_item_moves_the_value_as_much_as_its_weight_does(call: str) -> None:
    metric = load(call)
    if metric.value is None:
        pytest.skip("is no function of sums")
    rows = np.asarray(metric.measure(data()[corpus(metric)][0]))
    sums, step = rows.sum(axis=0), 0.02
    moved = (metric.of_sums(sums + step * rows) - metric.of_sums(sums - step * rows)) / (2 * step)
    np.testing.assert_allclose(influence(metric, rows), moved - moved.mean(), rtol=0.02, atol=2e-5)


@pytest.mark.parametrize("call", CALLS)
def test_rows_of_some_items_are_the_rows_that_these_items_have_alone(call: str) -> None:
    metric = load(call)
    if metric.kind == "match":
        pytest.skip("the gallery stays whole")
    items = data()[corpus(metric)][0]
    few = DRAW.permutation(N)[:15]
    rows = np.asarray(metric.measure(items))[few]
    alone = np.asarray(metric.measure(take(items, few)))
    np.testing.assert_allclose(rows, alone, rtol=1e-12, atol=1e-12)


def take(items: Any, index: Any) -> Any:
    if isinstance(items, TextItems):
        return TextItems(
            *[[part[i] for i in index] for part in (items.predictions, items.references)]
        )
    fields = {
        name: value[index] if isinstance(value, np.ndarray) else value
        for name, value in vars(items).items()
        if name in type(items).__dataclass_fields__
    }
    return type(items)(**fields)


def test_no_class_is_forgotten() -> None:
    for title in set(TITLES) - set(SCORED):
        reason = {
            True: "missing . required positional arguments?: 'task'",
            title in known.LACKING: "needs ",
            classes.plain(title) in NO_NUMBER
            and not is_for_a_task(title): "several numbers|does not say",
            title in NOT_INSTALLED: "torch_linear_assignment",
        }[True]
        with pytest.raises(MmbenchError, match=reason) as caught:
            load(call_of(title))
        assert "\n" not in str(caught.value)


def test_bounds_of_plots_are_not_taken_for_bounds() -> None:
    worse = TextReferences([("one",), ("two",)])
    metric = load("WordErrorRate")
    value = metric.of(metric.measure(prepare(["one or the other", "not two"], worse)))
    assert metric.bounds == (0.0, None)
    assert value > 1
    assert load("ExplainedVariance").bounds == (None, 1.0)
    assert load("PearsonCorrCoef").bounds == (-1.0, 1.0)


@pytest.mark.parametrize("call", CALLS)
def test_saying_what_is_right_is_better_and_reaches_the_bound(call: str) -> None:
    metric = load(call)
    items = data()[corpus(metric)][0]
    said, right = (metric.of(metric.measure(one)) for one in (items, at_best(items)))
    if call in EQUAL_AT_BEST:
        assert right == pytest.approx(said)
    else:
        assert right > said if metric.higher_is_better else right < said
    bound = metric.bounds[1 if metric.higher_is_better else 0]
    if bound is not None and call.partition("(")[0] not in BEST_IS_NOT_THE_BOUND:
        assert right == pytest.approx(bound, abs=1e-6)


#: What looks at all entries, in whatever order.
EQUAL_AT_BEST = (
    "RetrievalFallOut",
    "RetrievalHitRate",
    "RetrievalPrecision",
    "RetrievalRecall",
)
#: Where not even the right answer reaches what is proven of all.
BEST_IS_NOT_THE_BOUND = (
    "BinaryHingeLoss",
    "MultilabelCoverageError",
    "RetrievalFallOut",
    "RetrievalPrecision",
)


def at_best(items: Any) -> Any:
    """Return items whose references are the same and whose answers are right."""
    references = {
        "LabelItems": lambda: LabelReferences(items.truth, items.classes),
        "MultilabelItems": lambda: MultilabelReferences(items.truth, items.classes),
        "ScalarItems": lambda: ScalarReferences(items.truth),
        "TextItems": lambda: TextReferences(items.references),
        "MatchItems": lambda: MatchReferences(
            [tuple(items.entry[items.query == q].tolist()) for q in range(len(items))], 100
        ),
    }[type(items).__name__]()
    return prepare(perfect(references), references)


# --- parity with our own -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "ours", "where"),
    [
        ("PearsonCorrCoef", "pearson", "scalar"),
        ("SpearmanCorrCoef", "spearman", "scalar"),
        ("MeanAbsoluteError", "mae", "scalar"),
        ("CharErrorRate", "cer(normalizer=none)", "one text"),
        ("WordErrorRate", "wer(normalizer=none)", "one text"),
        ("SacreBLEUScore", "sacrebleu", "text"),
        ("RetrievalMRR", "mrr", "match"),
        ("RetrievalMAP", "retrieval_map", "match"),
    ],
)
def test_value_and_standard_error_are_nearly_those_of_our_own(
    call: str, ours: str, where: str
) -> None:
    def scored(metric: Metric) -> tuple[float, float]:
        rows = metric.measure(data()[where][0])
        return metric.of(rows), float(pseudo_values(metric, rows).std(ddof=1))

    (value, spread), (expected, known_spread) = scored(load(call)), scored(own(ours))
    scale = expected / value if ours == "sacrebleu" else 1.0  # theirs is a share, ours of 100
    assert scale in (1.0, pytest.approx(100.0, rel=1e-9))
    assert value * scale == pytest.approx(expected, rel=1e-6)
    # Ours is the infinitesimal jackknife; theirs leaves items out where the states do not add up.
    additive = load(call).value is not None
    assert spread * scale == pytest.approx(known_spread, rel=1e-6 if additive else 0.2)


def own(name: str) -> Metric:
    found = registry.load("metric", name)
    assert isinstance(found, Metric)
    return found


def test_similarities_below_zero_and_rankings_count_by_their_order() -> None:
    relevant = MatchReferences([(0,), (1, 2)], 3)
    similar = np.array([[-0.1, -0.5, -0.9], [-0.2, -0.3, -0.4]])
    scored = prepare([None, None], relevant, {"scores": similar})
    ranked = prepare([[0, 1, 2], [0, 1, 2]], relevant)
    vectors = {"embedding": -np.eye(2, 3), "gallery": np.eye(3)}
    embedded = prepare([None, None], relevant, vectors)
    for call, values in (
        ("RetrievalMRR", (1.0, 0.5)),
        ("RetrievalRecall(top_k=2)", (1.0, 0.5)),
        ("RetrievalPrecision(top_k=2)", (0.5, 0.5)),
        ("RetrievalMAP", (1.0, (1 / 2 + 2 / 3) / 2)),
    ):
        metric = load(call)
        for items in (scored, ranked):
            np.testing.assert_allclose(metric.measure(items)[:, 0], values, rtol=1e-7)
    # Query 0 points away from entry 0 and so finds it last.
    assert load("RetrievalMRR").measure(embedded)[0, 0] == pytest.approx(1 / 3)
    with pytest.raises(UsageError, match="rankings stop before all right answers"):
        load("RetrievalMRR").measure(prepare([[0], [1]], relevant))


# --- what cannot be scored -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "where", "message"),
    [
        ("MulticlassF1Score(num_classes=4)", "label", "asked for with 4 classes, .* has 3: cat"),
        ("MultilabelF1Score(num_labels=2)", "multilabel", "asked for with 2 classes"),
        ("BinaryF1Score", "label", "is for 2 classes, but the output has 3"),
        ("WordErrorRate", "text", "compares with one reference, and items have up to 2"),
        ("RetrievalMAP(aggregation=median)", "match", "aggregation=median is no mean"),
    ],
)
def test_items_that_do_not_fit_are_refused_with_the_reason(
    call: str, where: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load(call).measure(data()[where][0])


def test_missing_answers_and_missing_probabilities_are_refused() -> None:
    one = LabelReferences(np.array([0, 1, 2]), CLASSES)
    silent = prepare([0, None, 1], one)
    with pytest.raises(UsageError, match="1 items have no answer"):
        load("MulticlassF1Score(num_classes=3)").measure(silent)
    with pytest.raises(UsageError, match=r"needs probabilities: .* column 'scores'"):
        load("MulticlassAUROC(num_classes=3)").measure(silent)
    with pytest.raises(UsageError, match="1 items have no answer, and no number is as bad"):
        load("R2Score").measure(prepare([1.0, None], ScalarReferences(np.array([1.0, 2.0]))))


@pytest.mark.parametrize(
    "call", [c for c in CALLS if c.partition("(")[0] in classes._exported("text")]
)
def test_an_empty_text_is_never_perfect(call: str) -> None:
    references = TextReferences([("a red cube on a box",), ("the ball on the floor",)])
    metric = load(call)
    best = metric.of(metric.measure(prepare(perfect(references), references)))
    empty = prepare(["", "the ball on the floor"], references)
    if call.startswith(("CHRFScore", "TranslationEditRate")):
        with pytest.raises(UsageError, match="1 texts are empty, which torchmetrics takes for pe"):
            metric.measure(empty)
    else:
        worse = metric.of(metric.measure(empty))
        assert worse < best if metric.higher_is_better else worse > best


def test_a_text_of_which_nothing_is_left_counts_as_empty() -> None:
    references = TextReferences([("a cube",), ("a ball",)])
    with pytest.raises(UsageError, match="1 texts are empty"):
        load("TranslationEditRate(no_punctuation=True)").measure(prepare(["?!", "a"], references))


def test_a_tokeniser_that_would_be_downloaded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.functional.text import sacre_bleu

    monkeypatch.setattr(sacre_bleu, "_SENTENCEPIECE_AVAILABLE", True)
    with pytest.raises(UsageError, match="flores200 downloads a model; take 13a"):
        load("SacreBLEUScore(tokenize=flores200)").measure(data()["text"][0])


def test_states_that_do_not_add_up_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.regression import MeanSquaredError

    def update(self: Any, preds: Any, target: Any) -> None:
        self.sum_squared_error = self.sum_squared_error + (preds - target).sum() ** 2
        self.total = self.total + len(preds)

    monkeypatch.setattr(MeanSquaredError, "update", update)
    with pytest.raises(UsageError, match="do not add up over items"):
        registry._foreign.__wrapped__("torchmetrics", "MeanSquaredError").measure(
            data()["scalar"][0]
        )


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(MissingExtraError, match=r"torchmetrics, which .*mmbench\[metrics\]"):
        registry._foreign.__wrapped__("torchmetrics", "R2Score")


def test_classes_of_the_library_that_need_what_is_nowhere_say_what_it_is() -> None:
    for title in sorted(set(known.LACKING) - {"MulticlassExactMatch"}):
        with pytest.raises(IncompatibleError, match=f"'torchmetrics:{title}': needs "):
            load(title)
    with pytest.raises(IncompatibleError, match="several answers for each item"):
        load("ExactMatch(task=multiclass, num_classes=3)")


# --- many items, many classes --------------------------------------------------------------------


def test_many_items_of_few_classes_go_through_the_library_once_a_cell() -> None:
    truth = DRAW.integers(0, 3, 300_000)
    said = np.where(DRAW.random(300_000) < 0.7, truth, DRAW.integers(0, 3, 300_000))
    metric = load("MulticlassF1Score(num_classes=3)")
    rows = metric.measure(LabelItems(truth, said, CLASSES))
    assert rows.shape == (300_000, 12)
    ours = own("macro_f1")
    expected = ours.measure(LabelItems(truth, said, CLASSES))
    assert metric.of(rows) == pytest.approx(ours.of(expected), rel=1e-12)
    np.testing.assert_allclose(
        pseudo_values(metric, rows), pseudo_values(ours, expected), rtol=1e-6, atol=1e-7
    )


def test_more_classes_than_sums_are_worth_take_the_jackknife() -> None:
    truth = DRAW.integers(0, 150, 400)
    said = np.where(DRAW.random(400) < 0.7, truth, DRAW.integers(0, 150, 400))
    items = LabelItems(truth, said, tuple(f"class {place}" for place in range(150)))
    metric = load("MulticlassAccuracy(num_classes=150, average=micro)")
    wide = load("MulticlassJaccardIndex(num_classes=150, average=micro)")
    assert metric.value is not None
    assert wide.whole is not None
    rows = wide.measure(items)
    assert rows.shape == (400, 2)
    share = np.mean(truth == said)
    assert metric.of(metric.measure(items)) == pytest.approx(share, rel=1e-12)
    assert wide.of(rows) == pytest.approx(share / (2 - share), rel=1e-6)
    assert np.isfinite(pseudo_values(wide, rows)).all()
