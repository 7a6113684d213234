"""`mmbench.as_evaluate`: our metrics where modules of evaluate are expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mmbench
from mmbench import registry
from mmbench.errors import IncompatibleError, UnknownNameError

SAID = ["a dog runs on the beach", "two men play chess", "a red bus"]
TRUTH = [["a dog runs along the beach", "a brown dog"], ["two old men play chess"], ["a cat"]]
FIRST = [texts[0] for texts in TRUTH]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for what evaluate keeps in the user's home."""
    import evaluate

    folder = tmp_path / "home"
    folder.mkdir()
    for setting in ("HF_METRICS_CACHE", "HF_EVALUATE_CACHE", "HF_MODULES_CACHE"):
        monkeypatch.setattr(evaluate.config, setting, str(folder / setting))
    return folder


def expected(name: str, said: Any, truth: Any, **named: Any) -> dict[str, float]:
    found = mmbench.score(said, truth, metrics=[name], **named).scores[name]
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


@pytest.mark.parametrize(
    ("name", "said", "truth"),
    [
        ("rouge_l", SAID, TRUTH),
        ("rouge_l", SAID, FIRST),
        ("wer(normalizer=english)", SAID, FIRST),
        ("accuracy", [0, 1, 2, 1], [0, 1, 1, 1]),
        ("macro_f1", ["cat", "dog", "cat"], ["cat", "dog", "dog"]),
        ("mse", [0.5, 1.0, 2.0], [1.0, 1.0, 4.0]),
    ],
)
def test_every_way_of_computing_gives_what_mmbench_says(name: str, said: Any, truth: Any) -> None:
    module, wanted = mmbench.as_evaluate(name), expected(name, said, truth)
    assert module.compute(predictions=said, references=truth) == wanted
    for prediction, reference in zip(said, truth, strict=True):
        module.add(prediction=prediction, reference=reference)
    assert module.compute() == wanted
    module.add_batch(predictions=said[:2], references=truth[:2])
    module.add_batch(predictions=said[2:], references=truth[2:])
    assert json.loads(json.dumps(module.compute())) == wanted


def test_it_is_a_metric_of_the_library_and_can_be_combined() -> None:
    import evaluate

    both = [mmbench.as_evaluate("rouge_l"), mmbench.as_evaluate("bleu1")]
    assert all(isinstance(module, evaluate.Metric) for module in both)
    assert [module.name for module in both] == ["rouge_l", "bleu1"]
    found = evaluate.combine(both).compute(predictions=SAID, references=TRUTH)
    assert found == expected("rouge_l", SAID, TRUTH) | expected("bleu1", SAID, TRUTH)
    twice = evaluate.combine([both[0], mmbench.as_evaluate("rouge_l")])
    assert "rouge_l_0_rouge_l" in twice.compute(predictions=SAID, references=TRUTH)


def test_clusters_are_handed_on() -> None:
    truth = [0, 1, 1, 1, 0, 1]
    said, clusters = [0, 1, 0, 1, 1, 1], ["a", "a", "b", "b", "c", "c"]
    module = mmbench.as_evaluate("accuracy")
    found = module.compute(predictions=said, references=truth, clusters=clusters)
    assert found == expected("accuracy", said, truth, clusters=clusters)
    assert found != expected("accuracy", said, truth)


@pytest.mark.parametrize(
    ("name", "lacking"), [("nll", "probabilities"), ("slot_f1", "slots"), ("ece", "probabilities")]
)
def test_what_needs_more_than_answers_is_refused_when_it_is_made(name: str, lacking: str) -> None:
    with pytest.raises(IncompatibleError, match=rf"as_evaluate: metric '{name}': .*{lacking}"):
        mmbench.as_evaluate(name)


@pytest.mark.parametrize("kind", ["text", "label", "scalar"])
def test_all_others_can_be_made(kind: str) -> None:
    made = 0
    for name in registry.names("metric"):
        metric = registry.load("metric", name)
        if metric.kind == kind and name not in {"meteor", "spice"}:
            try:
                made += mmbench.as_evaluate(name).name == name
            except IncompatibleError as error:
                assert "probabilities" in str(error) or "slots" in str(error)  # noqa: PT017
    assert made >= 8


def test_what_has_no_form_there_and_what_nobody_knows_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="kind 'match', which evaluate has no form for"):
        mmbench.as_evaluate("recall_at_1")
    with pytest.raises(UnknownNameError, match="did you mean 'rouge_l'"):
        mmbench.as_evaluate("rouge_k")


def test_the_function_stays_a_function_and_nothing_is_left_in_the_home(home: Path) -> None:
    for _ in range(2):
        module = mmbench.as_evaluate("mse")
        module.compute(predictions=[1.0, 2.0], references=[1.0, 3.0])
    assert not list(home.rglob("*"))
    assert not Path(module.data_dir).exists()
    assert "as_evaluate" in dir(mmbench)
