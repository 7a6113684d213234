"""`mmbench score`: what it prints, what it keeps, and one line for whatever a user gets wrong."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, provenance, records, store
from mmbench.data import _load
from mmbench.scoring import score
from mmbench.spec import LevelSpec

Cli: TypeAlias = Callable[..., Any]
Write: TypeAlias = Callable[..., str]

ITEMS = 24
WORDS = ["a", "dog", "cat", "man", "red", "runs", "sits", "plays", "on", "in", "the", "park"]


@pytest.fixture
def files(workplace: Path) -> Path:
    """Predictions and references of captions, labels and transcripts."""
    draw = random.Random(7)
    said, true, labels, truth, hyp, ref = [], [], [], [], [], []
    for k in range(ITEMS):
        words = draw.choices(WORDS, k=12)
        some = [" ".join(w for w in words if draw.random() < 0.8) for _ in range(4)]
        said.append({"id": f"v{k}", "prediction": some[0]})
        place, video = ("in", "out")[k % 2], k // 3
        true.append({"id": f"v{k}", "references": some[1:], "place": place, "video": video})
        right, share = draw.choice(["cat", "dog"]), round(draw.uniform(0.2, 0.9), 2)
        labels.append(f"v{k},{right if share > 0.4 else 'cat'},{share},{round(1 - share, 2)}")
        truth.append(f"v{k},{right}")
        hyp.append(f"{some[0]} (s{k % 4}-{k})")
        ref.append(f"{some[1]} (s{k % 4}-{k})")
    write("said.jsonl", *map(json.dumps, said))
    write("true.jsonl", *map(json.dumps, true))
    write("labels.csv", "id,prediction,p:cat,p:dog", *labels)
    write("truth.csv", "id,label", *truth)
    write("hyp.trn", *hyp)
    write("ref.trn", *ref)
    return workplace


def write(name: str, *lines: str) -> None:
    Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


TEXTS = ("--references", "true.jsonl", "--metrics", "bleu4,cider_d")


# --- what it prints ------------------------------------------------------------------------------


def test_it_prints_a_table_signatures_and_what_to_do_next(cli: Cli, files: Path) -> None:
    done = cli("score", "said.jsonl", *TEXTS)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "24 items, 95% intervals over items for these weights:"
    assert lines[1].split() == ["metric", "value", "95%", "interval", "n", "bounds"]
    assert [line.split()[0] for line in lines[2:4]] == ["bleu4", "cider_d"]
    assert lines[2].endswith("24  [0, 1]")
    assert lines[4:6] == ["", "signatures:"]
    assert lines[6] == "  bleu4: v1|tokenizer:ptb|reference_length:closest|smoothing:none"
    assert lines[-1] == (
        "next: the same with --by place; with --save, 'mmbench leaderboard' ranks it"
    )


def test_predictions_may_be_named_by_an_option(cli: Cli, files: Path) -> None:
    by_option = cli("score", "--predictions", "said.jsonl", *TEXTS)
    assert by_option.out == cli("score", "said.jsonl", *TEXTS).out


def test_one_file_may_hold_both_sides(cli: Cli, files: Path) -> None:
    write("both.tsv", "id\ttext\thyp", "x\ta b c d\ta b c", "y\ta b\ta b c")
    done = cli("score", "both.tsv", "--metrics", "wer", "--json")
    assert json.loads(done.out)["metrics"]["wer"]["value"] == pytest.approx(2 / 6)


def test_subgroups_have_a_table_of_their_own(cli: Cli, files: Path) -> None:
    done = cli("score", "said.jsonl", *TEXTS, "--by", "place", "--by", "video")
    lines = done.out.splitlines()
    at = lines.index("by place:")
    assert lines[at + 1].split() == ["group", "n", "bleu4", "cider_d"]
    assert [line.split()[:2] for line in lines[at + 2 : at + 4]] == [["in", "12"], ["out", "12"]]
    assert lines[at + 5 : at + 6] == ["by video:"]
    assert done.out.count("[") == 4 + 2 * 2 + 8 * 2
    assert lines[-1].startswith("next: the same with --save")


def test_speakers_of_a_trn_file_are_groups_and_clusters(cli: Cli, files: Path) -> None:
    done = cli(
        *("score", "hyp.trn", "--references", "ref.trn", "--metrics", "wer,cer"),
        *("--by", "speaker", "--cluster", "speaker"),
    )
    assert done.code == 0, done.err
    assert done.out.startswith("24 items in 4 clusters, 95% intervals over clusters for")
    rows = [line.split() for line in done.out.splitlines() if line.startswith("s")]
    assert [row[:2] for row in rows if row[0] != "signatures:"] == [
        [f"s{k}", "6"] for k in range(4)
    ]
    assert "wer (lower is better)" in done.out
    assert "[0, inf)" in done.out


def test_options_of_metrics_may_hold_commas(cli: Cli, files: Path) -> None:
    done = cli(
        *("score", "labels.csv", "--references", "truth.csv", "--json"),
        *("--metrics", "accuracy,top_k_accuracy(k=1, ),nll"),
    )
    got = json.loads(done.out)
    assert list(got["metrics"]) == ["accuracy", "top_k_accuracy(k=1)", "nll"]
    assert 0 < got["metrics"]["top_k_accuracy(k=1)"]["value"] < 1
    assert got["kind"] == "label"


def test_a_metric_of_ones_own_is_named_by_its_file(cli: Cli, files: Path) -> None:
    write(
        "own.py",
        "from mmbench.metrics import metric",
        "@metric",
        "def shouted(items):",
        "    return [float(text.isupper()) for text in items.predictions]",
    )
    done = cli("score", "said.jsonl", *TEXTS[:2], "--metrics", "bleu4,./own.py", "--json")
    assert json.loads(done.out)["metrics"]["shouted"]["value"] == 0.0


SCORE = {
    "value",
    "low",
    "high",
    "se",
    "df",
    "n",
    "scope",
    "higher_is_better",
    "bounds",
    "signature",
    "reason",
}
LEVELS = {"floor", "ceiling", "alone", "headroom", "sums"}


def test_the_json_has_these_keys_and_no_others(cli: Cli, files: Path) -> None:
    done = cli("score", "said.jsonl", *TEXTS, "--by", "place", "--cluster", "video", "--json")
    got = json.loads(done.out)
    assert set(got) == {
        *("schema", "task", "split", "kind", "output", "items", "clusters", "missing", "warnings"),
        *("sources", "metrics", "by", "record"),
    }
    assert (got["schema"], got["task"], got["split"], got["record"]) == (1, None, None, None)
    assert (got["items"], got["clusters"], got["missing"]) == (24, 8, [])
    assert set(got["metrics"]["bleu4"]) == SCORE | LEVELS
    assert got["metrics"]["bleu4"]["floor"] is None
    assert set(got["sources"]["predictions"]) == {"name", "digest"}
    assert got["sources"]["references"]["name"] == "true.jsonl"
    assert got["sources"]["references"]["digest"] == store.checksum(Path("true.jsonl"))
    (column, groups), *_ = got["by"].items()
    assert (column, [group["group"] for group in groups]) == ("place", ["in", "out"])
    assert set(groups[0]) == {"group", "items", "metrics", "reasons"}
    assert set(groups[0]["metrics"]["cider_d"]) == SCORE | {"sums"}


def test_what_a_metric_is_a_function_of_is_in_the_json(cli: Cli, workplace: Path) -> None:
    write("hyp.trn", "a x c (u1)", "d e e (u2)")
    write("ref.trn", "a b c (u1)", "d e f g (u2)")
    asked = ("hyp.trn", "--references", "ref.trn", "--metrics", "wer,cer,distinct")
    got = json.loads(cli("score", *asked, "--json").out)["metrics"]
    assert got["wer"]["sums"] == {"substitutions": 2, "deletions": 1, "insertions": 0, "hits": 4}
    assert got["cer"]["sums"] == {"edits": 4, "characters": 12}
    assert got["distinct"]["sums"] is None


def test_what_has_no_interval_is_null_in_json(cli: Cli, files: Path) -> None:
    write("p.csv", "id,prediction,g", "a,cat,x", "b,cat,y", "c,dog,y")
    write("r.csv", "id,label", "a,cat", "b,dog", "c,dog")
    done = cli(
        "score", "p.csv", "--references", "r.csv", "--metrics", "accuracy", "--by", "g", "--json"
    )
    one = json.loads(done.out)["by"]["g"][0]["metrics"]["accuracy"]
    assert (one["value"], one["low"], one["high"], one["se"], one["df"]) == (
        1,
        None,
        None,
        None,
        None,
    )
    text = cli("score", "p.csv", "--references", "r.csv", "--metrics", "accuracy", "--by", "g").out
    assert "x      1  1.000\n" in text


def test_missing_predictions_count_as_failures_and_it_says_so(cli: Cli, files: Path) -> None:
    lines = Path("said.jsonl").read_text().splitlines()
    write("fewer.jsonl", *lines[2:])
    done = cli("score", "fewer.jsonl", *TEXTS, "--allow-missing", "--save")
    assert "missing: 2 of 24 items had no prediction (v0, v1) and count as failures" in done.out
    (stored,) = store.scan(Path("results"))[0]
    assert stored.record.provenance["external"]["missing"] == ["v0", "v1"]
    assert stored.record.summary == (
        "the predictions in fewer.jsonl; 2 of 24 missing, counted as failures"
    )
    assert stored.record.reproduce.endswith(" --allow-missing --save")
    whole = json.loads(cli("score", "said.jsonl", *TEXTS, "--json").out)["metrics"]["cider_d"]
    fewer = stored.record.scores["test"]["cider_d"].value
    assert fewer is not None
    assert fewer < whole["value"]


def test_what_has_no_worst_answer_has_a_reason_and_the_others_are_scored(
    cli: Cli, files: Path
) -> None:
    write("numbers.csv", "id,prediction", "a,1", "b,2.5")
    write("right.csv", "id,value", "a,1.5", "b,2", "c,-1")
    asked = ("score", "numbers.csv", "--references", "right.csv", "--metrics", "mae,acc7,pearson")
    done = cli(*asked, "--allow-missing", "--save")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["mae", "acc7", "pearson"]
    assert lines[2].split() == ["mae", "(lower", "is", "better)", "-", "3", "[0,", "inf)"]
    told = "- mae, pearson: no value: 1 of 3 items have no answer, and no number stands"
    assert lines[5].startswith(told)
    got = json.loads(cli(*asked, "--allow-missing", "--json").out)["metrics"]
    assert list(got) == ["mae", "acc7", "pearson"]
    assert set(got["mae"]) == set(got["acc7"]) == SCORE | LEVELS
    empty = {key: got["mae"][key] for key in ("value", "low", "high", "se", "df", "scope")}
    assert set(empty.values()) == {None}
    assert got["mae"]["reason"].startswith("1 of 3 items have no answer")
    assert (got["mae"]["higher_is_better"], got["mae"]["bounds"]) == (False, [0.0, None])
    assert got["acc7"]["reason"] is None
    stored = store.resolve(Path("results"), "right/numbers")
    assert list(stored.record.scores["test"]) == ["acc7"]
    assert stored.record.provenance["external"]["unscored"] == {
        name: got[name]["reason"] for name in ("mae", "pearson")
    }
    assert list(store.read_items(stored)["test"].families) == ["acc7"]
    refused = cli(*asked[:-1], "mae,pearson", "--allow-missing")
    assert refused.code == 2
    assert "metric 'mae': 1 of 3 items have no answer" in refused.error
    assert refused.error.endswith("; nor can pearson be scored")


@pytest.mark.parametrize("items", [ITEMS, ITEMS - 2, 1])
def test_a_slip_in_an_option_is_refused_whatever_is_missing(
    cli: Cli, files: Path, items: int
) -> None:
    write("fewer.jsonl", *Path("said.jsonl").read_text().splitlines()[:items])
    asked = ("--metrics", "bleu4,wer(normalizer=englsh)", "--allow-missing")
    refused = cli("score", "fewer.jsonl", *TEXTS[:2], *asked)
    assert refused.code == 2
    assert "unknown normaliser 'englsh': did you mean 'english'?" in refused.error


def test_a_metric_that_refuses_complete_predictions_refuses_them_all(cli: Cli, files: Path) -> None:
    refused = cli(
        *("score", "truth.csv", "--references", "truth.csv", "--allow-missing"),
        *("--column", "prediction=label", "--metrics", "accuracy,nll"),
    )
    assert refused.code == 2
    assert "metric 'nll'" in refused.error


def test_a_single_item_has_values_without_an_interval(cli: Cli, files: Path) -> None:
    write("one.jsonl", '{"id": "v0", "prediction": "a dog runs"}')
    write("is.jsonl", '{"id": "v0", "references": ["a dog runs fast"]}')
    asked = ("score", "one.jsonl", "--references", "is.jsonl", "--metrics", "wer,cider_d,bleu1")
    done = cli(*asked, "--save")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "1 item, no intervals for these weights:"
    assert [line.split()[:1] + line.split()[-4:-3] for line in (lines[2], lines[3])] == [
        ["wer", "0.250"],
        ["cider_d", "-"],
    ]
    assert lines[5].startswith("- cider_d: no value: one item is no corpus: an n-gram is weighted")
    assert lines[6] == (
        "- wer, bleu1: no interval: one item does not tell how far others would differ"
    )
    got = json.loads(cli(*asked, "--json").out)["metrics"]
    assert (got["wer"]["value"], got["wer"]["low"], got["wer"]["se"]) == (0.25, None, None)
    assert got["wer"]["reason"] == "one item does not tell how far others would differ"
    assert got["cider_d"]["value"] is None
    assert cli(*asked[:-1], "cider_d").code == 2
    shown = cli("show", "is/one", "--no-figures")
    assert shown.code == 0, shown.err
    assert "wer (lower is better)  0.250" in shown.out
    board = cli("leaderboard", "-t", "is")
    assert board.code == 0, board.err
    assert "0.250" in board.out
    assert "nan" not in board.out + cli("leaderboard", "--format", "csv").out
    cli(*asked, "--save", "--name", "again")
    (one, other) = json.loads(cli("leaderboard", "--json").out)["boards"][0]["rows"]
    assert one["main"]["low"] is None
    assert one["rank"] == other["rank"] == [1, 2]
    assert "no intervals and no order: one item does not tell" in cli("leaderboard").out
    assert cli("leaderboard", "--figure", "board.png").code == 0


@pytest.mark.parametrize("metric", ["pearson", "spearman", "ccc"])
def test_a_correlation_of_one_item_is_none(cli: Cli, files: Path, metric: str) -> None:
    write("numbers.csv", "id,prediction", "a,1")
    write("right.csv", "id,value", "a,1.5")
    done = cli("score", "numbers.csv", "--references", "right.csv", "--metrics", f"mae,{metric}")
    assert f"- {metric}: no value: says nothing of 1 item: score at least 2" in done.out
    assert "0.500" in done.out


# --- tasks ---------------------------------------------------------------------------------------


@pytest.fixture
def mini(task: Write) -> str:
    """A task, and predictions of its splits that leave out every seventh word."""
    named = task()
    splits = _load.load(catalog.task(named)).splits
    rows = []
    for name in ("test", "ood"):
        part = splits[name]
        for k, item in enumerate(part.ids):
            words = part.references["caption"].texts[k][0].split()  # type: ignore[attr-defined]
            text = " ".join(word for place, word in enumerate(words) if (place + k) % 7)
            rows.append({"id": item, "split": name, "caption": text})
    write("mini.jsonl", *map(json.dumps, rows))
    return named


def test_a_task_brings_references_metrics_levels_and_splits(cli: Cli, mini: str) -> None:
    done = cli("score", "-t", mini, "mini.jsonl")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "mini@1, test, 24 items, 95% intervals over items for these weights:"
    assert lines[1].split()[-3:] == ["floor", "ceiling", "headroom"]
    assert lines[2].startswith("*  rouge_l  0.")
    assert "0.100  0.700" in lines[2]
    assert lines[2].endswith("%")
    assert [line.split()[0] for line in lines[3:5]] == ["cider_d", "slot_f1"]
    ood = cli("score", "-t", mini, "mini.jsonl", "--split", "ood", "--metrics", "slot_f1", "--json")
    got = json.loads(ood.out)
    assert (got["task"], got["split"], got["items"]) == ("mini@1", "ood", 12)
    assert list(got["metrics"]) == ["slot_f1"]


def test_a_task_scores_what_the_scoring_stage_scores(cli: Cli, mini: str) -> None:
    from mmbench.types import Predictions

    part = _load.load(catalog.task(mini)).splits["test"]
    rows = [json.loads(line) for line in Path("mini.jsonl").read_text().splitlines()]
    said = {row["id"]: row["caption"] for row in rows}
    predictions = Predictions(list(part.ids), {"caption": [said[name] for name in part.ids]})
    expected = score(predictions, part.references, "caption", ["rouge_l", "cider_d", "slot_f1"])
    got = json.loads(cli("score", "-t", mini, "mini.jsonl", "--json").out)["metrics"]
    assert {n: m["value"] for n, m in got.items()} == {
        n: s.value for n, s in expected.scores.items()
    }
    assert got["rouge_l"]["headroom"] == pytest.approx((got["rouge_l"]["value"] - 0.1) / 0.6)


def test_groups_of_a_task_are_columns_too(cli: Cli, mini: str) -> None:
    groups = _load.load(catalog.task(mini)).splits["test"].groups
    assert groups
    name = next(iter(groups))
    done = cli("score", "-t", mini, "mini.jsonl", "--by", name)
    assert f"by {name}:" in done.out


def test_what_a_run_predicted_scores_the_same_again(cli: Cli, mini: str) -> None:
    run = cli("run", "-t", mini, "-m", "constant", "--set", "width=16", "-q", "--json")
    (made,) = json.loads(run.out)
    record = store.read(Path(made["folder"])).record
    said = Path(made["folder"], "predictions.parquet")
    again = json.loads(cli("score", "-t", mini, said, "--json").out)["metrics"]
    for name, got in record.scores["test"].items():
        assert again[name]["value"] == got.value
        assert (again[name]["low"], again[name]["high"]) == (got.low, got.high)


# --- records -------------------------------------------------------------------------------------


def test_a_saved_record_is_shown_and_ranked_with_others(cli: Cli, files: Path) -> None:
    done = cli("score", "said.jsonl", *TEXTS, "--save", "--name", "mine")
    assert done.out.splitlines()[-1] == "next: mmbench leaderboard -t true"
    assert "saved results/true/mine/external-s0-" in done.out
    write("worse.jsonl", *(json.dumps({"id": f"v{k}", "x": "a dog"}) for k in range(ITEMS)))
    cli("score", "worse.jsonl", *TEXTS, "--save")
    board = json.loads(cli("leaderboard", "--format", "json").out)["boards"]
    assert [row["model"] for row in board[0]["rows"]] == ["mine", "worse"]
    assert len(board) == 1
    stored = store.resolve(Path("results"), "true/mine")
    record = stored.record
    assert (record.family, record.status, record.budget) == ("external", "finished", "external")
    assert record.reproduce == (
        "mmbench score said.jsonl --references true.jsonl --metrics bleu4,cider_d --name mine "
        "--save"
    )
    shown = cli("show", "true/mine", "--no-figures")
    assert shown.code == 0
    assert "mine: the predictions in said.jsonl" in shown.out
    assert record.reproduce in shown.out
    assert shown.err == ""
    first = json.loads(Path("true.jsonl").read_text().split("\n")[0])["references"]
    samples = json.loads(cli("show", "true/mine", "--items", ITEMS, "--json").out)["samples"]
    assert {one["id"]: one["references"] for one in samples}["v0"] == first
    assert "    true     " in shown.out
    said = store.read_predictions(stored, "test")
    assert (
        said["prediction"][0]
        == json.loads(Path("said.jsonl").read_text().split("\n")[0])["prediction"]
    )


@pytest.mark.parametrize(
    ("metric", "right", "said", "shown"),
    [
        ("accuracy", ["cat", "dog", "cat"], ["cat", "dog", "dog"], "cat"),
        ("mae", [1.5, 2.0, 3.0], [1.0, 2.0, 2.5], "1.5"),
        ("multilabel_micro_f1", [["a", "b"], ["b"], ["a"]], [["a"], ["b"], ["b"]], "a, b"),
    ],
)
def test_what_is_right_stands_beside_predictions_of_every_kind(
    cli: Cli, workplace: Path, metric: str, right: list[Any], said: list[Any], shown: str
) -> None:
    for name, values in (("right", right), ("said", said)):
        rows = ({"id": str(k), "label": value} for k, value in enumerate(values))
        write(f"{name}.jsonl", *map(json.dumps, rows))
    arguments = ("--references", "right.jsonl", "--metrics", metric, "--save")
    done = cli("score", "said.jsonl", *arguments)
    assert done.code == 0, done.err
    found = cli("show", "right/said", "--no-figures", "--json")
    assert found.code == 0, found.err
    content = json.loads(found.out)
    assert content["warnings"] == []
    assert {one["id"]: one["references"] for one in content["samples"]}["0"] == [shown]
    assert f"    true     {shown}" in cli("show", "right/said", "--no-figures").out


def test_show_says_over_what_intervals_are(cli: Cli, files: Path) -> None:
    cli("score", "said.jsonl", *TEXTS, "--save", "--name", "alone")
    cli("score", "said.jsonl", *TEXTS, "--save", "--name", "grouped", "--cluster", "video")
    told = "test, 24 items{}, 95% intervals over {} for these weights:"
    for name, units in (("alone", ("", "items")), ("grouped", (" in 8 clusters", "clusters"))):
        shown = cli("show", f"true/{name}", "--no-figures").out.splitlines()
        assert told.format(*units) in shown
    content = json.loads(cli("show", "true/grouped", "--no-figures", "--json").out)
    assert content["clusters"] == {"test": 8}


def test_the_command_of_a_record_makes_it_again(cli: Cli, files: Path) -> None:
    import shlex

    first = cli("score", "said.jsonl", *TEXTS, "--save", "--seed", "3")
    (stored,) = store.scan(Path("results"))[0]
    again = cli(*shlex.split(stored.record.reproduce)[1:])
    assert first.out == again.out
    (after,) = store.scan(Path("results"))[0]
    assert after.record.identity == stored.record.identity
    assert after.record.scores == stored.record.scores
    assert after.record.files == stored.record.files


def test_a_task_without_a_budget_is_a_board_apart_and_with_one_beside_its_models(
    cli: Cli, mini: str
) -> None:
    cli("run", "-t", mini, "-m", "constant", "--set", "width=16", "-q")
    apart = cli("score", "-t", mini, "mini.jsonl", "--save")
    assert "(a board apart: no --budget)" in apart.out
    beside = cli("score", "-t", mini, "mini.jsonl", "--save", "--budget", "brief", "--name", "mine")
    assert beside.out.splitlines()[-1] == "next: mmbench leaderboard -t mini"
    boards = json.loads(cli("leaderboard", "--format", "json").out)["boards"]
    models = {board["budget"]: [row["model"] for row in board["rows"]] for board in boards}
    assert models == {"brief": ["mine", "constant"], "external": ["mini"]}
    assert {board["ceiling"] for board in boards} == {0.7}
    shown = cli("show", "mini/mine")
    assert (shown.code, shown.err) == (0, "")
    assert "    true     " in shown.out, "the task brings the references"


def test_labels_are_kept_by_name_with_their_probabilities(cli: Cli, files: Path) -> None:
    done = cli(
        *("score", "labels.csv", "--references", "truth.csv", "--save"),
        *("--metrics", "accuracy,macro_f1,nll,top_k_accuracy(k=1)"),
    )
    assert done.code == 0, done.err
    stored = store.resolve(Path("results"), "truth/labels")
    said = store.read_predictions(stored, "test")
    assert set(said["prediction"]) == {"cat", "dog"}
    assert len(said["prediction.scores"][0]) == 2
    board = cli("leaderboard", "--metric", "nll")
    assert board.code == 0
    assert "truth@1 | test | nll | external" in board.out
    assert cli("show", "truth/labels", "--no-figures").code == 0


def test_arrays_of_retrieval_are_scored_and_saved_without_the_arrays(cli: Cli, files: Path) -> None:
    draw = np.random.default_rng(0)
    query = draw.normal(size=(8, 4))
    gallery = np.repeat(query, 2, axis=0) + 0.1 * draw.normal(size=(16, 4))
    np.savez("said.npz", ids=[f"i{k}" for k in range(8)], query=query, gallery=gallery)
    captions = [{"image_id": f"i{k // 2}", "id": k, "caption": "c"} for k in range(16)]
    write(
        "coco.json",
        json.dumps({"images": [{"id": f"i{k}"} for k in range(8)], "annotations": captions}),
    )
    done = cli(
        *("score", "said.npz", "--references", "coco.json", "--save", "--json"),
        *("--metrics", "recall_at_1,recall_at_1_back"),
    )
    assert done.code == 0, done.err
    got = json.loads(done.out)
    assert got["metrics"]["recall_at_1"]["value"] > 0.8
    assert (Path(got["record"]) / "record.json").is_file()
    assert cli("leaderboard").code == 0
    assert cli("show", "coco/said", "--no-figures").code == 0


def test_other_predictions_under_the_same_name_and_seed_are_refused(cli: Cli, files: Path) -> None:
    cli("score", "said.jsonl", *TEXTS, "--save", "--name", "mine")
    lines = Path("said.jsonl").read_text().splitlines()
    write("said.jsonl", *lines[::-1])
    refused = cli("score", "said.jsonl", *TEXTS, "--save", "--name", "mine")
    assert refused.code == 4
    assert "seed 0 of 'mine' is there, of other predictions: --name gives these" in refused.error
    second = cli("score", "said.jsonl", *TEXTS, "--save", "--name", "mine", "--seed", "1")
    assert second.code == 0
    assert "95 % intervals over 2 seeds x 24 items" in cli("leaderboard").out


def test_a_score_beyond_a_proven_bound_is_kept_as_a_leak(cli: Cli, task: Write) -> None:
    bound = 'alone = { image = 0.6, audio = 0.5 }\nbound = { "audio+image" = 0.2 }'
    named = task("mini", ("alone = { image = 0.6, audio = 0.5 }", bound))
    part = _load.load(catalog.task(named)).splits["test"]
    texts = [texts[0] for texts in part.references["caption"].texts]  # type: ignore[attr-defined]
    rows = zip(part.ids, texts, strict=True)
    write("perfect.jsonl", *(json.dumps({"id": name, "caption": text}) for name, text in rows))
    assert cli("score", "-t", named, "perfect.jsonl", "--save").code == 0
    (stored,) = store.scan(Path("results"))[0]
    assert stored.record.status == "leak"
    assert "beyond the proven bound 0.2000 for audio+image" in stored.record.reason


def test_the_same_score_on_every_item_is_no_excuse() -> None:
    """Where no item differs from another there is no standard error, and a leak is one."""
    level = LevelSpec(floor=1.0, ceiling=0.1, bound={"audio": 0.6})

    def judged(value: float, n: int) -> list[str]:
        got = SimpleNamespace(value=value, n=n, se=math.nan, higher_is_better=False)
        return records.leaks({"nll": got}, {"nll": level}, ["audio"])

    assert judged(0.01, 100) == ["nll 0.0100 is beyond the proven bound 0.6000 for audio"]
    assert judged(0.7, 100) == []
    assert judged(0.01, 1) == []


def test_bounds_of_the_test_split_judge_no_other(cli: Cli, task: Write) -> None:
    bound = 'alone = { image = 0.6, audio = 0.5 }\nbound = { "audio+image" = 0.2 }'
    named = task("mini", ("alone = { image = 0.6, audio = 0.5 }", bound))
    part = _load.load(catalog.task(named)).splits["ood"]
    texts = [texts[0] for texts in part.references["caption"].texts]  # type: ignore[attr-defined]
    rows = zip(part.ids, texts, strict=True)
    write("perfect.jsonl", *(json.dumps({"id": name, "caption": text}) for name, text in rows))
    assert cli("score", "-t", named, "perfect.jsonl", "--split", "ood", "--save").code == 0
    (stored,) = store.scan(Path("results"))[0]
    assert (stored.record.status, stored.record.reason) == ("finished", "")
    assert stored.record.scores["ood"]["rouge_l"].value == 1.0
    assert " --split ood " in stored.record.reproduce


def test_a_leak_stays_one_when_another_metric_is_added(cli: Cli, task: Write) -> None:
    bound = 'alone = { image = 0.6, audio = 0.5 }\nbound = { "audio+image" = 0.2 }'
    named = task("mini", ("alone = { image = 0.6, audio = 0.5 }", bound))
    part = _load.load(catalog.task(named)).splits["test"]
    texts = [texts[0] for texts in part.references["caption"].texts]  # type: ignore[attr-defined]
    rows = zip(part.ids, texts, strict=True)
    write("perfect.jsonl", *(json.dumps({"id": name, "caption": text}) for name, text in rows))
    for more in ((), ("--metrics", "bleu4")):
        assert cli("score", "-t", named, "perfect.jsonl", "--save", *more).code == 0
    (stored,) = store.scan(Path("results"))[0]
    assert "bleu4" in stored.record.scores["test"]
    assert (stored.record.status, stored.record.reason[:7]) == ("leak", "rouge_l")


# --- what makes a record, and what is added to one -----------------------------------------------

#: What reads the same files otherwise -> what the refusal says of it.
OTHERWISE = {
    "--column prediction=other": "--column",
    "--cluster video": "--cluster",
    "--allow-missing": "--allow-missing",
    "--cluster place --allow-missing": "--cluster and --allow-missing",
}


@pytest.fixture
def two_columns(files: Path) -> None:
    """Predictions of two columns, either of which could be meant."""
    rows = [json.loads(line) for line in Path("said.jsonl").read_text().splitlines()]
    write("said.jsonl", *(json.dumps(row | {"other": "a dog runs in the park"}) for row in rows))


@pytest.mark.usefixtures("two_columns")
@pytest.mark.parametrize("options", OTHERWISE)
def test_the_same_file_read_otherwise_replaces_nothing(cli: Cli, options: str) -> None:
    assert cli("score", "said.jsonl", *TEXTS, "--save").code == 0
    (before,) = store.scan(Path("results"))[0]
    refused = cli("score", "said.jsonl", *TEXTS, "--save", *options.split())
    assert refused.code == 4
    assert f"is there, scored with other {OTHERWISE[options]}: --name" in refused.error
    (after,) = store.scan(Path("results"))[0]
    assert after.record == before.record
    beside = cli("score", "said.jsonl", *TEXTS, "--save", "--name", "mine", *options.split())
    assert beside.code == 0
    assert len(store.scan(Path("results"))[0]) == 2


@pytest.mark.usefixtures("two_columns")
@pytest.mark.parametrize("options", [*OTHERWISE, "--kind text", "--column reference=references"])
def test_the_command_of_a_record_holds_how_the_files_were_read(cli: Cli, options: str) -> None:
    import shlex

    assert cli("score", "said.jsonl", *TEXTS, "--save", *options.split()).code == 0
    (before,) = store.scan(Path("results"))[0]
    assert all(part in before.record.reproduce for part in options.split())
    again = cli(*shlex.split(before.record.reproduce)[1:])
    assert again.code == 0, again.err
    (after,) = store.scan(Path("results"))[0]
    assert after.record.identity == before.record.identity
    assert after.record.reproduce == before.record.reproduce
    assert after.record.scores == before.record.scores
    assert after.record.files == before.record.files


def test_other_references_of_the_same_file_are_a_board_apart(cli: Cli, files: Path) -> None:
    rows = [json.loads(line) for line in Path("true.jsonl").read_text().splitlines()]
    write("true.jsonl", *(json.dumps(row | {"short": row["references"][:1]}) for row in rows))
    cli("score", "said.jsonl", *TEXTS, "--save")
    cli("score", "said.jsonl", *TEXTS, "--save", "--column", "reference=short")
    assert len(json.loads(cli("leaderboard", "--json").out)["boards"]) == 2


def test_the_folder_of_the_users_data_is_a_place_to_fill_in(
    cli: Cli, mini: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_load, "source_digest", lambda task, root: "ab12" if root else "")
    Path("secret").mkdir()
    cli("score", "-t", mini, "mini.jsonl", "--save", "--data", "secret")
    (stored,) = store.scan(Path("results"))[0]
    assert stored.record.data["source"] == "ab12"
    assert stored.record.reproduce.endswith(" --split test --data DIR --save")


def test_other_metrics_of_the_same_predictions_stand_beside_those_of_before(
    cli: Cli, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("score", "said.jsonl", *TEXTS, "--save")
    (before,) = store.scan(Path("results"))[0]
    collect, later = provenance.collect, {"started": "2099-01-01T00:00:00+00:00"}
    monkeypatch.setattr(provenance, "collect", lambda *given: collect(*given) | later)
    done = cli("score", "said.jsonl", *TEXTS[:2], "--metrics", "wer,bleu4", "--save")
    assert done.code == 0, done.err
    (after,) = store.scan(Path("results"))[0]
    scores = after.record.scores["test"]
    assert list(scores) == ["bleu4", "cider_d", "wer"]
    assert {n: scores[n] for n in ("bleu4", "cider_d")} == before.record.scores["test"]
    assert after.record.identity == before.record.identity
    assert after.record.files["predictions.parquet"] == before.record.files["predictions.parquet"]
    assert after.record.provenance["started"] == before.record.provenance["started"]
    assert after.record.provenance["rescored"]["started"] == later["started"]
    assert after.record.reproduce == before.record.reproduce.replace("cider_d", "cider_d,wer")
    for metric in ("bleu4", "cider_d", "wer"):
        (board,) = json.loads(cli("leaderboard", "--json", "--metric", metric).out)["boards"]
        (row,) = board["rows"]
        assert row["value"] == pytest.approx(scores[metric].value)


def test_what_ranks_is_what_the_first_record_named_first(cli: Cli, files: Path) -> None:
    write("worse.jsonl", *(json.dumps({"id": f"v{k}", "x": "a dog"}) for k in range(ITEMS)))
    score_as = ("score", "--references", "true.jsonl", "--save", "--metrics")
    cli(*score_as, "rouge_l,wer", "worse.jsonl")
    cli(*score_as, "wer,bleu4", "said.jsonl", "--name", "a")
    (board,) = json.loads(cli("leaderboard", "--json").out)["boards"]
    assert board["metric"] == "rouge_l"
    assert [row["model"] for row in board["rows"]] == ["worse"]
    assert board["listed"] == [
        f"{store.resolve(Path('results'), 'true/a').record.name}: not scored with this metric on "
        "this split"
    ]
    cli(*score_as, "rouge_l", "said.jsonl", "--name", "a")
    cli(*score_as, "bleu4", "worse.jsonl")
    (board,) = json.loads(cli("leaderboard", "--json").out)["boards"]
    assert board["metric"] == "rouge_l"
    assert [row["model"] for row in board["rows"]] == ["a", "worse"]
    assert all(row["also"]["wer"] and row["also"]["bleu4"] for row in board["rows"])


@pytest.mark.parametrize("named", ["./own.py", "shouted"])
def test_a_metric_of_ones_own_is_in_the_command_as_its_file(
    cli: Cli, files: Path, named: str
) -> None:
    import shlex

    write(
        "own.py",
        "from mmbench.metrics import metric",
        "@metric",
        "def shouted(items):",
        "    return [float(text.isupper()) for text in items.predictions]",
    )
    include = () if named.endswith(".py") else ("--include", "own.py")
    done = cli("score", "said.jsonl", *TEXTS[:2], "--metrics", named, *include, "--save")
    assert done.code == 0, done.err
    cli("score", "said.jsonl", *TEXTS, "--save")
    (before,) = store.scan(Path("results"))[0]
    expected = f"--metrics {shlex.quote(f'{named},bleu4,cider_d')} --save"
    assert before.record.reproduce.endswith(("--include ./own.py " if include else "") + expected)
    again = cli(*shlex.split(before.record.reproduce)[1:])
    assert again.code == 0, again.err
    (after,) = store.scan(Path("results"))[0]
    assert after.record.scores == before.record.scores
    assert after.record.files == before.record.files


def test_seeds_of_other_clusters_are_not_said_to_combine(cli: Cli, files: Path) -> None:
    first = ("score", "said.jsonl", *TEXTS, "--save")
    cli(*first)
    cli(*first, "--seed", "1", "--cluster", "video")
    assert "of 2 here" not in cli("show", "true/said", "--no-figures").out
    assert ": has 8 clusters of the column 'video', the board no" in cli("leaderboard").err
    cli(*first, "--seed", "2", "--cluster", "video")
    assert "of 2 here (1, 2)" in cli("show", "true/said", "--no-figures").out
    done = cli("leaderboard", "--json")
    assert ": has no clusters, the board 8 clusters of the column 'video'" in done.err
    assert json.loads(done.out)["boards"][0]["rows"][0]["seeds"] == 2


@pytest.mark.parametrize("spoilt", ["record.json", "items.parquet"])
def test_a_damaged_record_is_not_replaced(cli: Cli, files: Path, spoilt: str) -> None:
    cli("score", "said.jsonl", *TEXTS, "--save")
    (stored,) = store.scan(Path("results"))[0]
    path = stored.folder / spoilt
    path.write_bytes(path.read_bytes()[:-20])
    content = path.read_bytes()
    refused = cli("score", "said.jsonl", *TEXTS[:2], "--metrics", "wer", "--save")
    assert refused.code == 1
    assert str(path) in refused.error
    assert path.read_bytes() == content


# --- what is refused -----------------------------------------------------------------------------

#: What is typed behind ``mmbench score`` -> exit code, and what the line has to say.
REFUSED: dict[str, tuple[int, str]] = {
    "--metrics wer --references true.jsonl": (2, "FILE is missing: expected a file of predictions"),
    "said.jsonl --predictions said.jsonl": (2, "--predictions said.jsonl: said.jsonl is named alr"),
    "said.jsonl": (2, "--metrics is missing: name metrics, or a task with -t; 'mmbench list metr"),
    "said.jsonl --metrics bleu-4": (2, "unknown metric 'bleu-4': did you mean 'bleu4'?"),
    "said.jsonl --metrics wer(": (2, "'wer(': the parentheses do not match"),
    "said.jsonl --metrics wer(normalizr=x) --references true.jsonl": (2, "has no option 'normaliz"),
    "said.jsonl --metrics wer,accuracy": (2, "metric 'accuracy' scores outputs of the kind 'label"),
    "said.jsonl --metrics wer --kind label": (2, "kind 'text', but --kind asks for 'label'"),
    "said.jsonl --metrics wer": (2, "no column looks like the reference (it has: id, prediction)"),
    "said.jsonl --metrics wer --budget small": (2, "--budget: goes with --task only"),
    "said.jsonl --metrics wer --data .": (2, "--data: goes with --task only"),
    "said.jsonl -t captioning --references true.jsonl": (2, "--references: the task has its own"),
    "said.jsonl -t captioning --kind text": (2, "--kind: goes with --metrics without a task only"),
    "said.jsonl -t captoining": (2, "unknown task 'captoining': did you mean 'captioning'?"),
    "said.jsonl -t MINI --split tset": (2, "--split tset: did you mean 'test'? the task 'mini' ha"),
    "said.jsonl -t MINI": (4, "said.jsonl:1: none of the ids is known: 'v0' here, 'test-0000' in "),
    "said.jsonl -t MINI --metrics accuracy": (2, "metric 'accuracy' scores outputs of the kind"),
    "mini.jsonl -t MINI --save --budget brif": (2, "--budget brif: did you mean 'brief'? the task"),
    "said.jsonl TEXTS --by plce": (2, "--by plce: there is no such column: did you mean 'place'?"),
    "said.jsonl TEXTS --cluster plce": (2, "--cluster plce: there is no such column: did you mean"),
    "said.jsonl TEXTS --by references": (2, "--by references: holds ['"),
    "said.jsonl TEXTS --column said": (2, "--column said: expected ROLE=NAME, such as prediction="),
    "said.jsonl TEXTS --column predicton=x": (2, "--column predicton=...: did you mean 'predictio"),
    "said.jsonl TEXTS --column prediction=x": (2, "said.jsonl has no column 'x': it has: id, pred"),
    "said.jsonl TEXTS --column id=x": (2, "--column id=x: said.jsonl has no column 'x': it has: i"),
    "said.jsonl TEXTS --save --name ../x": (2, "--name ../x: expected letters, digits and _ . + -"),
    "said.jsonl TEXTS --split test": (0, ""),
    "none.jsonl TEXTS": (4, "none.jsonl: cannot be read: No such file or directory"),
    "folder TEXTS": (4, "folder: is a folder: name a file in it"),
    "empty.jsonl TEXTS": (4, "empty.jsonl: is empty"),
    "said.xml TEXTS": (4, "said.xml: cannot tell its format: expected a name that ends in .jsonl,"),
    "twice.jsonl TEXTS": (4, "twice.jsonl:25: a second prediction for 'v3'; the first is at twice"),
    "fewer.jsonl TEXTS": (4, "fewer.jsonl: has no prediction for 2 of the 24 items of true.jsonl "),
    "more.jsonl TEXTS": (4, "more.jsonl:25: the id 'v99' is not among those of true.jsonl"),
    "said.jsonl --references splits.csv --metrics wer": (4, "--split NAME takes the rows of one"),
    "null.jsonl TEXTS": (4, "null.jsonl:24: 'v23' has no prediction: write an empty text where no"),
    "number.jsonl TEXTS": (4, "number.jsonl:24: prediction is 5: expected a text"),
    "noid.jsonl TEXTS": (4, "noid.jsonl:25: has no id in the column 'id': expected a text or an i"),
    "cut.jsonl TEXTS": (4, "cut.jsonl:25: the JSON ends too early: was it cut off?"),
    "cut.json TEXTS": (4, "cut.json:1: the JSON ends too early: was it cut off?"),
    "labels.csv --references truth.csv --metrics nll": (0, ""),
    "sum.csv --references truth.csv --metrics nll": (4, "sum.csv:2: the scores of 'v0' add up"),
    "unknown.csv --references truth.csv --metrics accuracy": (4, "unknown.csv:2: prediction is 'd"),
    "one.jsonl --references one.jsonl --metrics cider_d --column reference=prediction": (
        *(2, "metric 'cider_d': one item is no corpus: an n-gram is weighted by the log of"),
    ),
    "nan.jsonl TEXTS": (4, "nan.jsonl:25: holds NaN, which is no number: leave it out"),
    "latin.jsonl TEXTS": (4, "latin.jsonl:25: is not UTF-8 text (byte 0xe9): save the file as UTF"),
    "long.jsonl TEXTS": (4, "long.jsonl:24: prediction has 10,000,000 characters: expected one te"),
    "cut.parquet TEXTS": (4, "cut.parquet: is no whole Parquet file: was it cut off?"),
}  # fmt: skip


@pytest.fixture
def broken(files: Path) -> None:
    """Files that are broken in one way each."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    lines = Path("said.jsonl").read_text().splitlines()
    Path("folder").mkdir()
    Path("said.xml").touch()
    write("empty.jsonl")
    write("splits.csv", "id,reference,split", "v0,a,test", "v1,a,test", "v2,a,val")
    write("twice.jsonl", *lines, lines[3])
    write("fewer.jsonl", *lines[2:])
    write("more.jsonl", *lines, '{"id": "v99", "prediction": "a"}')
    write("noid.jsonl", *lines, '{"prediction": "a"}')
    write("cut.jsonl", *lines, lines[3][:20])
    Path("cut.json").write_text(f"[{lines[0]}, {lines[3][:12]}\n")
    labels, truth = (Path(name).read_text().splitlines() for name in ("labels.csv", "truth.csv"))
    write("sum.csv", labels[0], "v0,cat,0.7,0.9", *labels[2:])
    write("unknown.csv", truth[0].replace("label", "prediction"), "v0,dgo", *truth[2:])
    write("one.jsonl", lines[0])
    write("nan.jsonl", *lines, '{"id": "v99", "prediction": NaN}')
    write("long.jsonl", *lines[:-1], json.dumps({"id": "v23", "prediction": "a " * 5_000_000}))
    write("number.jsonl", *lines[:-1], '{"id": "v23", "prediction": 5}')
    write("null.jsonl", *lines[:-1], '{"id": "v23", "prediction": null}')
    Path("latin.jsonl").write_bytes("\n".join([*lines, "é"]).encode("latin-1"))
    parquet.write_table(pa.table({"id": ["a"] * 999}), "whole.parquet")
    Path("cut.parquet").write_bytes(Path("whole.parquet").read_bytes()[:-40])


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("line", REFUSED)
def test_what_is_wrong_is_one_line_and_an_exit_code(cli: Cli, mini: str, line: str) -> None:
    code, expected = REFUSED[line]
    line = line.replace("TEXTS", " ".join(TEXTS)).replace("MINI", mini)
    done = cli("score", *line.split())
    assert done.code == code, done.err
    if code:
        assert expected in done.error
        assert len(done.err.splitlines()) == 1
        assert len(done.err) < 500
        assert not done.out
    assert not Path("results").exists()


