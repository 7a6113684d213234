"""`mmbench gate`: what is held against what, verdicts and exit codes, promotion and history."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from made_up import add, change, found, let_in

from mmbench import store
from mmbench.gate import promotion
from mmbench.report import gate as report

Cli: TypeAlias = Callable[..., Any]
ITEMS = 400
IDS = [f"test-{i:04d}" for i in range(ITEMS)]


def seeds(
    name: str, shift: float = 0.0, count: int = 3, spread: float = 0.002, into: str = ""
) -> Path:
    """Store records of made-up ROUGE-L scores; models of one call share nothing but the items."""
    draw = np.random.default_rng([*name.encode(), count, round(abs(shift) * 1000)])
    base = np.random.default_rng(0).uniform(0.3, 0.6, ITEMS)
    folder = Path(into or name)
    for seed in range(count):
        rows = base + shift + draw.normal(0, spread) + draw.normal(0, 0.05, ITEMS)
        stored = add(
            "late", rows, seed, IDS, identity=f"{name}{seed}".encode().hex().ljust(64, "0")
        )
        store.adopt(folder, stored)
        store.remove(stored)
    return folder


def gated(cli: Cli, *arguments: object, code: int = 0) -> dict[str, Any]:
    done = cli("gate", "--json", *arguments)
    assert done.code == code, (done.out, done.err)
    content = json.loads(done.out, parse_constant=pytest.fail)
    assert content["schema"] == report.SCHEMA
    assert content["passed"] == (code == 0)
    return content  # type: ignore[no-any-return]


def only(content: dict[str, Any]) -> dict[str, Any]:
    (verdict,) = content["verdicts"]
    return verdict  # type: ignore[no-any-return]


@pytest.fixture
def reference(results: Path) -> Path:
    return seeds("reference")


# --- verdicts and exit codes ---------------------------------------------------------------------


def test_another_set_of_seeds_passes(cli: Cli, reference: Path) -> None:
    verdict = only(gated(cli, "--reference", reference, "--candidate", seeds("new")))
    assert verdict["status"] == "passed"
    assert verdict["margin"] == pytest.approx(0.02 * verdict["reference"])
    assert verdict["low"] < verdict["change"] < verdict["high"]
    assert verdict["scope"] == "3+3 seeds x 400 items; one training set"


def test_what_is_worse_than_the_margin_is_red_and_the_items_are_named(
    cli: Cli, reference: Path
) -> None:
    worse = seeds("worse", -0.03)
    verdict = only(gated(cli, "--reference", reference, "--candidate", worse, code=1))
    assert verdict["status"] == "regressed"
    assert len(verdict["worst"]) == 3
    assert verdict["high"] < -verdict["margin"]
    done = cli("gate", "--reference", reference, "--candidate", worse)
    assert done.error == "error: 1 critical regressed"
    assert "worst: test-" in done.out


def test_a_loss_within_the_margin_passes(cli: Cli, reference: Path) -> None:
    arguments = ["--reference", reference, "--candidate", seeds("less", -0.03)]
    assert only(gated(cli, *arguments, "--margin", "0.05"))["status"] == "passed"
    assert only(gated(cli, *arguments, "--margin", "10%"))["margin"] == pytest.approx(
        0.045, abs=0.002
    )


def test_too_little_is_inconclusive_and_says_what_would_settle_it(
    cli: Cli, reference: Path
) -> None:
    wide = seeds("wide", -0.01, spread=0.02)
    arguments = ["--reference", reference, "--candidate", wide, "--margin", "0.01"]
    verdict = only(gated(cli, *arguments, code=3))
    assert verdict["status"] == "inconclusive"
    assert "seeds of each, 'seeds = [3, " in verdict["reason"]
    assert "this look has spent its level, so plan it for the next candidate" in verdict["reason"]
    assert gated(cli, *arguments, "--on-inconclusive", "pass")["exit_code"] == 0
    done = cli("gate", *arguments, "--on-inconclusive", "warn")
    assert (done.code, done.err) == (0, "warning: 1 critical inconclusive\n")


def test_the_same_bits_pass_and_other_bits_are_changed_not_worse(cli: Cli, reference: Path) -> None:
    same = gated(cli, "--reference", reference, "--candidate", reference, "--margin", "0")
    assert only(same)["reason"] == "nothing has changed: the same bits"
    assert (same["bits"][0]["same"], same["bits"][0]["of"]) == (3, 3)
    other = cli("gate", "--reference", reference, "--candidate", seeds("new"))
    assert "mini/late: changed: 3 of 3 seeds say something else" in other.out


def test_one_seed_takes_its_spread_from_the_reference(cli: Cli, results: Path) -> None:
    reference = seeds("reference", count=5, spread=0.02)
    verdict = only(
        gated(cli, "--reference", reference, "--candidate", seeds("one", -0.02, 1), code=3)
    )
    assert "the candidate's seeds are taken to vary as the reference's" in verdict["scope"]
    assert verdict["low"] < -0.02 < verdict["high"]
    one = seeds("alone", count=1)
    verdict = only(gated(cli, "--reference", one, "--candidate", seeds("other", count=1)))
    assert verdict["scope"].startswith("these weights")


def test_a_candidate_that_diverged_or_is_missing_is_told_apart(cli: Cli, results: Path) -> None:
    reference = Path("reference")
    shutil.copytree(results, reference)
    shutil.rmtree(results / "mini" / "concat")
    content = gated(cli, "--reference", reference, "--candidate", results, code=4)
    told = {v["model"]: v["status"] for v in content["verdicts"]}
    assert told == {"concat": "missing", "image_only": "passed", "late": "passed"}
    change(found("late", 1), status="diverged", reason="the loss is not finite at step 3")
    content = gated(cli, "--reference", reference, "--candidate", results, code=1)
    late = next(v for v in content["verdicts"] if v["model"] == "late")
    assert late["status"] == "regressed"
    assert late["reason"] == "1 of 2 seeds diverged: the loss is not finite at step 3"


def test_what_was_measured_differently_is_missing_by_name(
    cli: Cli, reference: Path, results: Path
) -> None:
    other = seeds("other")
    for stored in store.scan(other)[0]:
        change(stored, data={"fingerprint": "f" * 64, "source": ""})
    verdict = only(gated(cli, "--reference", reference, "--candidate", other, code=4))
    assert "differ in data" in verdict["reason"]


def test_models_of_other_names_are_held_against_each_other_where_each_is_the_only_one(
    cli: Cli, results: Path
) -> None:
    content = gated(
        cli, "--reference", "mini/concat", "--candidate", "mini/late", "--margin", "900%"
    )
    assert (only(content)["model"], only(content)["candidate_model"]) == ("concat", "late")
    assert (
        "mini/concat -> late rouge_l"
        in cli("gate", "--reference", "mini/concat", "--candidate", "mini/late").out
    )


def test_a_seed_that_diverges_as_before_is_no_regression(cli: Cli, reference: Path) -> None:
    stored = store.scan(reference)[0][0]
    change(
        stored, status="diverged", reason="the loss is not finite at step 3", scores={}, files={}
    )
    content = gated(cli, "--reference", reference, "--candidate", reference)
    assert only(content)["status"] == "passed"


def test_limited_runs_stand_in_for_nothing_where_there_are_whole_ones(
    cli: Cli, reference: Path
) -> None:
    for stored in store.scan(seeds("limited", -0.3))[0]:
        change(stored, ranked=False)
    shutil.copytree("limited", reference, dirs_exist_ok=True)
    content = gated(cli, "--reference", reference, "--candidate", reference)
    assert only(content)["scope"] == "3+3 seeds x 400 items; one training set"
    assert (content["bits"][0]["same"], content["bits"][0]["of"]) == (3, 3)


# --- policy --------------------------------------------------------------------------------------


def policy(text: str) -> Path:
    path = Path("gates.toml")
    path.write_text(text)
    return path


def test_a_policy_says_what_counts(cli: Cli, reference: Path) -> None:
    worse = seeds("worse", -0.03)
    arguments = ["--reference", reference, "--candidate", worse, "--policy"]
    advisory = policy('[[gates]]\nmetric = "rouge_l"\nmargin = 0.001\ntier = "advisory"\n')
    assert only(gated(cli, *arguments, advisory))["status"] == "regressed"
    supporting = policy('[[gates]]\nmargin = 0.001\ntier = "supporting"\n')
    assert gated(cli, *arguments, supporting, code=1)["summary"] == "1 supporting regressed"
    first = policy('[[gates]]\nmodel = "late"\nmargin = 0.5\n[[gates]]\nmargin = 0.0\n')
    assert only(gated(cli, *arguments, first))["margin"] == 0.5


def test_a_gate_that_fits_nothing_is_missing(cli: Cli, reference: Path) -> None:
    path = policy('[[gates]]\ntask = "minni"\n[[gates]]\n')
    content = gated(
        cli, "--reference", reference, "--candidate", reference, "--policy", path, code=4
    )
    assert [v["status"] for v in content["verdicts"]] == ["passed", "missing"]
    assert content["verdicts"][1]["task"] == "minni"


def test_looks_are_planned(cli: Cli, results: Path) -> None:
    reference = seeds("reference", count=8)
    path = policy("seeds = [3, 5, 8]\n[[gates]]\nmargin = 0.03\n")
    alphas = []
    for count, code in ((2, 3), (3, 0), (5, 0), (8, 0)):
        new = seeds(f"new{count}", count=count, spread=0.0)
        content = gated(
            cli, "--reference", reference, "--candidate", new, "--policy", path, code=code
        )
        verdict = only(content)
        if count == 2:
            assert verdict["reason"] == "the first look is planned at 3 seeds, the candidate has 2"
        else:
            alphas.append(verdict["alpha"])
            assert f"look {len(alphas)} of 3" in verdict["scope"]
    assert alphas == sorted(alphas)
    assert alphas[0] < 0.04
    assert alphas[-1] < 0.05


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alhpa = 0.1", "unknown key 'alhpa': did you mean 'alpha'?"),
        ("gates = []", "'gates' is empty: expected [[gates]] tables"),
        ('[[gates]]\ntier = "crtical"', "gates[0].tier: 'crtical' is none of its values: did you"),
        ('[[gates]]\nmargin = "2"', 'margin \'2\': expected a number in the metric\'s unit'),
        ("[[gates]]\nmargin = -1", "gates[0].margin"),
        ('[[gates]]\nmetric = "rouge"', "unknown metric 'rouge': did you mean 'rouge_l'?"),
        ("seeds = [5, 3]\n[[gates]]", "expected growing numbers, as [3, 5, 8]"),
        ("alpha = 0.7", "alpha"),
        ("schema = 9", "schema = 9 is newer"),
        ("[[gates", "is not valid TOML"),
    ],
)  # fmt: skip
def test_a_policy_with_a_mistake_is_refused_by_its_key(
    cli: Cli, reference: Path, text: str, message: str
) -> None:
    done = cli("gate", "--reference", reference, "--candidate", reference, "--policy", policy(text))
    assert done.code == 2
    assert "gates.toml: " in done.error
    assert message in done.error


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--candidate", "nowhere"], 4, "no record 'nowhere'"),
        (["--candidate", "empty"], 4, "--candidate empty: holds no records"),
        (["--candidate", "a.jsonl"], 2, "a file of predictions is held against another one"),
        ([], 2, "--candidate: is missing"),
        (["--candidate", "reference", "--margin", "much"], 2, "margin 'much': expected a number"),
        (["--candidate", "reference", "--margin", "nan"], 2, "margin nan: expected a number"),
        (["--candidate", "reference", "--metric", "rouge"], 2, "did you mean 'rouge_l'"),
        (["--candidate", "reference", "-t", "minni"], 4, "did you mean 'mini'"),
        (["--candidate", "reference", "-m", "lste"], 4, "did you mean 'late'"),
        (["--candidate", "reference", "--update"], 2, "needs --message"),
        (["--candidate", "reference", "--message", "x"], 2, "goes with --update"),
        (["--candidate", "reference", "--cluster", "x"], 2, "goes with files"),
        (["--candidate", "reference", "--history", "nowhere"], 4, "--history nowhere: No such"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_refused_in_one_line(
    cli: Cli, reference: Path, arguments: list[str], code: int, message: str
) -> None:
    Path("empty").mkdir()
    done = cli("gate", "--reference", reference, *arguments)
    assert done.code == code, done.err
    assert message in done.error


# --- files ---------------------------------------------------------------------------------------


def predictions(name: str, wrong: float, count: int = 400) -> str:
    draw = np.random.default_rng(len(name))
    said = ["yes no"[4 * k : 4 * k + 3].strip() for k in (draw.random(count) < wrong).astype(int)]
    Path(name).write_text("id,prediction\n" + "".join(f"{i},{w}\n" for i, w in enumerate(said)))
    return name


def test_two_files_are_one_checkpoint_each(cli: Cli, workplace: Path) -> None:
    Path("true.csv").write_text("id,reference\n" + "".join(f"{i},yes\n" for i in range(400)))
    ref, good, bad = (
        predictions(n, w) for n, w in (("r.csv", 0.2), ("good.csv", 0.2), ("bad1.csv", 0.5))
    )
    common = ["--references", "true.csv", "--metric", "wer", "--margin", "0.1"]
    verdict = only(gated(cli, "--reference", ref, "--candidate", good, *common))
    assert verdict["scope"].startswith("these weights: 400 items")
    assert not verdict["higher_is_better"]
    verdict = only(gated(cli, "--reference", ref, "--candidate", bad, *common, code=1))
    assert verdict["change"] > 0.1
    same = gated(cli, "--reference", ref, "--candidate", ref, *common)
    assert only(same)["reason"] == "nothing has changed: the same bits"
    done = cli("gate", "--reference", ref, "--candidate", bad)
    assert "need -t TASK, or --metric and --references FILE" in done.error


def test_the_same_labels_with_other_probabilities_are_not_the_same_bits(
    cli: Cli, workplace: Path
) -> None:
    for name, sure in (("sure", 0.9), ("unsure", 0.55)):
        rows = [{"id": str(k), "scores": {"a": sure, "b": 1 - sure}} for k in range(50)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"id": str(k), "label": "ab"[k % 5 == 0]} for k in range(50)]
    Path("true.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--reference", "unsure.jsonl", "--candidate", "sure.jsonl"]
    content = gated(
        cli, *arguments, "--references", "true.jsonl", "--metric", "nll", "--margin", "9"
    )
    assert only(content)["reason"] != "nothing has changed: the same bits"
    assert content["bits"][0]["same"] == 0


def test_files_of_a_task_are_held_by_its_own_metrics(
    cli: Cli, task: Callable[..., str], results: Path
) -> None:
    said = store.read_predictions(found("late"), "test")
    rows = [{"id": i, "caption": c} for i, c in zip(said["id"], said["caption"], strict=True)]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{**row, "caption": row["caption"] + " or not"} for row in rows]
    Path("b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = gated(cli, "--reference", "a.jsonl", "--candidate", "a.jsonl", "-t", task())
    assert only(content)["metric"] == "rouge_l"
    path = policy('[[gates]]\n[[gates]]\nmetric = "wer"\nmargin = "1%"\ntier = "advisory"\n')
    content = gated(
        cli,
        "--reference",
        "a.jsonl",
        "--candidate",
        "b.jsonl",
        "-t",
        task(),
        "--policy",
        path,
        code=1,
    )
    assert [v["metric"] for v in content["verdicts"]] == ["rouge_l", "wer"]


# --- reports -------------------------------------------------------------------------------------


def test_junit_has_a_case_for_each_verdict(cli: Cli, reference: Path) -> None:
    worse = seeds("worse", -0.03)
    path = policy(
        '[[gates]]\n[[gates]]\ntask="nothing"\n[[gates]]\nmetric="cider_d"\ntier="advisory"\n'
    )
    done = cli(
        "gate", "--reference", reference, "--candidate", worse, "--policy", path,
        "--junit", "gate.xml", "--markdown", "gate.md",
    )  # fmt: skip
    assert done.code == 1
    root = ElementTree.parse("gate.xml").getroot()
    (suite,) = root
    assert dict(suite.attrib) == {
        "name": "mmbench gate", "tests": "3", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    kinds = [[child.tag for child in case] for case in suite]
    assert kinds == [["failure"], ["skipped"], ["error"]]
    text = Path("gate.md").read_text()
    assert text.startswith("### mmbench gate: not passed\n")
    assert "| ❌ regressed | mini/late rouge\\_l | critical |" in text or "❌ regressed" in text
    assert cli(
        "gate", "--reference", reference, "--candidate", worse, "--format", "junit"
    ).out.startswith("<?xml")


def test_a_github_page_gets_the_verdict(
    cli: Cli, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "page.md")
    assert cli("gate", "--reference", reference, "--candidate", reference).code == 0
    assert "mmbench gate: passed" in Path("page.md").read_text()


def test_hostile_names_do_no_harm(cli: Cli, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_in(monkeypatch)
    name = "<script>alert(1)</script>|`x`\x00\n" + "y" * 10_000
    reference = seeds("reference")
    for stored in store.scan(reference)[0]:
        change(stored, model=name)
    done = cli(
        "gate",
        "--reference",
        reference,
        "--candidate",
        seeds("worse", -0.1),
        "--junit",
        "g.xml",
        "--markdown",
        "g.md",
    )
    assert done.code in (1, 4)
    assert max(map(len, done.out.splitlines())) < 700
    assert "\x00" not in done.out + Path("g.xml").read_text() + Path("g.md").read_text()
    ElementTree.parse("g.xml")
    assert "<script>" not in Path("g.md").read_text()


def test_damaged_records_are_named_and_the_rest_is_judged(cli: Cli, results: Path) -> None:
    reference = Path("reference")
    shutil.copytree(results, reference)
    (found("concat", 0).folder / "record.json").write_text("{")
    done = cli("gate", "--reference", reference, "--candidate", results, "--margin", "900%")
    assert "warning: " in done.err
    assert "is not valid JSON" in done.err
    assert "PASSED" in done.out


# --- promotion -----------------------------------------------------------------------------------


def test_a_promotion_is_written_down_and_the_first_anchor_is_kept(cli: Cli, results: Path) -> None:
    reference = seeds("sharp", count=6, spread=0.0005)
    for step, shift in enumerate((-0.012, -0.026)):
        new = seeds(f"step{step}", shift, 6, 0.0005)
        arguments = ["--reference", reference, "--candidate", new, "--margin", "0.018"]
        content = cli("gate", *arguments, "--update", "--message", f"step {step}")
        assert content.code == 0, content.err
        assert "promoted: 6 in place of 6" in content.out
    first, second = promotion.read(reference)
    assert (first.message, second.message) == ("step 0", "step 1")
    assert first.promoted == second.replaced
    assert [v.against for v in second.verdicts] == ["reference", "first anchor"]
    assert [v.status for v in second.verdicts] == ["passed", "regressed"]
    assert {s.record.name for s in store.scan(reference / "anchor")[0]} == set(first.replaced)
    assert {s.record.name for s in store.scan(reference)[0]} == set(second.promoted)
    # Small losses, each within its margin, add up: against the first anchor it is too much.
    new = seeds("step2", -0.026, 6, 0.0005)
    content = gated(cli, "--reference", reference, "--candidate", new, "--margin", "0.018", code=1)
    assert [(v["against"], v["status"]) for v in content["verdicts"]] == [
        ("reference", "passed"), ("first anchor", "regressed"),
    ]  # fmt: skip


def test_a_file_is_promoted_too(cli: Cli, workplace: Path) -> None:
    Path("true.csv").write_text("id,reference\n" + "".join(f"{i},yes\n" for i in range(400)))
    ref, new = predictions("r.csv", 0.2), predictions("new.csv", 0.21)
    before, after = Path(ref).read_text(), Path(new).read_text()
    common = ["--references", "true.csv", "--metric", "wer", "--margin", "0.1"]
    done = cli(
        "gate", "--reference", ref, "--candidate", new, *common, "--update", "--message", "x"
    )
    assert done.code == 0, done.err
    assert Path(ref).read_text() == after
    assert Path("r.anchor.csv").read_text() == before
    (one,) = promotion.read(Path(ref))
    assert list(one.replaced) == ["r.csv"]


def test_a_promotion_that_was_cut_off_is_put_right(
    cli: Cli, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = seeds("new")
    arguments = ["--reference", reference, "--candidate", new]
    before = {s.record.name for s in store.scan(reference)[0]}
    after = {s.record.name for s in store.scan(new)[0]}

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    adopt = store.adopt
    calls = []

    def adopt_one(results: Path, stored: store.Stored) -> store.Stored:
        calls.append(stored)
        if len(calls) == 5:  # three for the anchor, one for the reference
            raise KeyboardInterrupt
        return adopt(results, stored)

    with monkeypatch.context() as patch:
        patch.setattr(store, "adopt", adopt_one)
        assert cli("gate", *arguments, "--update", "--message", "x").code == 130
    done = cli("gate", *arguments)
    assert "note: took back a promotion that was cut off" in done.out
    assert {s.record.name for s in store.scan(reference)[0]} == before
    assert promotion.read(reference) == []
    with monkeypatch.context() as patch:
        patch.setattr(store, "remove", killed)
        assert cli("gate", *arguments, "--update", "--message", "x").code == 130
    done = cli("gate", *arguments)
    assert "note: finished a promotion that was cut off" in done.out
    assert {s.record.name for s in store.scan(reference)[0]} == after
    assert len(promotion.read(reference)) == 1


def test_a_promotion_is_finished_only_where_the_new_records_are(cli: Cli, reference: Path) -> None:
    """A record scored anew keeps its name: the old one is there before it is replaced, too."""
    arguments = ["--reference", reference, "--candidate", seeds("new")]
    assert cli("gate", *arguments, "--update", "--message", "x").code == 0
    (one,) = promotion.read(reference)
    other = dict.fromkeys(one.promoted, "0" * 64)
    again = msgspec.structs.replace(one, replaced=one.promoted, promoted=other)
    for entry, told in ((again, "took back"), (one, "finished")):
        promotion._write(reference, [one, entry] if entry is again else [one])
        promotion._mark(reference).touch()
        assert promotion.recover(reference) == f"{told} a promotion that was cut off"
        assert promotion.read(reference) == [one]


def test_records_put_back_by_hand_are_left_alone(cli: Cli, reference: Path) -> None:
    """A book of promotions is no order: only a promotion that was cut off is put right."""
    before = seeds("before")
    shutil.copytree(reference, before, dirs_exist_ok=True)
    new = seeds("new")
    arguments = ["--reference", reference, "--candidate", new]
    assert cli("gate", *arguments, "--update", "--message", "x").code == 0
    shutil.copytree(before, reference, dirs_exist_ok=True)
    there = {s.record.name for s in store.scan(reference)[0]}
    cli("gate", *arguments)
    assert {s.record.name for s in store.scan(reference)[0]} == there
    assert len(promotion.read(reference)) == 1


def test_the_first_anchor_holds_whatever_the_models_are_called(cli: Cli, results: Path) -> None:
    reference = seeds("sharp", count=6, spread=0.0005)
    for step, shift in (("one", -0.012), ("two", -0.026)):
        new = seeds(step, shift, 6, 0.0005)
        for stored in store.scan(new)[0]:
            change(stored, model=step)
        arguments = ["--reference", reference, "--candidate", new, "--margin", "0.018"]
        assert cli("gate", *arguments, "--update", "--message", step).code == 0
    assert {s.record.model for s in store.scan(reference / "anchor")[0]} == {"late"}
    new = seeds("three", -0.026, 6, 0.0005)
    content = gated(cli, "--reference", reference, "--candidate", new, "--margin", "0.018", code=1)
    told = [(v["model"], v["against"], v["status"]) for v in content["verdicts"]]
    assert told == [("two", "reference", "passed"), ("two", "first anchor", "regressed")]


def test_only_what_is_frozen_can_be_replaced(cli: Cli, results: Path) -> None:
    done = cli(
        "gate",
        "--reference",
        "mini/late",
        "--candidate",
        "mini/concat",
        "--update",
        "--message",
        "x",
    )
    assert (done.code, "is no results folder and no file" in done.error) == (2, True)


def test_a_damaged_book_of_promotions_is_refused(cli: Cli, reference: Path) -> None:
    (reference / "promotions.json").write_text('{"schema": 1, "promotions": [], "checksum": "x"}')
    arguments = ["--reference", reference, "--candidate", seeds("new")]
    done = cli("gate", *arguments, "--update", "--message", "x")
    assert "promotions.json: does not match its checksum" in done.error


# --- history -------------------------------------------------------------------------------------


def commits(shifts: list[float]) -> Path:
    for place, shift in enumerate(shifts):
        seeds(f"c{place}", shift, spread=0.001, into=f"history/{place}-commit")
    return Path("history")


def test_a_regression_that_creeps_in_raises_the_alarm_and_chance_does_not(
    cli: Cli, reference: Path
) -> None:
    fine = commits([0.0] * 11)
    arguments = ["--reference", reference, "--margin", "0.01", "--history"]
    content = gated(cli, *arguments, fine)
    (watched,) = content["history"]
    assert watched["alarm"] == ""
    assert watched["commits"][-1] == "10-commit"  # numbers in names count as numbers
    assert max(watched["evidence"]) < watched["threshold"]
    shutil.rmtree(fine)
    falling = commits([0.0, 0.0, -0.03, -0.03, -0.03, -0.03])
    content = cli("gate", "--json", *arguments, falling)
    (watched,) = json.loads(content.out)["history"]
    assert watched["alarm"] in ("2-commit", "3-commit", "4-commit", "5-commit")
    assert "history (experimental): alarm at" in cli("gate", *arguments, falling).out


def test_a_history_names_what_cannot_be_held(cli: Cli, reference: Path) -> None:
    history = commits([0.0] * 4)
    (next((history / "1-commit").glob("*/*/*/record.json"))).write_text("{")
    for path in (history / "2-commit").glob("*/*/*/record.json"):
        path.unlink()
    content = gated(cli, "--reference", reference, "--history", history, "--margin", "0.05")
    (watched,) = content["history"]
    assert watched["left_out"] == ["2-commit: the candidate has no record of it"]
    shutil.rmtree(history / "3-commit")
    shutil.rmtree(history / "2-commit")
    done = cli("gate", "--reference", reference, "--history", history)
    assert "holds 2 commits, expected 3 at least" in done.error


def test_the_gate_loads_no_torch(cli: Cli, reference: Path) -> None:
    code = (
        "import sys\nfrom mmbench.cli import run_cli\n"
        "assert run_cli(['gate', '--reference', 'reference', '--candidate', 'reference']) == 0\n"
        "assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_nothing_is_promoted_where_nothing_can_be(cli: Cli, reference: Path) -> None:
    for stored in store.scan(seeds("elsewhere"))[0]:
        change(stored, task="other")
    arguments = ["--reference", reference, "--candidate", "elsewhere"]
    done = cli("gate", *arguments, "--update", "--message", "x")
    assert done.code == 4
    assert "--update: nothing of elsewhere can take the place of anything" in done.err
    assert promotion.read(reference) == []


def test_a_share_stands_beside_the_margin(cli: Cli, reference: Path) -> None:
    assert "(2%)" in cli("gate", "--reference", reference, "--candidate", seeds("new")).out


def test_missing_predictions_count_as_failures_where_that_is_asked_for(
    cli: Cli, workplace: Path
) -> None:
    Path("true.csv").write_text("id,reference\n" + "".join(f"{i},yes\n" for i in range(400)))
    ref, half = predictions("r.csv", 0.2), predictions("half.csv", 0.2, 200)
    arguments = ["--reference", ref, "--candidate", half, "--references", "true.csv"]
    arguments += ["--metric", "wer", "--margin", "0.1"]
    assert "--allow-missing" in cli("gate", *arguments).error
    content = gated(cli, *arguments, "--allow-missing", code=1)
    assert only(content)["candidate"] > 0.5


def test_a_folder_of_one_task_or_model_stands_for_what_it_holds(cli: Cli, results: Path) -> None:
    arguments = ["--reference", results / "mini" / "concat", "--margin", "900%", "--candidate"]
    content = gated(cli, *arguments, results / "mini" / "late")
    assert (only(content)["model"], only(content)["candidate_model"]) == ("concat", "late")
    arguments = ["--reference", results / "mini", "--margin", "900%", "--candidate"]
    assert len(gated(cli, *arguments, results)["verdicts"]) == 3
    done = cli("verify", results / "mini" / "late", "--json", "--no-write")
    assert {one["name"].split("/")[1] for one in json.loads(done.out)["records"]} == {"late"}
    assert cli("compare", results / "mini" / "late", results / "mini" / "concat").code == 0


def test_a_part_of_a_results_folder_is_not_replaced(cli: Cli, reference: Path) -> None:
    done = cli(
        "gate", "--reference", reference / "mini" / "late", "--candidate", seeds("new"),
        "--update", "--message", "x",
    )  # fmt: skip
    assert done.code == 2
    assert "is a part of the results folder" in done.error


def test_a_file_is_replaced_by_one_of_its_kind_only(cli: Cli, workplace: Path) -> None:
    ref = predictions("r.csv", 0.2)
    arguments = ["--reference", ref, "--candidate", "new.jsonl", "--update", "--message", "x"]
    done = cli("gate", *arguments, "--metric", "wer")
    assert "expected a file with the same ending, .csv" in done.error


def test_what_is_not_asked_about_now_is_not_missing(cli: Cli, results: Path) -> None:
    path = policy('[[gates]]\nmodel = "late"\n[[gates]]\nmodel = "concat"\n')
    arguments = ["--reference", results, "--candidate", results, "--policy", path]
    assert only(gated(cli, *arguments, "-m", "late"))["model"] == "late"
    part = ["--reference", results, "--candidate", results / "mini" / "late", "--policy", path]
    assert only(gated(cli, *part))["model"] == "late"
