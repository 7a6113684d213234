"""Metrics of other libraries, by name: torchmetrics and evaluate; and the jackknife below them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmbench
from mmbench import registry
from mmbench.cli import _options
from mmbench.errors import IncompatibleError, MissingExtraError, UnknownNameError, UsageError
from mmbench.metrics import pseudo_values
from mmbench.metrics._evaluate_forms import direction
from mmbench.metrics._items.label import LabelItems
from mmbench.metrics._items.scalar import ScalarItems
from mmbench.metrics._items.text import TextItems
from mmbench.metrics._jackknife import jackknife
from mmbench.stats import crossed

DRAW = np.random.default_rng(5)
CLASSES = ("cat", "dog", "fox")


def labels(items: int = 150) -> LabelItems:
    truth = DRAW.integers(0, 3, items)
    logits = DRAW.normal(size=(items, 3)) + 1.5 * np.eye(3)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return LabelItems(truth, scores.argmax(axis=1), CLASSES, scores)


def numbers(items: int = 150) -> ScalarItems:
    truth = DRAW.normal(size=items)
    return ScalarItems(truth, truth + DRAW.normal(size=items))


LABELS, NUMBERS = labels(), numbers()
THREE = "task=multiclass, num_classes=3"
SAME = [
    (f"Accuracy({THREE}, average=micro)", "accuracy", LABELS),
    (f"F1Score({THREE}, average=macro)", "macro_f1", LABELS),
    ("MulticlassMatthewsCorrCoef(num_classes=3)", "mcc", LABELS),
    ("MeanSquaredError", "mse", NUMBERS),
    ("MeanSquaredError(squared=False)", "rmse", NUMBERS),
]


def of(name: str, items: Any) -> tuple[float, Any]:
    metric = registry.load("metric", name)
    rows = metric.measure(items)
    return metric.of(rows), np.asarray(pseudo_values(metric, rows))


# --- torchmetrics --------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "ours", "items"), SAME)
def test_value_and_spread_are_those_of_our_own_metric(call: str, ours: str, items: Any) -> None:
    theirs, spread = of(f"torchmetrics:{call}", items)
    value, expected = of(ours, items)
    assert theirs == pytest.approx(value, abs=1e-6)
    # Where the library computes in single precision, differences are that coarse.
    np.testing.assert_allclose(spread, expected, atol=2e-3)
    assert spread.std() == pytest.approx(expected.std(), rel=1e-3)


def test_what_keeps_lists_has_the_value_of_the_library_and_nearly_the_spread_of_theory() -> None:
    import torch
    from torchmetrics.classification import MulticlassAUROC

    value, spread = of("torchmetrics:MulticlassAUROC(num_classes=3)", LABELS)
    scores, truth = torch.from_numpy(LABELS.scores), torch.from_numpy(LABELS.truth)
    assert value == pytest.approx(float(MulticlassAUROC(num_classes=3)(scores, truth)), abs=1e-6)
    assert spread.mean() == pytest.approx(value, abs=1e-12)
    ours, expected = of("auroc", LABELS)
    assert value == pytest.approx(ours, abs=1e-6)
    assert spread.std() == pytest.approx(expected.std(), rel=0.05)


def test_key_takes_one_number_of_several() -> None:
    call = "torchmetrics:MulticlassRecall(num_classes=3, average=none{})"
    one = LABELS.said[LABELS.truth == 1]
    value = of(call.format(", key=1, higher_is_better=True"), LABELS)[0]
    assert value == pytest.approx(float(np.mean(one == 1)), abs=1e-6)
    with pytest.raises(UsageError, match="several numbers: choose one with key="):
        of(call.format(""), LABELS)


def test_a_slip_in_the_name_or_in_an_argument_is_told_with_the_near_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'MatthewsCorrCoef'"):
        registry.load("metric", "torchmetrics:MathewsCorrCoef(task=binary)")
    with pytest.raises(UnknownNameError, match="did you mean 'average'"):
        registry.load("metric", "torchmetrics:MulticlassF1Score(num_classes=3, averag=macro)")
    with pytest.raises(UnknownNameError, match="metric library 'torchmetric'"):
        registry.load("metric", "torchmetric:MeanSquaredError")


@pytest.mark.parametrize(
    "call",
    [
        "utilities.checks",
        "__import__('os')",
        "Accuracy(task=__import__('os').getcwd())",
        "Accuracy(**{'task': 'binary'})",
        "MeanSquaredError; print(1)",
        "[].append(1)",
    ],
)
def test_what_looks_like_code_is_refused(call: str) -> None:
    with pytest.raises(UsageError):
        registry.load("metric", f"torchmetrics:{call}")


@pytest.mark.parametrize(
    ("title", "need"),
    [
        ("FrechetInceptionDistance", "the pixels of images"),
        ("CLIPScore", "meshes, or images beside texts"),
        ("MeanAveragePrecision", "boxes"),
        ("SignalNoiseRatio", "waveforms"),
        ("BootStrapper", "another metric inside"),
        ("MeanMetric", "numbers that were computed before"),
        ("FleissKappa", "several raters"),
    ],
)
def test_what_compares_something_else_is_refused_with_what_it_needs(title: str, need: str) -> None:
    with pytest.raises(IncompatibleError, match=f"{title}.*needs {need}"):
        registry.load("metric", f"torchmetrics:{title}")


def test_a_direction_is_taken_from_the_library_and_nobody_may_contradict_it() -> None:
    assert not registry.load("metric", "torchmetrics:MeanSquaredError").higher_is_better
    assert registry.load("metric", "torchmetrics:R2Score").higher_is_better
    with pytest.raises(UsageError, match="it is False"):
        registry.load("metric", "torchmetrics:MeanSquaredError(higher_is_better=True)")
    with pytest.raises(UsageError, match="expected True or False, got 'yes'"):
        registry.load("metric", "torchmetrics:MeanSquaredError(higher_is_better=yes)")


# --- the jackknife -------------------------------------------------------------------------------


def mean_of(values: Any) -> Callable[[Any], float]:
    return lambda left: float(values[left].mean())


def test_pseudo_values_of_a_mean_are_the_numbers_themselves() -> None:
    values = DRAW.normal(size=300)
    whole, pseudo = jackknife(300, mean_of(values))
    assert whole == values.mean()
    np.testing.assert_allclose(pseudo, values, atol=1e-10)


def test_pseudo_values_of_any_value_are_those_of_leaving_out_one_item() -> None:
    values = DRAW.exponential(size=60)

    def spread(left: Any) -> float:
        return float(np.std(values[left]))

    without = np.array([spread(np.delete(np.arange(60), i)) for i in range(60)])
    whole, pseudo = jackknife(60, spread)
    raw = 60 * whole - 59 * without
    np.testing.assert_allclose(pseudo, raw - raw.mean() + whole, rtol=1e-12)


@pytest.mark.parametrize("size", [2, 1_400, 5_000, 20_001])
def test_the_mean_of_the_pseudo_values_is_the_value(size: int) -> None:
    values = DRAW.exponential(size=size)
    whole, pseudo = jackknife(size, lambda left: float(np.exp(values[left].mean())))
    assert pseudo.mean() == pytest.approx(whole, rel=1e-12)
    assert pseudo.std() > 0


def test_equal_items_are_left_out_once_with_the_same_result() -> None:
    values = DRAW.integers(0, 3, 400)
    calls: list[int] = []

    def value(left: Any) -> float:
        calls.append(len(left))
        return float(np.log1p(values[left].mean()))

    np.testing.assert_array_equal(jackknife(400, value, values)[1], jackknife(400, value)[1])
    assert len(calls) == (1 + 3) + (1 + 400)


def test_groups_of_items_have_the_variance_of_the_items() -> None:
    values = DRAW.normal(size=30_000)
    pseudo = jackknife(len(values), mean_of(values))[1]
    assert pseudo.var() == pytest.approx(values.var(), rel=0.5)  # of 100 groups


@pytest.mark.parametrize("units", [60, 2_000])
def test_the_interval_covers_the_truth_whether_items_are_left_out_alone_or_in_groups(
    units: int,
) -> None:
    draw, covered = np.random.default_rng(1), 0
    for _ in range(300):
        cluster = np.repeat(np.arange(units), draw.integers(1, 4, units))
        values = np.exp(0.5 * draw.normal(size=units))[cluster]

        def value(left: Any, values: Any = values) -> float:
            return float(np.log(values[left].mean()))

        pseudo = jackknife(len(values), value, clusters=cluster.tolist())[1]
        found = crossed.interval(pseudo[None], cluster.tolist())
        covered += found.low <= 0.125 <= found.high
    assert 0.92 <= covered / 300 <= 0.98


def test_two_models_keep_their_pairs_also_where_one_has_few_different_items() -> None:
    first = DRAW.integers(0, 2, 5_000).astype(float)
    shift = 0.01 * DRAW.normal(size=5_000)
    one = jackknife(5_000, mean_of(first), first.astype(np.int64))[1]
    two = jackknife(5_000, mean_of(first + shift))[1]
    assert (two - one).std() < 0.02 < one.std()
    np.testing.assert_allclose(two - one, jackknife(5_000, mean_of(shift))[1], atol=1e-9)


def test_clusters_are_left_out_together() -> None:
    cluster = np.repeat(np.arange(40), DRAW.integers(1, 8, 40))
    values = DRAW.normal(size=40)[cluster]
    size = len(cluster)
    whole, pseudo = jackknife(size, mean_of(values), clusters=[f"speaker {c}" for c in cluster])
    left_out = [float(values[cluster != c].mean()) for c in range(40)]
    sizes = np.bincount(cluster)
    sums = np.bincount(cluster, pseudo - whole)
    np.testing.assert_allclose(sums, (size - sizes) * (whole - np.array(left_out)), atol=1e-9)


@pytest.mark.parametrize("size", [3_000, 20_000])
def test_the_sum_over_clusters_has_the_variance_of_the_jackknife_of_groups(size: int) -> None:
    cluster = np.arange(size) // 4  # more clusters than groups
    values = DRAW.normal(size=size // 4)[cluster]
    whole, pseudo = jackknife(size, mean_of(values), clusters=list(cluster))
    sums = np.bincount(cluster, pseudo - whole)
    expected = np.bincount(cluster, values - values.mean())
    assert (sums**2).sum() == pytest.approx((expected**2).sum(), rel=0.5)
    alone = jackknife(size, mean_of(values))[1] - whole
    assert (np.bincount(cluster, alone) ** 2).sum() < 0.6 * (sums**2).sum()


def test_clusters_reach_a_metric_of_torchmetrics() -> None:
    metric = registry.load("metric", "torchmetrics:MulticlassAUROC(num_classes=3)")
    rows = metric.measure(LABELS)
    clusters = [i // 5 for i in range(len(rows))]
    value, pseudo = metric.whole(rows, clusters=clusters)
    assert pseudo.mean() == pytest.approx(value)
    assert len(np.unique(pseudo.round(12))) == 30


# --- evaluate ------------------------------------------------------------------------------------

MODULE = """
import datasets
import evaluate
import numpy as np


