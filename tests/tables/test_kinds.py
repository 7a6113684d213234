"""What columns mean for each kind of output: however it is written, it is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmbench
from mmbench.errors import DataError, UsageError
from mmbench.references import (
    FrameReferences,
    ImageReferences,
    LabelReferences,
    MatchReferences,
    MultilabelReferences,
    ScalarReferences,
    TextReferences,
)
from mmbench.tables import Table, kinds, pairs, read
from mmbench.tables.kinds import Answers
from mmbench.tables.memory import table_of


def both(
    kind: str, predictions: Any, references: Any, **given: str
) -> tuple[list[str], Any, Answers]:
    """Return ids, what is right and what was said, as `mmbench.score` brings them together."""
    said, truth = table_of(predictions, "said"), table_of(references, "truth")
    items = pairs.items(truth, said, given)
    right = kinds.truth(kind, truth, items.rows, said, given)
    rows = pairs.rows_of(said, items, truth.source, given)
    return items.ids, right, kinds.said(said, rows, right, given)


def save(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


# --- text ----------------------------------------------------------------------------------------

PAIRS = [("x", "a dog"), ("x", "the dog"), ("y", "a cat")]
TEXTS = [("a dog", "the dog"), ("a cat",)]
REFERENCES: dict[str, Any] = {
    "mapping": {"x": ["a dog", "the dog"], "y": ["a cat"]},
    "mixed": {"x": ["a dog", "the dog"], "y": "a cat"},
    "tuples": {"id": ["x", "y"], "references": TEXTS},
    "arrays": {"id": ["x", "y"], "references": [np.array(t, dtype=object) for t in TEXTS]},
    "rows": [{"id": i, "caption": t} for i, t in PAIRS],
    "lists": [list(t) for t in TEXTS],
    "numbered": {"id": ["x", "y"], "ref_1": ["a dog", "a cat"], "ref_2": ["the dog", ""]},
    "json": {"id": ["x", "y"], "refs": ['["a dog", "the dog"]', "a cat"]},
    "gaps": {"id": ["x", "y"], "ref1": ["a dog", "a cat"], "ref2": ["the dog", None]},
}


@pytest.mark.parametrize("form", REFERENCES)
def test_texts_are_the_same_in_every_form(form: str) -> None:
    said = ["one", ""] if form == "lists" else {"y": "", "x": ["one"]}
    _, right, answers = both("text", said, REFERENCES[form])
    assert isinstance(right, TextReferences)
    assert list(map(tuple, right.texts)) == TEXTS
    assert answers.values == ["one", ""]


def test_a_text_that_only_looks_like_a_list_stays_a_text() -> None:
    for text in ("[sic]", "[1, 2]", '["a"', "{a}"):
        _, right, answers = both("text", {"x": text}, {"x": text})
        assert right.texts == [(text,)]
        assert answers.values == [text]


@pytest.mark.parametrize(
    ("said", "truth", "message"),
    [
        ({"x": 5}, {"x": "a"}, "said: 'x': value is 5: expected a text"),
        ({"x": ["a", "b"]}, {"x": "a"}, r"said: 'x': value is \['a', 'b'\]: expected a text"),
        ({"x": "a"}, {"x": ["a", 7]}, "truth: 'x': value is 7: expected a text"),
        ({"x": "a"}, {"x": []}, "truth: 'x': has no reference: expected a text"),
        ({"x": "a"}, {"x": None}, "truth: 'x': has no reference"),
        ({"x": "a" * 100_001}, {"x": "a"}, "value has 100,001 characters: expected one text of at"),
    ],
)
def test_what_is_no_text_is_named(said: Any, truth: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        both("text", said, truth)


# --- label ---------------------------------------------------------------------------------------

SCORES = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]
CLASSES = ("cat", "dog", "owl")
PROBABILITIES: dict[str, Any] = {
    "mapping": {"scores": [dict(zip(CLASSES, row, strict=True)) for row in SCORES]},
    "columns": {f"p:{c}": [row[k] for row in SCORES] for k, c in enumerate(CLASSES)},
    "columns of text": {f"p:{c}": [str(r[k]) for r in SCORES] for k, c in enumerate(CLASSES)},
    "json": {"probs": [json.dumps(dict(zip(CLASSES, row, strict=True))) for row in SCORES]},
}


@pytest.mark.parametrize("form", PROBABILITIES)
def test_probabilities_are_the_same_in_every_form(form: str) -> None:
    said = {"id": ["x", "y"], "prediction": ["cat", "owl"], **PROBABILITIES[form]}
    _, right, answers = both("label", said, {"y": "owl", "x": "dog"})
    assert isinstance(right, LabelReferences)
    assert right.classes == CLASSES
    assert right.labels.tolist() == [2, 1]
    assert answers.columns["scores"] == [SCORES[1], SCORES[0]]
    assert np.asarray(answers.values).tolist() == [2, 0]


@pytest.mark.parametrize(
    "labels", [[1, 0, 2], ["1", "0", "2"], [1.0, 0.0, 2.0], np.array([1, 0, 2])]
)
def test_numbers_and_their_names_are_the_same_labels(labels: Any) -> None:
    _, right, answers = both("label", labels, [1, 1, 2])
    assert right.classes == ("0", "1", "2")
    assert right.labels.tolist() == [1, 1, 2]
    assert np.asarray(answers.values).tolist() == [1, 0, 2]


def test_classes_that_are_whole_numbers_are_in_the_order_of_numbers() -> None:
    _, right, _ = both("label", [10, 9, -1], [10, 9, 2])
    assert right.classes == ("-1", "2", "9", "10")
    _, right, _ = both("label", ["b", "a", "B"], ["b", "a", "B"])
    assert right.classes == ("B", "a", "b")


def test_a_class_that_is_never_right_has_to_be_listed() -> None:
    truth = {"id": ["x", "y"], "label": ["cat", "dog"]}
    said = {"x": "cat", "y": "cow"}
    with pytest.raises(
        DataError, match=r"said: 'y': value is 'cow', which is no class: .*'classes'"
    ):
        both("label", said, truth)
    _, right, answers = both("label", said, {**truth, "classes": ["cat|dog|cow", None]})
    assert right.classes == ("cat", "cow", "dog")
    assert np.asarray(answers.values).tolist() == [0, 1]


def test_a_matrix_of_probabilities_needs_no_names_where_labels_are_numbers() -> None:
    rows = np.array([*SCORES, [0.2, 0.2, 0.6]])
    for said in (rows, rows.tolist(), {"scores": rows}, {"scores": rows.tolist()}):
        _, right, answers = both("label", said, [0, 1, 1])
        assert right.classes == ("0", "1", "2")
        assert np.asarray(answers.columns["scores"]).tolist() == rows.tolist()
        assert answers.values == [None] * 3


def test_a_matrix_brings_its_classes_in_an_archive(tmp_path: Path) -> None:
    order = ["owl", "cat", "dog"]
    rows = np.array(SCORES)[:, [2, 0, 1]]
    np.savez(tmp_path / "a.npz", ids=["x", "y"], scores=rows, classes=order)
    _, right, answers = both("label", tmp_path / "a.npz", {"y": "owl", "x": "cat"})
    assert right.classes == CLASSES
    assert np.asarray(answers.columns["scores"]).tolist() == SCORES[::-1]


@pytest.mark.parametrize("value", [0.25, "0.25", [0.75, 0.25]])
def test_of_two_classes_one_number_is_the_probability_of_the_second(value: Any) -> None:
    said = {"id": ["x", "y"], "probability": [value, value]}
    _, right, answers = both("label", said, {"x": "no", "y": "yes"})
    assert right.classes == ("no", "yes")
    assert answers.columns["scores"] == [[0.75, 0.25]] * 2


@pytest.mark.parametrize(
    ("said", "truth", "message"),
    [
        ({"x": "Cat"}, {"x": "cat"}, "said: 'x': value is 'Cat', which is no class: did you"),
        ({"x": "dgo", "y": "cat"}, {"x": "dog", "y": "cat"}, "'x': value is 'dgo', .* mean 'dog'"),
        (
            {"id": ["x", "y"], "scores": [{"cat": 0.5, "dog": 0.5}, {"cat": 1.0}]},
            {"x": "cat", "y": "dog"},
            "said: row 2: scores has no 'dog': give a number for every class",
        ),
        (
            {"id": ["x"], "scores": [{"cat": 0.5, "dog": 0.5}]},
            {"x": "zebra"},
            "truth: 'x': value is 'zebra', which is no class: known: cat, dog; the prob",
        ),
        ({"x": 1.5}, {"x": "cat"}, "said: 'x': value is 1.5: expected a label, a text or a whole"),
        ({"x": float("nan")}, {"x": "cat"}, "said: 'x': value is nan: expected a label"),
        ({"x": "cat"}, {"x": None}, "truth: 'x': value is empty: expected a label"),
        (
            {"x": "cat"},
            [{"id": "x", "label": "cat"}, {"id": "x", "label": "dog"}],
            "truth: row 2: a second row for the item of truth: row 1: expected one right answer",
        ),
        (
            {"id": ["x", "y", "z"], "scores": [[0.2, 0.3, 0.5]] * 3},
            {"x": "cat", "y": "dog", "z": "owl"},
            "said: scores holds lists, which do not say which class each number is of, and the "
            "classes are .*: write {class: probability}, or a column p:CLASS each",
        ),
        (
            {"id": ["x", "y"], "scores": [[0.5, 0.5], [1.0]]},
            {"x": 0, "y": 1},
            r"said: row 2: scores is \[1.0\]: expected 2 numbers, or a mapping from class to",
        ),
        (
            {"id": ["x", "y"], "scores": [[0.5, 0.5], ["a", "b"]]},
            {"x": 0, "y": 1},
            r"said: row 2: scores is \['a', 'b'\]: expected 2 numbers",
        ),
        (
            {"id": ["x", "y"], "p:0": [0.5, "half"], "p:1": [0.5, 0.5]},
            {"x": 0, "y": 1},
            "said: row 2: p:0 is 'half': expected a finite number",
        ),
    ],
)  # fmt: skip
def test_what_is_no_label_is_named(said: Any, truth: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        both("label", said, truth)


# --- multilabel ----------------------------------------------------------------------------------

SETS: dict[str, Any] = {
    "lists": {"x": ["cat", "owl"], "y": [], "z": ["dog"]},
    "marks": {"x": "cat|owl", "y": "", "z": "dog"},
    "semicolons": {"x": "owl; cat", "y": "", "z": "dog"},
    "json": {"x": '["cat", "owl"]', "y": "[]", "z": '["dog"]'},
    "mappings": {
        "id": ["x", "y", "z"],
        "labels": [{"cat": 1, "owl": True, "dog": 0}, {"dog": False}, {"dog": 1}],
    },
}
SETS_SAID = {"x": ["dog"], "y": ["dog", "cat"], "z": ["dog"]}


@pytest.mark.parametrize("form", SETS)
def test_sets_of_labels_are_the_same_in_every_form(form: str) -> None:
    _, right, answers = both("multilabel", SETS_SAID, SETS[form])
    assert isinstance(right, MultilabelReferences)
    assert right.classes == CLASSES
    assert right.labels.tolist() == [[True, False, True], [False] * 3, [False, True, False]]
    assert answers.values == [["dog"], ["dog", "cat"], ["dog"]]


def test_a_label_of_a_set_that_is_no_class_is_named() -> None:
    with pytest.raises(DataError, match=r"said: 'y': value is 'dgo', which is no class: did you"):
        both("multilabel", {**SETS_SAID, "y": ["dgo"]}, SETS["lists"])
    truth = {"id": ["x", "y"], "labels": [["cat"], ["owl"]], "classes": ["cow", None]}
    _, right, _ = both("multilabel", {"x": ["cow"], "y": []}, truth, reference="labels")
    assert right.classes == ("cat", "cow", "owl")


def test_several_rows_of_an_item_hold_one_set_together() -> None:
    rows = [{"id": i, "label": c} for i, c in [("x", "cat"), ("y", "dog"), ("x", "owl")]]
    _, right, _ = both("multilabel", {"x": ["dog"], "y": []}, rows)
    assert right.labels.tolist() == [[True, False, True], [False, True, False]]


def test_sets_as_a_matrix_beside_probabilities_as_a_matrix() -> None:
    truth, scores = np.array([[1, 0], [1, 1]]), np.array([[0.6, 0.1], [0.7, 0.8]])
    _, right, answers = both("multilabel", scores, truth)
    assert right.labels.tolist() == [[True, False], [True, True]]
    assert answers.values == [None, None]
    assert np.asarray(answers.columns["scores"]).tolist() == scores.tolist()


def test_a_label_that_stands_twice_in_a_set_is_refused() -> None:
    with pytest.raises(DataError, match="said: 'x': value names a label twice"):
        both("multilabel", {"x": ["a", "a"]}, {"x": ["a"]})


# --- scalar --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [[1.5, -2, 3], ["1.5", "-2", "3e0"], np.array([1.5, -2, 3]), np.array([1.5, -2, 3], "f")],
)
def test_numbers_are_the_same_in_every_form(values: Any) -> None:
    _, right, answers = both("scalar", values, values)
    assert isinstance(right, ScalarReferences)
    assert right.values.tolist() == np.asarray(answers.values).tolist() == [1.5, -2.0, 3.0]


@pytest.mark.parametrize("value", ["x", float("nan"), float("inf"), "nan", True, [1]])
def test_what_is_no_finite_number_is_named(value: Any) -> None:
    with pytest.raises(DataError, match=r"said: 'y': value is .*: expected a finite number"):
        both("scalar", {"x": 1, "y": value}, {"x": 1, "y": 2})
    with pytest.raises(DataError, match=r"truth: 'y': value is .*: expected a finite number"):
        both("scalar", {"x": 1, "y": 2}, {"x": 1, "y": value})


# --- match ---------------------------------------------------------------------------------------

SIMILARITY = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.7]])


def test_every_caption_is_a_gallery_entry_of_its_image(tmp_path: Path) -> None:
    captions = [{"image_id": i, "id": k, "caption": "c"} for k, i in enumerate([7, 9, 7])]
    coco = {"images": [{"id": 7}, {"id": 9}], "annotations": captions}
    path = save(tmp_path / "coco.json", json.dumps(coco))
    np.savez(tmp_path / "said.npz", ids=[9, 7], similarity=SIMILARITY[::-1])
    ids, right, answers = both("match", tmp_path / "said.npz", path)
    assert isinstance(right, MatchReferences)
    assert (ids, right.relevant, right.gallery) == (["7", "9"], [(0, 2), (1,)], 3)
    assert answers.columns["scores"].tolist() == SIMILARITY.tolist()
    lists = {"id": ["7", "9"], "references": [["c", "c"], ["c"]]}
    _, right, _ = both("match", tmp_path / "said.npz", lists)
    assert (right.relevant, right.gallery) == ([(0, 1), (2,)], 3)


def test_right_answers_by_number_beside_an_array_in_order(tmp_path: Path) -> None:
    np.save(tmp_path / "said.npy", SIMILARITY)
    truth = save(tmp_path / "true.jsonl", '{"id":"q","relevant":[0,2]}\n{"id":"r","relevant":1}\n')
    ids, right, answers = both("match", tmp_path / "said.npy", truth)
    assert (ids, right.relevant, right.gallery) == (["q", "r"], [(0, 2), (1,)], 3)
    assert answers.columns["scores"] is not None


def test_embeddings_of_both_sides_and_named_entries(tmp_path: Path) -> None:
    query, gallery = np.eye(2), np.array([[1.0, 0], [0, 1], [1, 1]])
    names = ["c1", "c2", "c3"]
    path = tmp_path / "said.npz"
    np.savez(path, ids=["q", "r"], embedding=query, gallery=gallery, gallery_ids=names)
    truth = {"id": ["r", "q"], "relevant": [["c2"], ["c3", "c1"]]}
    ids, right, answers = both("match", path, truth)
    assert (ids, right.relevant, right.gallery) == (["r", "q"], [(1,), (2, 0)], 3)
    assert answers.columns["embedding"].tolist() == [[0, 1], [1, 0]]
    assert answers.columns["gallery"].tolist() == gallery.tolist()
    with pytest.raises(DataError, match="relevant names 'c9', which is no gallery entry"):
        both("match", path, {"id": ["r", "q"], "relevant": [["c2"], ["c9"]]})


def test_rankings_by_name(tmp_path: Path) -> None:
    said = {"id": ["q", "r"], "ranking": [["d2", "d9"], ["d1", "d2", "d3"]]}
    truth = {"id": ["q", "r"], "relevant": [["d1"], ["d3", "d2"]]}
    _, right, answers = both("match", said, truth)
    assert (right.relevant, right.gallery) == ([(0,), (2, 1)], 4)
    assert answers.values == [[1, 3], [0, 1, 2]]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"id": ["q"], "place": ["x"]}, "has no column scores, embedding or ranking .it has: id"),
        ({"id": ["q"], "ranking": [[0, "a"]]}, "ranking is .0, 'a'.: expected a list of gallery"),
        ({"id": ["q"], "ranking": [[0, -5]]}, "ranking names -5, which is no gallery entry: they"),
    ],
)  # fmt: skip
def test_what_is_no_retrieval_is_named(said: Any, message: str) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        both("match", said, {"id": ["q"], "relevant": [[1]]})


# --- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames", [["none", "wave", "wave"], "none wave wave", '["none", "wave", "wave"]']
)
def test_labels_of_frames_are_the_same_in_every_form(frames: Any) -> None:
    truth = {"id": ["x"], "frames": [frames], "keys": [[1]]}
    said = {"id": ["x"], "frames": [["none", "bow", "wave"]], "keys": ["2 1"]}
    _, right, answers = both("frames", said, truth)
    assert isinstance(right, FrameReferences)
    assert (right.classes, right.background) == (("bow", "none", "wave"), 1)
    assert [x.tolist() for x in right.frames] == [[1, 2, 2]]
    assert [x.tolist() for x in right.keys or ()] == [[1]]
    assert answers.values == [["none", "bow", "wave"]]
    assert [x.tolist() for x in answers.columns["keys"]] == [[2, 1]]


def test_without_a_class_that_is_nothing_every_class_is_an_event() -> None:
    _, right, _ = both("frames", {"x": ["a", "b"]}, {"x": ["a", "a"]})
    assert right.background is None


# --- image ---------------------------------------------------------------------------------------


def test_features_and_shared_columns_of_images(tmp_path: Path) -> None:
    real = {"id": ["x", "y"], "features": [[1, 2], [3, 4]], "colour": ["red", "blue"], "by": [0, 1]}
    said = {"id": ["y", "x"], "features": ["[7, 8]", "[5, 6]"], "colour": ["red", None]}
    _, right, answers = both("image", said, real)
    assert isinstance(right, ImageReferences)
    assert right.features.tolist() == [[1, 2], [3, 4]]
    assert {name: x.tolist() for name, x in right.attributes.items()} == {"colour": [1, 0]}
    assert answers.columns["features"].tolist() == [[5, 6], [7, 8]]
    assert answers.columns["colour"] == [None, 1]
    np.save(tmp_path / "said.npy", np.array([[5.0, 6], [7, 8]]))
    _, right, answers = both("image", tmp_path / "said.npy", real)
    assert right.attributes == {}
    assert answers.columns["features"].tolist() == [[5, 6], [7, 8]]


@pytest.mark.parametrize(
    ("real", "message"),
    [
        ([[1, 2], [3]], r"truth: row 2: features has the shape \(1,\): expected 2 numbers, as the"),
        ([[1, 2], "red"], "truth: row 2: features has the shape"),
        ([[1, 2], None], "truth: row 2: features is empty: expected numbers"),
    ],
)
def test_what_are_no_features_is_named(real: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        both("image", {"id": [1, 2], "features": [[1, 2]] * 2}, {"id": [1, 2], "features": real})


def test_images_need_features_or_attributes() -> None:
    with pytest.raises(UsageError, match="has no column features, and no attribute that the pred"):
        both("image", {"id": [1], "path": ["x"]}, {"id": [1], "place": ["in"]})


# --- all -----------------------------------------------------------------------------------------


def test_every_kind_of_output_has_its_file_and_no_other_kind_has() -> None:
    from mmbench import metrics, references

    folder = Path(metrics.__file__).parent / "_items"
    known = {path.stem for path in folder.glob("[!_]*.py")}
    ours = {path.stem for path in Path(kinds.__file__).parent.glob("[!_]*.py")}
    classes = [value for name, value in vars(references).items() if name.endswith("References")]
    assert ours <= {getattr(value, "kind", None) for value in classes}
    assert known == ours


def test_a_kind_that_nobody_knows_is_refused() -> None:
    from mmbench.errors import IncompatibleError

    with pytest.raises(IncompatibleError, match=r"no table can be read for .* kind 'smell'"):
        kinds.truth("smell", Table("t", {}), [], Table("t", {}), {})


def test_a_file_and_an_object_of_the_same_content_are_the_same(tmp_path: Path) -> None:
    rows = [{"id": "x", "prediction": "cat"}, {"id": "y", "prediction": "dog"}]
    path = save(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read(path).columns == table_of(rows, "said").columns


def test_what_is_given_once_for_all_rows_stands_beside_columns_in_a_mapping() -> None:
    vectors = [[1.0, 0.0], [0.0, 1.0]]
    gallery = [[0.0, 1.0], [1.0, 0.0], [0.6, 0.6]]
    plain = {"ids": ["q1", "q2"], "queries": vectors, "gallery": gallery}
    truth = {"ids": ["q1", "q2"], "relevant": [["b"], ["a"]]}
    found = mmbench.score(plain | {"gallery_ids": ["a", "b", "c"]}, truth, metrics=["recall_at_1"])
    assert found.scores["recall_at_1"].value == 1.0
    right = {"label": ["cow", "dog"]}
    said = {"probabilities": [[0.9, 0.1, 0.0], [0.2, 0.1, 0.7]], "classes": ["cow", "cat", "dog"]}
    assert mmbench.score(said, right, metrics=["accuracy"]).scores["accuracy"].value == 1.0
    more = right | {"classes": ["cat", "cow", "dog", "hen"]}
    listed = mmbench.score({"label": ["cow", "hen"]}, more, metrics=["accuracy"])
    assert listed.scores["accuracy"].value == 0.5
