"""Floors and what splits share: held against scikit-learn, and on data whose faults are planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from mmbench import catalog
from mmbench.audit import audit, floors, splits
from mmbench.references import LabelReferences
from mmbench.text import UNK
from mmbench.types import Modality, Output, Ragged, Signature, Split


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(300, 6))
    labels = (features @ draw.normal(size=(6, 3)) + draw.gumbel(size=(300, 3))).argmax(axis=1)
    for penalty in (1e-2, 1.0):
        ours = floors._probabilities(features, floors.logistic(features, labels, 3, penalty))
        theirs = LogisticRegression(C=1 / (penalty * 300), tol=1e-8, max_iter=5000)
        assert np.allclose(ours, theirs.fit(features, labels).predict_proba(features), atol=1e-3)


def test_ridge_regression_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    features = draw.normal(3, 2, size=(200, 5))
    values = features @ draw.normal(size=5) + draw.normal(size=200)
    for penalty in (1e-3, 0.5):
        weights = floors.ridge(features, values, penalty)
        theirs = Ridge(alpha=penalty * 200).fit(features, values)
        assert np.allclose(features @ weights[:-1] + weights[-1], theirs.predict(features))


def split(values: list[list[float]], clusters: list[str], **more: Any) -> Split:
    count = len(values)
    labels = LabelReferences(np.zeros(count, dtype=np.int64), ("a", "b"))
    ids = [f"{more.get('name', 'x')}{i}" for i in range(count)]
    inputs = {"one": np.array(values), "two": Ragged(np.array(values)[..., None], np.ones(count))}
    return Split(ids, inputs, {"y": labels.labels}, {"y": labels},
                 present=more.get("present", {}), clusters=np.array(clusters))  # fmt: skip


SIGNATURE = Signature(
    {"one": Modality("vector", (1,)), "two": Modality("sequence", (1, 1))},
    {"y": Output("label", 2)},
)


def test_words_and_numbers_as_classes_are_told() -> None:
    """In a CSV a slip of the hand is a class like any other."""

    def labelled(name: str, *labels: int) -> Split:
        right = LabelReferences(np.array(labels), ("1", "cat", "dog"))
        ids = [f"{name}{k}" for k in range(len(labels))]
        return Split(ids, {"x": np.zeros((len(labels), 1))}, {"y": right.labels}, {"y": right})

    found = splits.mixed({"train": labelled("a", 1, 2, 1), "test": labelled("b", 1, 0, 0)})
    (line,) = found
    assert line == (
        "y: classes are words and numbers: '1' stands first at test 'b1': is that meant?"
    )
    plain = LabelReferences(np.array([0, 1]), ("cat", "dog"))
    split = Split(["a", "b"], {"x": np.zeros((2, 1))}, {"y": plain.labels}, {"y": plain})
    assert splits.mixed({"train": split}) == []


def test_texts_of_unknown_words_are_not_alike() -> None:
    """Titles that differ in a word which training does not have are two titles."""
    words = Signature({"note": Modality("text", (2,), ("a", "b"))}, {"y": Output("label", 2)})

    def texts(name: str, *rows: list[int]) -> Split:
        labels = LabelReferences(np.zeros(len(rows), dtype=np.int64), ("x", "y"))
        notes = Ragged(np.array(rows), np.full(len(rows), 2))
        ids = [f"{name}{k}" for k in range(len(rows))]
        return Split(ids, {"note": notes}, {"y": labels.labels}, {"y": labels})

    parts = {"train": texts("a", [5, UNK], [5, 6]), "test": texts("b", [5, UNK], [5, 6])}
    assert splits.duplicates(parts, words) == ["test 'b1' is train 'a1'"]
    assert splits.shared(parts, words) == {"note": 1}


def test_items_and_speakers_in_two_splits_are_found() -> None:
    parts = {
        "train": split([[1, 2], [3, 4], [5, 6]], ["s", "t", "t"], name="a"),
        "test": split([[3, 4], [7, 8]], ["u", "s"], name="b"),
    }
    assert splits.duplicates(parts, SIGNATURE) == ["test 'b0' is train 'a1'"]
    assert splits.crossing(parts) == ["'s' is in train and test"]
    assert splits.shared(parts, SIGNATURE) == {"one": 1, "two": 1}
    alike = {name: Split(**{**vars(p), "clusters": None}) for name, p in parts.items()}
    assert splits.crossing(alike) == []


def test_what_two_items_lack_they_do_not_share() -> None:
    nothing = {"one": np.array([False]), "two": np.array([False])}
    parts = {
        "train": split([[0, 0]], ["s"], present=nothing),
        "test": split([[0, 0]], ["t"], present=nothing),
    }
    assert splits.duplicates(parts, SIGNATURE) == []
    assert splits.shared(parts, SIGNATURE) == {}
    assert splits.missing(parts["train"]) == {"one": 1, "two": 1}


def test_a_generated_task_is_sound_and_its_floors_are_where_they_are_planted() -> None:
    """Of `unique` only the text knows; of a sum modulo 4 no linear model knows anything."""
    found = audit(catalog.task("unique"))
    assert found.sound
    assert found.metric == "accuracy"
    assert set(found.floors) == {"majority", "text", "vision", "audio", "all"}
    assert found.floors["text"] > found.floors["majority"] + 0.1
    assert abs(found.floors["audio"] - found.floors["majority"]) < 0.05
    shares = found.balance["train"]["label"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert "is read whole, or refused" in found.notes[0]


def test_of_texts_there_is_no_floor() -> None:
    found = audit(catalog.task("captioning"))
    assert found.floors == {}
    assert any("no floors" in note for note in found.notes)
