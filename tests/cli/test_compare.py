"""`mmbench compare`: what is compared with what, how it is told, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from made_up import add, change, found

from mmbench import scoring, store

Cli: TypeAlias = Callable[..., Any]


def compared(cli: Cli, *arguments: object) -> list[dict[str, Any]]:
    done = cli("compare", "--json", *arguments)
    assert done.code == 0, done.err
    content = json.loads(done.out, parse_constant=pytest.fail)
    assert content["schema"] == 1
    return content["comparisons"]  # type: ignore[no-any-return]


def main(comparison: dict[str, Any]) -> dict[str, Any]:
    return comparison["differences"][0]  # type: ignore[no-any-return]


# --- records -------------------------------------------------------------------------------------


def test_two_models_are_compared_over_their_seeds_and_items(cli: Cli, results: Path) -> None:
    (one,) = compared(cli, "late", "concat")
    assert (one["task"], one["split"], one["budget"]) == ("mini@1", "test", "brief")
    assert [d["metric"] for d in one["differences"]] == ["rouge_l", "cider_d", "slot_f1"]
    rows = {
        model: [
            store.read_items(found(model, seed))["test"].families["rouge_l"][1] for seed in (0, 1)
        ]
        for model in ("late", "concat")
    }
    expected = scoring.difference("rouge_l", rows["late"], rows["concat"])
    d = main(one)
    assert (d["value"], d["low"], d["high"], d["df"]) == pytest.approx(
        (expected.value, expected.low, expected.high, expected.df)
    )
    assert d["p"] == pytest.approx(expected.p_value())
    assert d["value"] == pytest.approx(d["first"]["value"] - d["second"]["value"])
    (back,) = compared(cli, "concat", "late")
    assert main(back)["value"] == -d["value"]
    assert (main(back)["low"], main(back)["high"]) == (-d["high"], -d["low"])
    assert "2+2 seeds x 24 items; one training set" in one["scope"]


def test_the_text_says_what_was_found_and_what_could_have_been(cli: Cli, results: Path) -> None:
    text = cli("compare", "late", "concat").out
    assert text.startswith("late - concat | mini@1 | test | brief\n")
    assert "95% interval" in text
    assert "2+2 seeds x 24 items; one training set; paired over items" in text
    assert "next: the same with --show-flips 3" in text
    (one,) = compared(cli, "late", "concat")
    told = main(one)["verdict"]
    assert told in ("better", "worse", "no difference found")
    assert told in text


def test_a_difference_that_is_there_is_found_and_none_is_not(cli: Cli, results: Path) -> None:
    draw = np.random.default_rng(0)
    base = draw.uniform(0.3, 0.6, 400)
    ids = [f"test-{i:04d}" for i in range(400)]
    for seed in range(3):
        noise = draw.normal(0, 0.05, (3, 400))
        add("good", base + 0.1 + noise[0], seed, ids)
        add("plain", base + noise[1], seed, ids)
        add("twin", base + noise[2], seed, ids)
    (one,) = compared(cli, "good", "plain", "--metric", "rouge_l")
    assert main(one)["verdict"] == "better"
    assert main(one)["low"] < 0.1 < main(one)["high"]
    assert main(one)["effect"] > 1
    assert "plain is worse than good on rouge_l" in cli("compare", "plain", "good").out
    (none,) = compared(cli, "twin", "plain")
    d = main(none)
    assert d["verdict"] == "no difference found"
    assert 0 < d["detectable"] < 0.02
    text = cli("compare", "twin", "plain").out
    assert f"would find one of {d['detectable']:.3f} in four of five cases" in text


def test_where_less_is_better_a_lower_score_is_the_better_one(cli: Cli, results: Path) -> None:
    said, true = Path("a.csv"), Path("true.csv")
    true.write_text("id,reference\n" + "".join(f"{k},a b c d\n" for k in range(30)))
    said.write_text("id,prediction\n" + "".join(f"{k},a b c d\n" for k in range(30)))
    wrong = "".join(f"{k},{'a b' if k % 2 else 'a b c'}\n" for k in range(30))
    Path("b.csv").write_text("id,prediction\n" + wrong)
    (one,) = compared(cli, "a.csv", "b.csv", "--references", "true.csv", "--metric", "wer")
    assert main(one)["value"] < 0
    assert main(one)["verdict"] == "better"


def test_one_seed_is_about_these_weights(cli: Cli, results: Path) -> None:
    (one,) = compared(cli, "late", "image_only")
    assert one["scope"].startswith("these weights: 24 items, 2+1 seeds")
    folder = found("late", 1).folder
    (one,) = compared(cli, str(folder), "mini/image_only")
    assert one["scope"].startswith("these weights: 24 items;")
    assert one["first"] == str(folder)


def test_p_values_are_corrected_within_their_family(cli: Cli, results: Path) -> None:
    (one,) = compared(cli, "late", "concat")
    asked, *others = one["differences"]
    assert asked["adjusted"] == asked["p"], "one task, one main metric: one question"
    there = [d for d in others if not d["reason"]]
    assert all(d["adjusted"] >= d["p"] for d in there)
    assert min(d["adjusted"] for d in there) == pytest.approx(
        min(1.0, len(there) * min(d["p"] for d in there))
    )


def test_groups_of_items_are_compared_too(cli: Cli, results: Path, made: Path) -> None:
    task = ["--include", str(made.parent / "mini.toml")]
    (one,) = compared(cli, "late", "concat", "--by", "occluded", *task)
    groups = one["by"]["occluded"]
    assert sum(own[0]["first"]["n"] for own in groups.values()) == 24
    shown = cli("compare", "late", "concat", "--by", "occluded", *task).out
    assert "by occluded:" in shown
    wrong = cli("compare", "late", "concat", "--by", "colour", *task)
    assert wrong.code == 2
    assert "--by colour: the items of 'mini' have: " in wrong.error


def test_items_that_changed_most_are_shown_with_what_was_said(
    cli: Cli, results: Path, made: Path
) -> None:
    task = ["--include", str(made.parent / "mini.toml")]
    (one,) = compared(cli, "late", "concat", "--show-flips", "2", *task)
    changes = [flip["change"] for flip in one["flips"]]
    up, down = ([c for c in changes if c > 0], [c for c in changes if c < 0])
    assert up == sorted(up, reverse=True)
    assert down == sorted(down)
    assert len(up) <= 2
    assert len(down) <= 2
    said = store.read_predictions(found("late"), "test")
    flip = one["flips"][0]
    assert flip["first"] == said["caption"][said["id"].index(flip["id"])]
    assert flip["right"]
    text = cli("compare", "late", "concat", "--show-flips", "2", *task).out
    assert "items that changed most (rouge_l, late - concat):" in text
    assert f"late: {flip['first'][:40]}" in text


def test_formats_hold_the_same_and_are_the_same_bytes(cli: Cli, results: Path) -> None:
    for form in ("text", "markdown", "latex", "json"):
        out = cli("compare", "late", "concat", "--format", form).out
        assert out == cli("compare", "late", "concat", "--format", form).out
    latex = cli("compare", "late", "concat", "--format", "latex", "--out", "table.tex")
    assert latex.out.rstrip().endswith("-> table.tex")
    table = Path("table.tex").read_text()
    assert r"\toprule" in table
    assert r"rouge\_l &" in table
    assert table.count(r"\\") == 1 + 3
    markdown = cli("compare", "late", "concat", "--format", "markdown").out
    assert "| metric | late | concat | difference |" in markdown


def test_hostile_names_are_escaped(cli: Cli, workplace: Path) -> None:
    Path("true.csv").write_text("id,reference\n1,a b\n2,b c\n3,c a\n")
    name = "a_b|<script>&%.csv"
    for path in (name, "b.csv"):
        Path(path).write_text("id,prediction\n1,a b\n2,b\n3,c a\n")
    asked = ("compare", name, "b.csv", "--references", "true.csv", "--metric", "wer", "--format")
    assert "<script>" not in cli(*asked, "markdown").out
    assert r"a\_b\textbar{}\textless{}script\textgreater{}\&\%" in cli(*asked, "latex").out


# --- what is not comparable ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"task_digest": "f" * 64}, "differ in task digest: "),
        ({"budget": "long"}, "differ in budget: brief and long"),
        ({"data": {"fingerprint": "other"}}, "differ in data: "),
        ({"task": "maxi"}, "the two have no task in common: mini and maxi"),
    ],
)
def test_what_was_measured_otherwise_is_refused_by_name(
    cli: Cli, results: Path, parts: dict[str, Any], told: str
) -> None:
    add("other", np.linspace(0, 1, 24), **parts)
    done = cli("compare", "late", "other")
    assert done.code == 4
    assert told in done.error
    assert len(done.err.splitlines()) == 1


def test_other_items_clusters_and_signatures_are_refused(cli: Cli, results: Path) -> None:
    add("fewer", np.linspace(0, 1, 20), ids=[f"test-{i:04d}" for i in range(20)])
    done = cli("compare", "late", "fewer", "--metric", "rouge_l")
    assert done.code == 4
    assert "late and fewer have other items: 24 and 20, 'test-0020' is in one only" in done.error
    add("grouped", np.linspace(0, 1, 24), clusters=[f"c{i // 4}" for i in range(24)])
    done = cli("compare", "late", "grouped", "--metric", "rouge_l")
    assert "late and grouped have other clusters" in done.error
    record = found("image_only")
    scores = record.record.scores["test"]
    import msgspec

    old = msgspec.structs.replace(scores["rouge_l"], signature="rouge_l|v0")
    change(record, scores={"test": {**scores, "rouge_l": old}})
    done = cli("compare", "late", "image_only")
    assert done.code == 4
    assert "image_only: rouge_l was scored as 'rouge_l|v0', here it is" in done.error


def test_what_is_not_there_or_not_finished_is_told(cli: Cli, results: Path) -> None:
    assert cli("compare", "late", "nobody").code == 4
    assert "no record 'nobody'" in cli("compare", "late", "nobody").error
    change(found("image_only"), status="diverged", reason="the loss is not finite")
    done = cli("compare", "late", "image_only")
    assert (done.code, "diverged: the loss is not finite" in done.error) == (4, True)
    done = cli("compare", "late", "concat", "--split", "nosplit")
    assert done.code == 4
    assert "has no split 'nosplit'; it has: test, ood" in done.error
    done = cli("compare", "late", "concat", "--metric", "wer")
    assert "late: was not scored with 'wer'" in done.error
    for option in (["--references", "x.csv"], ["--column", "id=x"], ["--cluster", "x"]):
        assert cli("compare", "late", "concat", *option).code == 2


def test_seeds_of_two_definitions_are_no_one_model(cli: Cli, results: Path) -> None:
    other = found("late", 1)
    change(other, provenance=other.record.provenance | {"plugins": {"fusion late": "f" * 64}})
    done = cli("compare", "late", "concat")
    assert done.code == 4
    assert "late: 2 definitions bear this name: " in done.error


def test_limited_records_stand_in_for_nothing(cli: Cli, results: Path) -> None:
    change(found("late", 1), ranked=False)
    (one,) = compared(cli, "late", "concat")
    assert main(one)["first"]["seeds"] == 1
    assert main(one)["second"]["seeds"] == 2


def test_one_item_has_a_difference_and_no_interval(cli: Cli, workplace: Path) -> None:
    Path("t.csv").write_text("id,reference\n1,a b\n")
    for name, said in (("a", "a b"), ("b", "a")):
        Path(f"{name}.csv").write_text(f"id,prediction\n1,{said}\n")
    (one,) = compared(cli, "a.csv", "b.csv", "--references", "t.csv", "--metric", "wer")
    d = main(one)
    assert d["value"] == -0.5
    assert (d["low"], d["p"], d["verdict"]) == (None, None, "")
    assert "one item" in d["reason"]
    assert "nothing can be told" in cli(
        "compare", "a.csv", "b.csv", "--references", "t.csv", "--metric", "wer"
    ).out  # fmt: skip


# --- files ---------------------------------------------------------------------------------------


def transcripts(name: str, wrong: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    lines = []
    for k in range(60):
        words = [f"w{k % 7}", "x", "y", "z"]
        said = [w if draw.random() > wrong else "oops" for w in words]
        lines.append(f"{k},{' '.join(said)},s{k % 6},{'f' if k % 2 else 'm'}")
    Path(name).write_text("id,prediction,speaker,sex\n" + "\n".join(lines) + "\n")


def test_files_are_compared_as_they_would_be_scored(cli: Cli, workplace: Path) -> None:
    truth = [f"{k},w{k % 7} x y z" for k in range(60)]
    Path("true.csv").write_text("id,reference\n" + "\n".join(truth) + "\n")
    transcripts("a.csv", 0.05, 1)
    transcripts("b.csv", 0.3, 2)
    asked = ("a.csv", "b.csv", "--references", "true.csv", "--metric", "wer,cer")
    (one,) = compared(cli, *asked, "--cluster", "speaker", "--by", "sex", "--show-flips", "1")
    assert one["scope"].startswith("these weights: 60 items in 6 clusters;")
    assert main(one)["verdict"] == "better"
    scores = {
        name: json.loads(
            cli("score", name, "--references", "true.csv", "--metrics", "wer", "--json").out
        )["metrics"]["wer"]["value"]
        for name in ("a.csv", "b.csv")
    }
    assert main(one)["value"] == pytest.approx(scores["a.csv"] - scores["b.csv"])
    assert set(one["by"]["sex"]) == {"f", "m"}
    assert "oops" in one["flips"][0]["second"]
    assert one["flips"][0]["right"][0].endswith("x y z")


def test_files_need_to_know_what_is_right(cli: Cli, workplace: Path) -> None:
    transcripts("a.csv", 0.1, 1)
    done = cli("compare", "a.csv", "a.csv")
    assert done.code == 2
    assert "need -t TASK, or --metric and --references FILE" in done.error
    done = cli("compare", "a.csv", "hybrid")
    assert done.code == 2
    assert "hybrid: a file of predictions is compared with another one" in done.error
    done = cli("compare", "a.csv", "a.csv", "--budget", "small", "-t", "captioning")
    assert "--budget: goes with records only" in done.error


def test_files_that_hold_what_is_right_need_no_other(cli: Cli, workplace: Path) -> None:
    for name, said in (("a", "yes"), ("b", "no")):
        rows = "".join(f"{k},{said if k % 3 else 'yes'},yes\n" for k in range(60))
        Path(f"{name}.csv").write_text("id,prediction,reference\n" + rows)
    (one,) = compared(cli, "a.csv", "b.csv", "--metric", "wer")
    assert main(one)["verdict"] == "better"
    assert one["task"] == "a.csv"


def test_a_model_beside_itself_is_warned_about(cli: Cli, results: Path) -> None:
    assert "late is compared with itself" in cli("compare", "late", "late").err


def test_where_nothing_varies_nothing_is_promised(cli: Cli, workplace: Path) -> None:
    rows = "".join(f"{k},yes,yes\n" for k in range(60))
    for name in ("a", "b"):
        Path(f"{name}.csv").write_text("id,prediction,reference\n" + rows)
    (one,) = compared(cli, "a.csv", "b.csv", "--metric", "wer")
    assert main(one)["detectable"] is None
    assert (
        "no seed and no item tells the two apart"
        in cli("compare", "a.csv", "b.csv", "--metric", "wer").out
    )


def test_a_seed_that_was_measured_differently_is_left_out_by_name(cli: Cli, results: Path) -> None:
    change(found("late", 1), data={"fingerprint": "f" * 64, "source": ""})
    done = cli("compare", "late", "concat")
    assert done.code == 0
    assert "mini/late/brief-s1-" in done.err
    assert "differs in data from what is compared: left out" in done.err
