"""`mmbench.score`: whatever people hold in their hands is scored, the same as from files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mmbench
from mmbench.errors import DataError, IncompatibleError, MmbenchError, UnknownNameError, UsageError
from mmbench.metrics._names import metric_names
from mmbench.references import TextReferences
from mmbench.scoring import score
from mmbench.types import Predictions

Command = Callable[..., Any]
METRICS = ["bleu4", "cider_d", "rouge_l"]
WORDS = ["a", "dog", "cat", "man", "red", "runs", "sits", "plays", "on", "in", "the", "park"]


def captions(items: int = 40) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return predictions and three references each, by id."""
    draw = np.random.default_rng(3)
    said, truth = {}, {}
    for k in range(items):
        words = draw.choice(WORDS, size=draw.integers(6, 13))
        kept = [[w for w in words if draw.random() < 0.8] or ["a"] for _ in range(4)]
        said[f"img{k}"], *truth[f"img{k}"] = (" ".join(part) for part in kept)
    return said, truth


SAID, TRUTH = captions()
IDS = list(SAID)
BACKWARDS = IDS[::-1]


def frame(values: dict[str, Any], column: str, ids: Sequence[str] = IDS) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, column: [values[i] for i in ids]})


def long(ids: Sequence[str] = IDS) -> pd.DataFrame:
    return pd.DataFrame([{"image_id": i, "caption": t} for i in ids for t in TRUTH[i]])


FORMS: dict[str, tuple[Any, Any]] = {
    "mappings": ({i: SAID[i] for i in BACKWARDS}, TRUTH),
    "lists": (list(SAID.values()), list(TRUTH.values())),
    "tuples": (tuple(SAID.values()), tuple(map(tuple, TRUTH.values()))),
    "array": (np.array(list(SAID.values())), list(TRUTH.values())),
    "columns": ({"id": IDS, "hypothesis": list(SAID.values())}, TRUTH),
    "rows": ([{"image_id": i, "caption": SAID[i]} for i in BACKWARDS], TRUTH),
    "frames": (frame(SAID, "prediction", BACKWARDS), frame(TRUTH, "references")),
    "long frame": (frame(SAID, "prediction", BACKWARDS), long()),
    "index": (frame(SAID, "said", BACKWARDS).set_index("id"), TRUTH),
    "series": (pd.Series({i: SAID[i] for i in BACKWARDS}), TRUTH),
    "list beside mapping": (list(SAID.values()), TRUTH),
    "mapping beside list": (SAID, list(TRUTH.values())),
    "arrow": (__import__("pyarrow").Table.from_pandas(frame(SAID, "said", BACKWARDS)), TRUTH),
    "one table": (frame(SAID, "hyp").assign(references=list(TRUTH.values())), None),
}


@pytest.fixture(scope="module")
def expected() -> Any:
    said = Predictions(IDS, {"caption": list(SAID.values())})
    truth = TextReferences([tuple(texts) for texts in TRUTH.values()])
    return score(said, {"caption": truth}, "caption", METRICS).scores


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_scores_of_the_scoring_stage(form: str, expected: Any) -> None:
    found = mmbench.score(*FORMS[form], metrics=METRICS)
    assert found.scores == expected
    assert len(found) == 40
    assert not found.missing


