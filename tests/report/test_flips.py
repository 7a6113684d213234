"""`mmbench compare --figures`: the items that changed most, drawn beside what was said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from test_sheet import answers

from mmbench import sealed, store
from mmbench.compare import Comparison, Difference, Flip
from mmbench.report import colours, comparison, flips
from mmbench.report.samples import Answers
from mmbench.scoring import Score

Neat = Callable[[Any], list[str]]
SCORE = Score("cider_d", 3.2, 3.1, 3.3, 0.05, 9.0, 14, 3, "", "v1", True, (0.0, 10.0))
DIFFERENCE = Difference(
    "cider_d", SCORE, SCORE, 0.1, 0.0, 0.2, 0.05, 9.0, 0.04, 0.04, 0.3, 0.1, "better", True
)


def compared(made: Answers, *found: Flip, **parts: Any) -> Comparison:
    settings: dict[str, Any] = {
        "task": "mini@1", "split": "test", "budget": "small", "first": "hybrid", "second": "late",
        "main": "cider_d", "differences": (DIFFERENCE,), "scope": "2+2 seeds",
    }  # fmt: skip
    return Comparison(**settings | parts, flips=found, answers=made)


UP = Flip("item-3", 1.25, "a red dog", "a blue dog", ("a red dog runs", "red"))
DOWN = Flip("item-5", -0.5, "a blue dog", "a red dog", ("a red dog runs",))


def images(figure: Any) -> list[Any]:
    return [image.get_array() for axes in figure.axes for image in axes.get_images()]


def test_a_sheet_shows_items_what_both_said_what_is_right_and_the_change(neat: Neat) -> None:
    made = answers(("image", "audio", "tags"))
    drawn = flips.figure(compared(made, UP, DOWN))
    texts = neat(drawn)
    assert "hybrid and late, mini@1 small: 2 items of test that changed most" in texts
    assert texts.index("for hybrid, by cider_d") < texts.index("item-3")
    assert texts.index("item-3") < texts.index("for late, by cider_d") < texts.index("item-5")
    assert {"cider_d +1.25", "cider_d -0.50", "beach"} <= set(texts)
    assert texts.count("hybrid said") == texts.count("late said") == 2
    assert texts.count("right") == 3
    assert made.data is not None
    pixels = made.data.inputs["image"]
    shown = images(drawn)
    assert isinstance(pixels, np.ndarray)
    assert np.array_equal(shown[0], pixels[3].transpose(1, 2, 0))
    assert np.array_equal(shown[3], pixels[5].transpose(1, 2, 0))


def test_what_is_stated_wrongly_is_marked() -> None:
    drawn = flips.figure(compared(answers(("image",)), UP))
    looks = {t.get_text(): to_hex(t.get_color()) for t in drawn.texts if t.get_weight() == "bold"}
    assert (looks["red"], looks["blue"]) == (colours.WRONG, colours.RIGHT), "true is blue, here"


def test_labels_are_marked_as_right_or_wrong(neat: Neat) -> None:
    made = replace(answers(("image",), slots=False), kind="label")
    drawn = flips.figure(compared(made, Flip("item-1", 1.0, "cat", "dog", ("cat",))))
    looks = {t.get_text(): to_hex(t.get_color()) for t in drawn.texts if t.get_weight() == "bold"}
    assert (looks["cat"], looks["dog"]) == (colours.RIGHT, colours.WRONG)
    assert "(wrong: orange" in " ".join(neat(drawn))


def test_of_a_metric_of_which_less_is_more_a_fall_speaks_for_the_first(neat: Neat) -> None:
    worse = replace(DIFFERENCE, metric="wer", higher_is_better=False)
    made = compared(answers(("image",)), DOWN, main="wer", differences=(worse,))
    texts = neat(flips.figure(made))
    assert "for hybrid, by wer" in texts
    assert "for late, by wer" not in texts


@pytest.mark.parametrize("name", ["<script>", "../../x", "a\0b", "$x^2$", "m" * 9000])
def test_hostile_names_do_no_harm(
    name: str, tmp_path: Path, neat: Neat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = answers(("image",))
    assert made.data is not None
    inputs = {f"../{name}": made.data.inputs["image"]}
    made = replace(
        made,
        row={name: 0},
        modalities={f"../{name}": made.modalities["image"]},
        data=replace(made.data, ids=[name], inputs=inputs),
    )
    one = compared(made, replace(UP, id=name, first=name), first=name, task=f"{name}@1")
    neat(flips.figure(one))
    (done,) = flips.draw_all(Path("pics"), [one])
    assert {path.parent for path in tmp_path.rglob("*.png")} == {tmp_path / "pics"}
    assert len([*Path("pics").iterdir()]) == 2
    assert "<script>" not in comparison.markdown([done])
    assert "\0" not in done.sheet


def test_two_comparisons_of_one_task_have_files_of_their_own(tmp_path: Path) -> None:
    one = compared(answers(("image",)), UP)
    first, second = flips.draw_all(tmp_path, [one, one])
    assert first.sheet != second.sheet
    assert len([*tmp_path.iterdir()]) == 4
    (again,) = flips.draw_all(tmp_path / "again", [one])
    assert Path(again.sheet).read_bytes() == Path(first.sheet).read_bytes()


# --- the command ---------------------------------------------------------------------------------


def asked(cli: Any, *arguments: object) -> tuple[dict[str, Any], str]:
    done = cli("compare", *arguments, "--json")
    assert done.code == 0, done.err
    (one,) = json.loads(done.out, parse_constant=pytest.fail)["comparisons"]
    return one, done.err


def test_records_flips_are_drawn_and_named_in_json(cli: Any, results: Path, made: Path) -> None:
    task = ("--include", made.parent / "mini.toml")
    one, err = asked(cli, "late", "concat", "--show-flips", 2, "--figures", "pics", *task)
    assert err == "wrote pics/flips-mini.png\n"
    assert one["sheet"] == "pics/flips-mini.png"
    for flip in one["flips"]:
        assert set(flip["media"]) == {"image", "audio"}
        assert flip["right"]
        for path in flip["media"].values():
            with Image.open(path) as image:
                assert image.size[0] > 100
    files = {path for flip in one["flips"] for path in flip["media"].values()} | {one["sheet"]}
    assert files == {str(path) for path in Path("pics").iterdir()}
    assert len(files) == 1 + 2 * len(one["flips"])
    assert "answers" not in one
    markdown = cli("compare", "late", "concat", "--figures", "pics", *task, "--format", "markdown")
    assert "](pics/flips-mini.png)" in markdown.out
    assert f"right: {one['flips'][0]['right'][0][:40]}" in markdown.out
    assert f"late: {one['flips'][0]['first'][:20]}" in markdown.out


def test_items_are_shown_where_nobody_kept_what_was_said(
    cli: Any, results: Path, made: Path
) -> None:
    for path in results.rglob("predictions.parquet"):
        path.unlink()
    task = ("--include", made.parent / "mini.toml")
    one, err = asked(cli, "late", "concat", "--figures", "pics", *task)
    assert err.count("warning: ") == 2
    assert one["sheet"]
    assert len(one["flips"]) >= 3
    assert all(flip["right"] and not flip["first"] for flip in one["flips"])


def test_without_the_data_there_is_a_warning_and_text(cli: Any, results: Path, made: Path) -> None:
    for path in results.rglob("record.json"):
        record = store.read(path.parent).record
        other = msgspec.structs.replace(record, data={"fingerprint": "f" * 64})
        path.write_bytes(msgspec.json.encode(sealed.seal(other)))
    one, err = asked(cli, "late", "concat", "--figures", "pics")
    assert "warning: no references and no contact sheet: the data here are not those" in err
    assert "warning: mini@1: no items to draw" in err
    assert one["sheet"] == ""
    assert one["flips"][0]["first"]
    assert not Path("pics").exists()


def test_files_of_predictions_are_drawn_with_the_items_of_their_task(
    cli: Any, results: Path, made: Path
) -> None:
    task = str(made.parent / "mini.toml")
    for model in ("late", "concat"):
        folder = next(results.glob(f"mini/{model}/*-s0-*"))
        said = store.read_predictions(store.read(folder), "test")
        rows = zip(said["id"], said["caption"], strict=True)
        lines = [json.dumps({"id": k, "prediction": v}) for k, v in rows]
        Path(f"{model}.jsonl").write_text("\n".join(lines))
    files = ("late.jsonl", "concat.jsonl", "-t", task)
    one, _ = asked(cli, *files, "--figures", "pics", "--show-flips", 1)
    assert one["sheet"] == "pics/flips-mini.png"
    assert set(one["flips"][0]["media"]) == {"image", "audio"}
    rights = [{"id": f["id"], "reference": f["right"][0]} for f in one["flips"]]
    for name in ("late", "concat"):
        ids = {f["id"] for f in one["flips"]}
        kept = [line for line in Path(f"{name}.jsonl").read_text().splitlines()
                if json.loads(line)["id"] in ids]  # fmt: skip
        Path(f"{name}.jsonl").write_text("\n".join(kept))
    Path("true.jsonl").write_text("\n".join(map(json.dumps, rights)))
    loose = ("late.jsonl", "concat.jsonl", "--references", "true.jsonl", "--metric", "rouge_l")
    one, err = asked(cli, *loose, "--figures", "pics2")
    assert (one["sheet"], Path("pics2").exists()) == ("", False)
    assert "warning: true.jsonl: no items to draw" in err


def test_groups_have_tables_of_their_own_in_latex(cli: Any, results: Path, made: Path) -> None:
    task = ("--include", made.parent / "mini.toml", "--metric", "rouge_l")
    plain = cli("compare", "late", "concat", "--format", "latex", *task).out
    latex = cli("compare", "late", "concat", "--format", "latex", "--by", "occluded", *task).out
    assert latex.startswith(plain)
    rest = latex[len(plain) :]
    assert rest.startswith("\n% by occluded\n" + r"\begin{tabular}{lrlrrrrr}")
    assert r"Occluded & $n$ & Metric & late & concat &" in rest
    rows = [line for line in rest.splitlines() if line.endswith(r"\\")][1:]
    assert [line.split(" & ")[0] for line in rows] == ["False", "True"]
    assert sum(int(line.split(" & ")[1]) for line in rows) == 24
    assert {line.count(" & ") for line in rows} == {7}