def test_where_a_reference_is_empty_it_says_so(cli: Cli, files: Path) -> None:
    lines = Path("true.jsonl").read_text().splitlines()
    write("silent.jsonl", *lines[:-1], '{"id": "v23", "references": [" ", ""]}')
    done = cli("score", "said.jsonl", "--references", "silent.jsonl", "--metrics", "bleu4,wer")
    assert done.code == 0, done.err
    assert "warning: silent.jsonl:24: 'v23' has an empty reference: whatever is said" in done.out


def test_a_process_imports_nothing_heavy(files: Path) -> None:
    code = (
        "import sys; from mmbench.cli import run_cli; code = run_cli(sys.argv[1:]); "
        "heavy = {'torch', 'pandas', 'scipy', 'pyarrow', 'matplotlib', 'rich', 'PIL'}; "
        "print(code, sorted(heavy & {*sys.modules}))"
    )
    arguments = ["score", "said.jsonl", *TEXTS, "--by", "place"]
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_of_a_task_what_the_predictions_allow_is_scored_and_the_rest_has_a_reason(
    cli: Cli, workplace: Path
) -> None:
    write("labels.csv", "id,label", *(f"test-{k:04d},{k % 4}" for k in range(3000)))
    done = cli("score", "-t", "synergy", "labels.csv")
    assert done.code == 0, done.err
    (line,) = (line for line in done.out.splitlines() if line.startswith("- "))
    assert line.startswith("- bits, nll, brier: no value: the predictions bring no probabilities")
    named = cli("score", "-t", "synergy", "labels.csv", "--metrics", "nll")
    assert (named.code, "scores or in columns p:CLASS" in named.error) == (2, True)