class Own(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="What was written for this test.\\nMore.",
            citation="",
            inputs_description="",
            features={features},
        )

    def _compute(self, predictions, references, factor=1):
        {body}
"""
VALUES = 'datasets.Features({{"predictions": datasets.Value("{0}"), "references": {1}}})'
LIST = 'datasets.Sequence(datasets.Value("string"))'
SCALAR = VALUES.format("float32", 'datasets.Value("float32")')
LABEL = VALUES.format("int32", 'datasets.Value("int32")')
ONE_TEXT = VALUES.format("string", 'datasets.Value("string")')
TEXTS = f"[{VALUES.format('string', LIST)}, {ONE_TEXT}]"
SQUARES = "d = np.subtract(predictions, references); "
ROOT = SQUARES + 'return {"root": factor * float(np.sqrt(np.mean(d * d))), "n": len(d)}'


@pytest.fixture(scope="module", autouse=True)
def modules_of_evaluate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What evaluate copies goes into a folder of the tests', and nothing is asked of a network."""
    import evaluate.config as config

    folder = str(tmp_path_factory.mktemp("modules"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "HF_MODULES_CACHE", folder)
        patch.setattr(config, "HF_EVALUATE_OFFLINE", True)
        patch.syspath_prepend(folder)
        yield


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what writes a module and returns what it is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_permitted", set())

    def make(features: str, body: str, arguments: str = "") -> str:
        name = f"own_{len(list(tmp_path.iterdir()))}_{tmp_path.name}"
        text = MODULE.replace("{features}", features).replace("{body}", body)
        Path(f"{name}.py").write_text(text, encoding="utf-8")
        return f"evaluate:./{name}.py" + (f"({arguments})" if arguments else "")

    return make


def test_a_module_of_the_users_runs_when_it_was_named_and_not_before(
    write: Callable[..., str],
) -> None:
    name = write(SCALAR, ROOT, "key=root, factor=2, higher_is_better=False")
    with pytest.raises(UsageError, match="is a path, and loading it runs its code"):
        registry.load("metric", name)
    assert _options.metric_name(name) == name
    metric = registry.load("metric", name)
    value, pseudo = of(name, NUMBERS)
    expected = of("rmse", NUMBERS)
    assert value == pytest.approx(2 * expected[0], rel=1e-9)
    assert pseudo.std() == pytest.approx(2 * expected[1].std(), rel=0.05)
    assert (metric.kind, metric.local, metric.higher_is_better) == ("scalar", False, False)
    assert metric.summary == "What was written for this test."
    assert not any("." in column for column in metric.columns)  # the store splits at the last one
    assert "factor:2" in metric.signature
    assert "module:" in metric.signature


def test_a_call_from_python_may_name_a_module_of_the_users(write: Callable[..., str]) -> None:
    name = write(
        TEXTS, 'return {"r": float(np.mean([p in r for p, r in zip(predictions, references)]))}'
    )
    name += "(higher_is_better=True)"
    said, truth = ["a", "b", "c"], [["a", "x"], ["y"], ["c"]]
    found = mmbench.score(said, truth, metrics=[name])
    assert found.scores[name].value == pytest.approx(2 / 3)
    assert found.scores[name].low < 2 / 3 < found.scores[name].high


def test_classes_go_in_by_number_and_equal_ones_are_computed_once(
    write: Callable[..., str], tmp_path: Path
) -> None:
    body = 'open("calls", "a").write("x"); return float(np.mean(np.equal(predictions, references)))'
    name = write(LABEL, body, "higher_is_better=True")
    registry.permit(name)
    value, pseudo = of(name, LABELS)
    ours, expected = of("accuracy", LABELS)
    assert value == pytest.approx(ours, rel=1e-12)
    np.testing.assert_allclose(pseudo, expected, atol=1e-9)
    assert len((tmp_path / "calls").read_text()) == 1 + len(
        np.unique(3 * LABELS.truth + LABELS.said)
    )


def test_a_module_with_one_reference_refuses_items_that_have_several(
    write: Callable[..., str],
) -> None:
    name = write(ONE_TEXT, "return float(predictions == references)", "higher_is_better=True")
    registry.permit(name)
    metric = registry.load("metric", name)
    assert metric.of(metric.measure(TextItems(["a", "b"], [("a",), ("b",)]))) == 1
    with pytest.raises(UsageError, match="compares with one reference, and items have up to 2"):
        metric.measure(TextItems(["a", "b"], [("a", "c"), ("b",)]))


@pytest.mark.parametrize(
    ("features", "body", "arguments", "message"),
    [
        (SCALAR, ROOT, "higher_is_better=True", "choose a number with key=, of: 'root', 'n'"),
        (SCALAR, ROOT, "key=rot, higher_is_better=True", "choose a number with key="),
        (SCALAR, ROOT, "key=root", "nobody says which values are better"),
        (SCALAR, ROOT, "key=root, higher_is_better=1", "expected True or False, got 1"),
        (SCALAR, ROOT, "2", "expected arguments by name"),
        (SCALAR, ROOT, "facto=2", "has no argument 'facto'; it has: factor, key"),
        (SCALAR, "return float('nan')", "higher_is_better=True", "is nan of these items"),
        (SCALAR, "return [1.0, 2.0]", "higher_is_better=True", "gives no number"),
        (
            SCALAR,
            "return 1.0",
            "key=a, higher_is_better=True",
            "a number without a name|one number",
        ),
        (SCALAR, "raise KeyError('gone')", "higher_is_better=True", "KeyError: 'gone'"),
        (SCALAR + "[", ROOT, "higher_is_better=True", "SyntaxError"),
        ('datasets.Features({"texts": datasets.Value("string")})', ROOT, "", "compares texts of"),
        (VALUES.format("int32", 'datasets.Value("string")'), ROOT, "", "of a form that no output"),
    ],
)
def test_what_a_module_cannot_do_is_one_line(
    write: Callable[..., str], features: str, body: str, arguments: str, message: str
) -> None:
    name = write(features.replace("{{", "{").replace("}}", "}"), body, arguments)
    registry.permit(name)
    with pytest.raises(UsageError, match=message) as caught:
        of(name, NUMBERS)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_none_of_the_librarys_own_is_refused(write: Callable[..., str]) -> None:
    for call in ("someone/rouge", "../rouge", "rouge.py", "sub\\rouge"):
        with pytest.raises(UsageError, match="is a path"):
            registry.load("metric", f"evaluate:{call}")
    for call in ("Rouge", "rouge-l", "", "(key=a)"):
        with pytest.raises(UsageError, match="expected the name of a module"):
            registry.load("metric", f"evaluate:{call}")
    _options.metric_name("evaluate:./none")
    with pytest.raises(UsageError, match=r"there is no \./none"):
        registry.load("metric", "evaluate:./none")


def test_the_command_line_may_name_a_module_and_a_definition_may_not(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmbench.cli import run_cli

    name = write(ONE_TEXT, 'return {"first": float(predictions[0] == references[0])}')
    name += "(higher_is_better=True)"
    lines = [f'{{"id": "{i}", "prediction": "a", "reference": "a"}}' for i in range(3)]
    (tmp_path / "said.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UsageError, match=r"as --metric evaluate:\./own"):
        registry.load("metric", name)
    assert run_cli(["score", "said.jsonl", "--metric", name]) == 0
    assert "1.000" in capsys.readouterr().out


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(MissingExtraError, match=r"evaluate, which .* needs, .*mmbench\[metrics\]"):
        registry.load("metric", "evaluate:bleu")
    with pytest.raises(MissingExtraError, match="evaluate, which as_evaluate needs"):
        mmbench.as_evaluate("wer")


def test_a_file_that_evaluate_would_take_for_one_of_its_own_is_not_run(
    write: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "sari").mkdir()
    (tmp_path / "sari" / "sari.py").write_text("raise SystemExit", encoding="utf-8")
    with pytest.raises(UsageError, match="'sari' lies in the working folder"):
        registry.load("metric", "evaluate:sari")


def test_a_module_that_is_nowhere_is_one_line(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import evaluate

    def nowhere(*given: Any, **named: Any) -> None:
        raise FileNotFoundError("Couldn't find a module script\nanywhere")

    monkeypatch.setattr(evaluate, "load", nowhere)
    with pytest.raises(UsageError, match="neither in its cache nor online"):
        registry.load("metric", "evaluate:no_such_module_at_all")


def test_directions_of_the_librarys_own_modules_are_known_and_not_contradicted() -> None:
    assert not direction("m", "wer", None, None)
    assert direction("m", "rouge", "rougeL", None)
    with pytest.raises(UsageError, match="it is False"):
        direction("m", "wer", None, True)
    with pytest.raises(UsageError, match="nobody says"):
        direction("m", "bleu", "length_ratio", None)
    with pytest.raises(UsageError, match="nobody says"):
        direction("m", "./wer.py", None, None)