def files(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Write predictions (backwards) and references in every format that holds texts."""
    rows = [{"id": i, "prediction": SAID[i]} for i in BACKWARDS]
    said = pd.DataFrame(rows)
    truth = pd.DataFrame({"id": IDS, "references": list(TRUTH.values())})
    made = [folder / f"said{suffix}" for suffix in (".jsonl", ".json", ".csv", ".tsv", ".parquet")]
    made[0].write_text("\n".join(map(json.dumps, rows)))
    made[1].write_text(json.dumps(rows))
    said.to_csv(made[2], index=False)
    said.to_csv(made[3], index=False, sep="\t")
    said.to_parquet(made[4], index=False)
    trn = folder / "said.trn"
    trn.write_text("".join(f"{SAID[i]} ({i})\n" for i in BACKWARDS))
    references = {
        name: folder / name
        for name in ("true.jsonl", "long.csv", "wide.csv", "true.parquet", "coco.json", "k.json")
    }
    truth.to_json(references["true.jsonl"], orient="records", lines=True)
    long().to_csv(references["long.csv"], index=False)
    wide = {f"reference_{k}": [TRUTH[i][k] for i in IDS] for k in range(3)}
    pd.DataFrame({"id": IDS, **wide}).to_csv(references["wide.csv"], index=False)
    truth.to_parquet(references["true.parquet"], index=False)
    annotations = [
        {"id": n, **row} for n, row in enumerate(long().to_dict(orient="records"), start=1)
    ]
    coco = {"images": [{"id": i} for i in BACKWARDS], "annotations": annotations}
    references["coco.json"].write_text(json.dumps(coco))
    images = [
        {"filename": i, "split": "test", "sentences": [{"raw": t} for t in TRUTH[i]]} for i in IDS
    ]
    images += [{"filename": "other", "split": "val", "sentences": [{"raw": "x"}]}]
    references["k.json"].write_text(json.dumps({"images": images}))
    return {path.name: path for path in [*made, trn]}, references


def test_every_format_gives_the_scores_of_the_scoring_stage(tmp_path: Path, expected: Any) -> None:
    predictions, references = files(tmp_path)
    for name, path in predictions.items():
        found = mmbench.score(path, references["true.jsonl"], metrics=METRICS)
        assert found.scores == expected, name
        assert found.sources["predictions"].name == name
    for name, path in references.items():
        split = "test" if name == "k.json" else None
        found = mmbench.score(str(predictions["said.csv"]), path, metrics=METRICS, split=split)
        assert {n: s.value for n, s in found.scores.items()} == pytest.approx(
            {n: s.value for n, s in expected.items()}, rel=1e-12
        ), name


def test_python_and_the_command_line_give_the_same(tmp_path: Path, cli: Command) -> None:
    predictions, references = files(tmp_path)
    said, truth = predictions["said.tsv"], references["true.parquet"]
    done = cli("score", said, "--references", truth, "--metrics", "bleu4,cider_d", "--json")
    found = mmbench.score(said, truth, metrics="bleu4,cider_d")
    assert json.loads(done.out) == found.to_dict() | {"record": None}


# --- subgroups, clusters, missing ----------------------------------------------------------------

PLACE = {i: "in" if k % 3 else "out" for k, i in enumerate(IDS)}
VIDEO = {i: k // 5 for k, i in enumerate(IDS)}


def test_subgroups_by_a_column_of_either_side_or_by_labels() -> None:
    truth = frame(TRUTH, "references").assign(place=list(PLACE.values()))
    said = frame(SAID, "prediction", BACKWARDS).assign(place=[PLACE[i] for i in BACKWARDS])
    found = [
        mmbench.score(SAID, truth, metrics="rouge_l", by="place"),
        mmbench.score(said, TRUTH, metrics="rouge_l", by=["place"]),
        mmbench.score(SAID, TRUTH, metrics="rouge_l", by={"place": list(PLACE.values())}),
    ]
    inside = [i for i in IDS if PLACE[i] == "in"]
    alone = mmbench.score(
        {i: SAID[i] for i in inside}, {i: TRUTH[i] for i in inside}, metrics="rouge_l"
    )
    for one in found:
        groups = {group.name: group for group in one.by["place"]}
        assert [(name, g.items) for name, g in groups.items()] == [("in", 26), ("out", 14)]
        assert groups["in"].scores["rouge_l"] == alone.scores["rouge_l"]


def test_clusters_by_a_column_or_by_names_widen_the_interval() -> None:
    doubled = {f"{i}-{n}": SAID[i] for i in IDS for n in (1, 2)}
    truth = {f"{i}-{n}": TRUTH[i] for i in IDS for n in (1, 2)}
    units = [i.partition("-")[0] for i in truth]
    table = {"id": list(truth), "references": list(truth.values()), "video": units}
    plain = mmbench.score(doubled, truth, metrics="rouge_l").scores["rouge_l"]
    by_column = mmbench.score(doubled, table, metrics="rouge_l", clusters="video")
    by_names = mmbench.score(doubled, truth, metrics="rouge_l", clusters=units)
    assert by_column.scores == by_names.scores
    wide = by_column.scores["rouge_l"]
    assert wide.value == pytest.approx(plain.value)
    assert wide.se == pytest.approx(plain.se * 2**0.5, rel=0.02)
    assert by_column.to_dict()["clusters"] == 40


def test_a_missing_prediction_is_refused_or_counts_as_a_failure() -> None:
    fewer = {i: SAID[i] for i in IDS[2:]}
    with pytest.raises(DataError) as caught:
        mmbench.score(fewer, TRUTH, metrics=METRICS)
    assert str(caught.value) == (
        "predictions: has no prediction for 2 of the 40 items of references (img0, img1); "
        "--allow-missing (allow_missing=True) counts them as failures"
    )
    found = mmbench.score(fewer, TRUTH, metrics=METRICS, allow_missing=True)
    empty = mmbench.score({**SAID, "img0": "", "img1": ""}, TRUTH, metrics=METRICS)
    assert found.scores == empty.scores
    assert found.missing == ("img0", "img1")
    assert not empty.missing
    assert "missing: 2 of 40 items had no prediction (img0, img1) and count as failures" in repr(
        found
    )


def test_a_null_is_a_missing_prediction_too() -> None:
    for gap in (None, float("nan")):
        with pytest.raises(DataError, match="'img3' has no prediction: write an empty text where"):
            mmbench.score({**SAID, "img3": gap}, TRUTH, metrics="bleu4")
        found = mmbench.score({**SAID, "img3": gap}, TRUTH, metrics="bleu4", allow_missing=True)
        assert found.missing == ("img3",)


# --- other kinds ---------------------------------------------------------------------------------


def test_labels_equal_scikit_learn_in_every_form() -> None:
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    draw = np.random.default_rng(1)
    truth = draw.integers(0, 3, 400)
    said = np.where(draw.random(400) < 0.7, truth, draw.integers(0, 3, 400))
    rows = draw.dirichlet([1, 1, 1], 400)
    names = np.array(["cat", "dog", "owl"])
    table = pd.DataFrame({"id": range(400), "pred": names[said]})
    table[[f"p:{name}" for name in names]] = rows
    shuffled = pd.DataFrame({"id": range(400), "label": names[truth]}).sample(
        frac=1, random_state=0
    )
    forms: list[tuple[Any, Any]] = [
        (said, truth),
        (said.tolist(), truth.tolist()),
        (names[said], names[truth]),
        (table, shuffled),
    ]
    for form in forms:
        found = mmbench.score(*form, metrics="accuracy,macro_f1").scores
        assert found["accuracy"].value == pytest.approx(accuracy_score(truth, said), abs=1e-12)
        macro = f1_score(truth, said, average="macro")
        assert found["macro_f1"].value == pytest.approx(macro, abs=1e-12)
    for form in [(rows, truth), (table, shuffled), ({"scores": rows}, truth)]:
        found = mmbench.score(*form, metrics="nll").scores
        assert found["nll"].value == pytest.approx(log_loss(truth, rows), abs=1e-12)


def test_numbers_equal_numpy() -> None:
    draw = np.random.default_rng(2)
    truth = draw.normal(size=300)
    said = truth + draw.normal(size=300)
    forms: list[tuple[Any, Any]] = [
        (said, truth),
        (list(said), list(truth)),
        (pd.DataFrame({"id": range(300), "score": said}), dict(enumerate(truth))),
    ]
    for form in forms:
        found = mmbench.score(*form, metrics="mae,pearson").scores
        assert found["mae"].value == pytest.approx(np.abs(said - truth).mean(), abs=1e-12)
        correlation = np.corrcoef(said, truth)[0, 1]
        assert found["pearson"].value == pytest.approx(correlation, abs=1e-12)


def test_retrieval_from_similarities_and_from_embeddings_is_the_same() -> None:
    draw = np.random.default_rng(4)
    query, gallery = draw.normal(size=(30, 8)), draw.normal(size=(60, 8))
    gallery[::2] += query
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery)]
    truth = {"id": list(range(30)), "relevant": [[2 * k] for k in range(30)]}
    metrics = ["recall_at_1", "mrr", "recall_at_5_back"]
    ranks = (-(unit[0] @ unit[1].T)).argsort(axis=1)
    hits = np.mean([ranks[k, 0] == 2 * k for k in range(30)])
    found = mmbench.score(unit[0] @ unit[1].T, truth, metrics=metrics)
    assert found.scores["recall_at_1"].value == pytest.approx(hits)
    rankings = {"id": list(range(30)), "ranking": [row.tolist() for row in ranks]}
    again = mmbench.score(rankings, truth, metrics=metrics[:2])
    for name in metrics[:2]:
        assert again.scores[name].value == pytest.approx(found.scores[name].value), name
    by = mmbench.score(
        unit[0] @ unit[1].T, truth, metrics="mrr", by={"half": [k < 15 for k in range(30)]}
    )
    halves = [group.scores["mrr"].value for group in by.by["half"]]
    assert np.mean(halves) == pytest.approx(found.scores["mrr"].value)


# --- what comes back -----------------------------------------------------------------------------


def test_it_prints_as_a_table_and_becomes_a_data_frame() -> None:
    found = mmbench.score(SAID, TRUTH, metrics="wer,bleu4", by={"place": list(PLACE.values())})
    lines = repr(found).splitlines()
    assert lines[0] == "40 items, 95% intervals over items for these weights:"
    assert lines[1].split() == ["metric", "value", "95%", "interval", "n", "bounds"]
    assert lines[2].startswith("wer (lower is better)  0.")
    assert lines[2].endswith("[0, inf)")
    assert [line.split()[0] for line in lines[5:]] == ["by", "group", "in", "out"]
    table = found.to_frame()
    assert table["metric"].tolist() == ["wer", "bleu4"] * 3
    assert table["group"].tolist() == ["", "", "in", "in", "out", "out"]
    assert table["value"][0] == found.scores["wer"].value
    assert list(table.columns)[:5] == ["by", "group", "metric", "value", "low"]


def test_metrics_are_split_at_commas_outside_of_parentheses() -> None:
    assert metric_names(" wer(a=1, b=[2,3]) ,cer") == ["wer(a=1, b=[2,3])", "cer"]
    assert metric_names(["wer,cer", "wer", "mer(x='),(')"]) == ["wer", "cer", "mer(x='),(')"]
    for broken in ("wer(", "wer)", "wer(x='a)", "wer(x=1,cer"):
        with pytest.raises(UsageError, match="the parentheses do not match"):
            metric_names(broken)
    for nothing in ("", ",", []):
        with pytest.raises(UsageError, match="no metric is named"):
            metric_names(nothing)


def test_options_of_a_metric_reach_it() -> None:
    said, truth = ["It's four o'clock", "A dog!"], ["it is 4 o'clock", "a dog"]
    plain = mmbench.score(said, truth, metrics="wer")
    english = mmbench.score(said, truth, metrics="wer(normalizer=english)")
    assert list(english.scores) == ["wer(normalizer=english)"]
    assert english.scores["wer(normalizer=english)"].value < plain.scores["wer"].value


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metrics": "bleu-4"}, UnknownNameError, "unknown metric 'bleu-4': did you mean 'bleu4'?"),
        (
            {"metrics": "bleu4,accuracy"},
            IncompatibleError,
            "metric 'accuracy' scores outputs of the kind 'label', but 'bleu4' scores 'text'",
        ),
        (
            {"metrics": "bleu4", "kind": "label"},
            IncompatibleError,
            "metric 'bleu4' scores outputs of the kind 'text', but --kind asks for 'label'",
        ),
        ({"by": "plaec"}, UsageError, "--by plaec: there is no such column: "),
        ({"by": {"x": [1]}}, UsageError, "by: 'x' has 1 values, but there are 40 items"),
        ({"clusters": "video"}, UsageError, "--cluster video: there is no such column: known: id,"),
        ({"clusters": [1]}, UsageError, "expected 40 cluster names, one an item: 1"),
        ({"columns": {"predictoin": "x"}}, UsageError, "did you mean 'prediction'? the roles are"),
        ({"columns": {"prediction": "x"}}, UsageError, "predictions has no column 'x'"),
        ({"predictions": object()}, UsageError, "predictions: is of the type object: expect"),
        ({"predictions": {}}, UsageError, "predictions: there is nothing in it"),
        ({"predictions": "none.csv"}, DataError, "none.csv: cannot be read: No such file"),
        ({"predictions": ["a"]}, DataError, "has 1 row, but references has 40: without ids"),
        ({"predictions": {"x": "a"}}, DataError, "none of the ids is known: 'x' here, 'img0' in"),
        (
            {"predictions": {**SAID, "x": "a"}},
            DataError,
            "the id 'x' is not among those of references",
        ),
        (
            {"predictions": [{"id": "img0", "hyp": "a"}, {"id": "img0", "hyp": "b"}]},
            DataError,
            "row 2: a second prediction for 'img0'; the first is at predictions: row 1: keep",
        ),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    arguments: dict[str, Any], error: type[MmbenchError], message: str
) -> None:
    given = {"predictions": SAID, "references": TRUTH, "metrics": "rouge_l", **arguments}
    with pytest.raises(error) as caught:
        mmbench.score(given.pop("predictions"), given.pop("references"), **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_ids_beside_one_with_ids_is_refused(tmp_path: Path) -> None:
    (tmp_path / "said.csv").write_text("said,place\n" + "a,in\n" * 40)
    with pytest.raises(UsageError) as caught:
        mmbench.score(tmp_path / "said.csv", TRUTH, metrics="bleu4")
    assert str(caught.value).endswith(
        "said.csv: has no column of ids (it has: said, place): call it id, image_id, item, "
        "item_id, utterance, or name it by --column id=NAME"
    )
    (tmp_path / "true.csv").write_text("reference\n" + "a b c d\n" * 40)
    found = mmbench.score(
        tmp_path / "said.csv",
        tmp_path / "true.csv",
        metrics="wer",
        columns={"prediction": "said"},
    )
    assert found.scores["wer"].value == 0.75, "without ids on both sides the order counts"


# --- the package ---------------------------------------------------------------------------------


def test_the_package_offers_it_and_nothing_else_is_invented() -> None:
    assert "score" in dir(mmbench)
    assert mmbench.score.__module__ == "mmbench.evaluation"
    with pytest.raises(AttributeError, match="module 'mmbench' has no attribute 'scroe'"):
        _ = mmbench.scroe  # type: ignore[attr-defined]


def test_importing_the_package_and_asking_for_it_imports_no_torch_and_no_pandas() -> None:
    code = (
        "import sys, mmbench; assert 'mmbench.evaluation' not in sys.modules; "
        "print(mmbench.score(['a b c'] * 3, ['a b c'] * 3, metrics='rouge_l').scores['rouge_l']"
        ".value, sorted({'torch', 'pandas', 'scipy', 'pyarrow', 'matplotlib'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0 []\n"


# --- which column is what -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "right",
    [[[1], [2], [0]], [1, 2, 0], np.array([1, 2, 0]), {"0": [1], "1": [2], "2": [0]}],
    ids=["lists", "numbers", "array", "mapping"],
)
def test_right_answers_by_number_are_those_whatever_they_are_called(right: Any) -> None:
    found = mmbench.score(np.eye(3), right, metrics="recall_at_1")
    assert found.scores["recall_at_1"].value == 0.0, "each query finds itself, and another is right"


@pytest.mark.parametrize("name", ["reference", "references", "target", "label", "relevant"])
def test_a_column_of_whole_numbers_lists_right_answers(name: str) -> None:
    right = {"id": ["0", "1", "2"], name: ["1", "2", "0"]}
    found = mmbench.score(np.eye(3), right, metrics="recall_at_1")
    assert found.scores["recall_at_1"].value == 0.0


def test_texts_are_gallery_entries_of_their_own() -> None:
    found = mmbench.score(np.eye(3), {"reference": ["a", "b", "c"]}, metrics="recall_at_1")
    assert found.scores["recall_at_1"].value == 1.0


def test_a_class_beside_texts_is_no_right_answer() -> None:
    right = {"id": ["0", "1", "2"], "caption": ["a", "b", "c"], "label": [1, 2, 0]}
    found = mmbench.score(np.eye(3), right, metrics="recall_at_1")
    assert found.scores["recall_at_1"].value == 1.0


def test_no_other_column_passes_for_a_forgotten_reference() -> None:
    table = {"id": [1, 2, 3], "prediction": [1.0, 2.0, 3.0], "duration": [3.0, 2.0, 1.0]}
    with pytest.raises(UsageError, match=r"no column looks like the reference.*--references"):
        mmbench.score(table, metrics="mae")
    named = mmbench.score(table, metrics="mae", columns={"reference": "duration"})
    assert named.scores["mae"].value == pytest.approx(4 / 3)


@pytest.mark.parametrize("how", ["mapping", "columns", "of the second"])
def test_beside_probabilities_a_label_is_the_right_one(how: str) -> None:
    second = [0.2, 0.9, 0.4]
    table: dict[str, Any] = {"id": [1, 2, 3], "label": ["cat", "dog", "dog"]}
    if how == "mapping":
        table["scores"] = [{"cat": 1 - p, "dog": p} for p in second]
    elif how == "columns":
        table |= {"p:cat": [1 - p for p in second], "p:dog": second}
    else:
        table["scores"] = second
    found = mmbench.score(table, metrics="accuracy,nll").scores
    assert found["accuracy"].value == pytest.approx(2 / 3)
    assert found["nll"].value == pytest.approx(-np.log([0.8, 0.9, 0.4]).mean())


def test_a_mapping_of_columns_is_columns_whatever_holds_them() -> None:
    said, right = {"prediction": np.array([0, 1, 1])}, {"label": np.array([0, 1, 0])}
    assert mmbench.score(said, right, metrics="accuracy").scores["accuracy"].value == pytest.approx(
        2 / 3
    )
    said, right = {"label": ["a", "b", "b"]}, {"label": ["a", "b", "a"]}
    assert mmbench.score(said, right, metrics="accuracy").scores["accuracy"].value == pytest.approx(
        2 / 3
    )
