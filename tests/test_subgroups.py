"""Scores of subgroups: from stored statistics where they suffice, anew where they do not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mmbench import registry
from mmbench.references import LabelReferences, TextReferences
from mmbench.scoring import score
from mmbench.subgroups import subgroups
from mmbench.types import Predictions

OUTPUT = "answer"


def labelled(items: int = 300) -> tuple[Predictions, LabelReferences, list[str]]:
    draw = np.random.default_rng(5)
    truth = draw.integers(0, 3, items)
    said = np.where(draw.random(items) < 0.7, truth, draw.integers(0, 3, items))
    rows = draw.dirichlet([1, 1, 1], items)
    predictions = Predictions(
        [f"clip{k}" for k in range(items)], {OUTPUT: said}, {f"{OUTPUT}.scores": rows}
    )
    references = LabelReferences(truth, ("a", "b", "c"))
    return predictions, references, [("north", "south", "west")[k % 3] for k in range(items)]


def part(predictions: Predictions, index: list[int]) -> Predictions:
    return Predictions(
        [predictions.ids[k] for k in index],
        {name: values[index] for name, values in predictions.outputs.items()},  # type: ignore[call-overload]
        {name: values[index] for name, values in predictions.columns.items()},  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mcc", "auroc", "nll", "ece"])
@pytest.mark.parametrize("clustered", [False, True])
def test_a_subgroup_scores_as_if_there_were_nothing_else(metric: str, clustered: bool) -> None:
    predictions, references, labels = labelled()
    units = [k // 4 for k in range(len(labels))] if clustered else None
    scored = score(predictions, {OUTPUT: references}, OUTPUT, [metric], units)
    found = subgroups(
        scored, predictions, references, OUTPUT, labels, ["south", "north", "west"], units
    )
    assert [group.name for group in found] == ["south", "north", "west"]
    for group in found:
        index = [k for k, label in enumerate(labels) if label == group.name]
        own = None if units is None else [units[k] for k in index]
        truth = {OUTPUT: references.take(index)}
        alone = score(part(predictions, index), truth, OUTPUT, [metric], own).scores[metric]
        got = group.scores[metric]
        assert (got.n, group.items, group.reasons) == (100, 100, {})
        for key in ("value", "low", "high", "se", "df"):
            assert getattr(got, key) == pytest.approx(getattr(alone, key), abs=1e-12), key


def test_document_frequencies_stay_those_of_all_items() -> None:
    texts = ["a dog runs on sand", "a cat sleeps on a mat", "two men play chess", "a red bus"] * 5
    predictions = Predictions([str(k) for k in range(20)], {OUTPUT: texts})
    references = TextReferences([(text,) for text in texts])
    scored = score(predictions, {OUTPUT: references}, OUTPUT, ["cider_d"])
    labels = ["x"] * 10 + ["y"] * 10
    found = subgroups(scored, predictions, references, OUTPUT, labels, ["x", "y"])
    rows = scored.statistics["cider_d"].rows[:, 0]
    assert [g.scores["cider_d"].value for g in found] == pytest.approx(
        [rows[:10].mean(), rows[10:].mean()]
    )


@pytest.mark.parametrize("units", [None, ["s", "s", "t", "t"]])
def test_a_single_unit_has_a_value_and_no_interval(units: list[str] | None) -> None:
    predictions = Predictions(["a", "b", "c", "d"], {OUTPUT: np.array([0, 1, 1, 1])})
    references = LabelReferences(np.array([0, 1, 0, 1]), ("x", "y"))
    scored = score(predictions, {OUTPUT: references}, OUTPUT, ["accuracy"], units)
    labels = ["one", "rest", "rest", "rest"] if units is None else ["one", "one", "rest", "rest"]
    one, rest = subgroups(scored, predictions, references, OUTPUT, labels, ["one", "rest"], units)
    got = one.scores["accuracy"]
    assert (got.value, got.n) == (1.0, 1 if units is None else 2)
    assert all(math.isnan(x) for x in (got.low, got.high, got.se, got.df))
    if units is None:
        assert math.isfinite(rest.scores["accuracy"].low)


OWN = """
from mmbench.metrics import metric

def few(items):
    return "needs ten items" if len(items) < 10 else ""

@metric(kind="label", local=False, check=few)
def share_of_all(items):
    return [float(a == b) / len(items) for a, b in zip(items.said, items.truth)]
"""


@pytest.mark.usefixtures("own_components")
def test_what_cannot_be_scored_says_why_and_the_other_subgroups_are_scored(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    registry.include(tmp_path / "own.py")
    predictions, references, _ = labelled(30)
    labels = ["few"] * 5 + ["many"] * 25
    scored = score(predictions, {OUTPUT: references}, OUTPUT, ["accuracy", "share_of_all"])
    few, many = subgroups(scored, predictions, references, OUTPUT, labels, ["few", "many"])
    assert few.reasons == {"share_of_all": "metric 'share_of_all': needs ten items"}
    assert list(few.scores) == ["accuracy"]
    anew = many.scores["share_of_all"].value
    assert anew == pytest.approx(many.scores["accuracy"].value / 25), "its own 25, not all 30"
