"""`mmbench leaderboard`: what is ranked, what is only listed, what is left out, and as what."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import msgspec
import numpy as np
import pytest
from made_up import add, change, found

from mmbench import rng, store
from mmbench.errors import NotComparableError
from mmbench.leaderboard import aggregate
from mmbench.store import Stored

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ["text", "markdown", "overview", "csv", "json", "latex", "html"]

Cli: TypeAlias = Callable[..., Any]
Write: TypeAlias = Callable[..., str]


def boards(cli: Cli, *arguments: object) -> list[dict[str, Any]]:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    done = cli("leaderboard", "--json", *arguments)
    assert done.code == 0, done.err
    content = json.loads(done.out, parse_constant=refuse)
    assert content["schema"] == 1
    found: list[dict[str, Any]] = content["boards"]
    return found


def names(board: dict[str, Any]) -> list[str]:
    return [row["model"] for row in board["rows"]]


# --- what a board shows --------------------------------------------------------------------------


def test_rows_are_the_models_best_first_with_intervals_over_their_seeds(
    cli: Cli, results: Path
) -> None:
    (board,) = boards(cli)
    assert (board["task"], board["budget"], board["split"]) == ("mini@1", "brief", "test")
    assert (board["metric"], board["also"]) == ("rouge_l", ["cider_d", "slot_f1"])
    assert sorted(names(board)) == ["concat", "image_only", "late"]
    values = [row["value"] for row in board["rows"]]
    assert values == sorted(values, reverse=True)
    for row in board["rows"]:
        seeds = [0] if row["model"] == "image_only" else [0, 1]
        members = [found(row["model"], seed) for seed in seeds]
        for metric in ("rouge_l", "cider_d", "slot_f1"):
            expected = aggregate(members, metric)
            got = row["main"] if metric == "rouge_l" else row["also"][metric]
            assert (got["value"], got["low"], got["high"]) == (
                expected.value,
                expected.low,
                expected.high,
            )
        assert row["seeds"] == row["main"]["seeds"] == len(seeds)
        assert row["value"] == pytest.approx(
            np.mean([m.record.scores["test"]["rouge_l"].value for m in members])
        )
        assert row["headroom"] == pytest.approx((row["value"] - 0.1) / (0.7 - 0.1))
        assert row["parameters"] == members[0].record.cost["parameters"]


def test_text_shows_the_same_for_people(cli: Cli, results: Path) -> None:
    (board,) = boards(cli)
    done = cli("leaderboard")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "mini@1 | test | rouge_l | brief"
    assert lines[1] == "floor 0.100, ceiling 0.700 (oracles)"
    assert lines[2].split() == [
        *("rank", "model", "rouge_l", "95%", "interval", "headroom", "seeds"),
        *("params", "FLOPs", "train"),
    ]
    for line, row in zip(lines[3:6], board["rows"], strict=True):
        main = row["main"]
        assert f" {row['model']} " in line
        value, interval = f"{row['value']:.3f}", f"[{main['low']:.3f}, {main['high']:.3f}]"
        assert re.search(rf" {value} +{re.escape(interval)} +\|#*\.*\| ", line)
        assert f" {row['parameters']:,} " in line
    assert lines[6].startswith("95 % intervals over 1 to 2 seeds x 24 items; one training set; ")
    assert lines[7:] == [f"next: mmbench show mini/{board['rows'][0]['model']}"]


def test_markdown_is_a_table_with_all_metrics(cli: Cli, results: Path) -> None:
    (board,) = boards(cli)
    lines = cli("leaderboard", "--format", "markdown").out.splitlines()
    table = [[c.strip() for c in line[1:-1].split("|")] for line in lines if line.startswith("|")]
    assert lines[0] == "### mini@1 | test | rouge_l | brief"
    assert table[0] == [
        *("rank", "model", "rouge_l", "cider_d", "slot_f1", "headroom", "seeds", "trials"),
        *("parameters", "FLOPs per item", "train", "host memory", "device memory", "device"),
        "trust",
    ]
    assert table[1] == ["---"] * len(table[0])
    for cells, row in zip(table[2:], board["rows"], strict=True):
        assert cells[1] == row["model"]
        assert cells[2].startswith(f"**{row['value']:.3f}** [")
        assert cells[3] == f"{row['also']['cider_d']['value']:.3f}"
        assert cells[5] == f"{row['headroom']:.0%}"


def test_an_overview_has_a_row_for_each_model_and_a_column_for_each_board(
    cli: Cli, results: Path
) -> None:
    both = ["--format", "overview", "--metric", "rouge_l,slot_f1"]
    for model in ("late", "concat", "image_only"):
        for seed in (0, 1) if model != "image_only" else (0,):
            stored = found(model, seed)
            change(stored, status="diverged" if model == "concat" and seed else "finished")
    lines = cli("leaderboard", *both).out.splitlines()
    assert lines[0] == "| | mini, rouge_l on test | mini, slot_f1 on test |"
    assert set(lines[1]) == {"|", "-"}
    assert lines[2].split(" | ")[:2] == ["| *all modalities (oracle)*", "*0.700*"]
    rows = {line.split(" | ")[0].strip("| "): line for line in lines[3:] if line.startswith("|")}
    assert {"late", "concat", "image_only", "*floor*"} <= set(rows)
    values = json.loads(cli("leaderboard", "--metric", "rouge_l,slot_f1", "--json").out)["boards"]
    for board in values:
        for row in board["rows"]:
            assert f"{row['value']:.3f} [{row['main']['low']:.3f}, " in rows[row["model"]]
    assert rows["*best single modality (oracle)*"].split(" | ")[1] == "*0.600*"
    assert any(line.startswith("not ranked: mini/concat") for line in lines)
    only = cli("leaderboard", "--format", "overview").out
    assert only.startswith("| | mini |\n")
    assert "rouge_l on test, budget brief; 95 % intervals over" in only


def test_csv_has_one_row_for_each_model_and_metric(cli: Cli, results: Path) -> None:
    (board,) = boards(cli)
    rows = list(csv.DictReader(io.StringIO(cli("leaderboard", "--format", "csv").out)))
    assert len(rows) == 3 * 3
    by_name = {(row["model"], row["metric"]): row for row in rows}
    for row in board["rows"]:
        for metric, got in {"rouge_l": row["main"], **row["also"]}.items():
            cells = by_name[row["model"], metric]
            for key in ("value", "low", "high", "se"):
                assert float(cells[key]) == pytest.approx(got[key], rel=1e-5, abs=1e-9)
            assert (cells["seeds"], cells["items"]) == (str(got["seeds"]), "24")
            assert cells["signature"] == got["signature"]
            assert (cells["headroom"] != "") == (metric == "rouge_l")


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_records_give_the_same_bytes(cli: Cli, results: Path, form: str) -> None:
    first = cli("leaderboard", "--format", form)
    second = cli("leaderboard", "--format", form)
    assert first.code == 0
    assert first.out == second.out
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-m", "mmbench", "leaderboard", "--format", form]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert done.stdout == first.out


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_gets_what_would_be_printed(cli: Cli, results: Path, form: str) -> None:
    done = cli("leaderboard", "--format", form, "--out", "new/board")
    assert (done.code, done.out) == (0, "wrote new/board\n")
    printed = cli("leaderboard", "--format", form).out
    assert printed.startswith(Path("new/board").read_text().rstrip("\n"))
    rest = printed.removeprefix(Path("new/board").read_text().rstrip("\n")).strip()
    assert rest == "" or rest.startswith("next: ")


# --- choices -------------------------------------------------------------------------------------


def test_another_metric_ranks_by_itself(cli: Cli, results: Path) -> None:
    (board,) = boards(cli, "--metric", "slot_f1")
    assert (board["metric"], board["also"]) == ("slot_f1", ["rouge_l", "cider_d"])
    assert board["floor"] is None, "the task has levels for its main metric only"
    assert {row["headroom"] for row in board["rows"]} == {None}
    values = [row["value"] for row in board["rows"]]
    assert values == sorted(values, reverse=True)


def test_several_metrics_have_a_board_each(cli: Cli, results: Path) -> None:
    made_boards = boards(cli, "--metric", "slot_f1,rouge_l", "--metric", "cider_d")
    assert [board["metric"] for board in made_boards] == ["slot_f1", "rouge_l", "cider_d"]


def test_where_less_is_better_the_least_comes_first(cli: Cli, results: Path, made: Path) -> None:
    Path("words_spoken.py").write_text(
        "from mmbench.metrics import metric\n\n\n"
        "@metric(bounds=(0.0, None), higher_is_better=False)\n"
        "def words_spoken(items):\n"
        '    "Mean number of words."\n'
        "    return [len(text.split()) for text in items.predictions]\n"
    )
    task = str(made.parent / "mini.toml")
    arguments = ["-m", "late,concat", "--seeds", "2", "--set", "width=16", "-q"]
    cli("run", "-t", task, *arguments, "--metric", "words_spoken.py")
    short = [1.0 + rng.uniform(7, count=24)[i] for i in range(24)]
    counts = {"words_spoken": (["words_spoken", "count"], np.stack([short, np.ones(24)], 1))}
    stored = found("late")
    like = stored.record.scores["test"]["words_spoken"]
    ids = [f"test-{i:04d}" for i in range(24)]
    table = store.items_table({"test": ids}, {"test": counts}, {"test": None})
    for model, seed, factor in (("terse", 0, 0.5), ("verbose", 0, 9.0)):
        counts["words_spoken"][1][:, 0] = np.array(short) * factor
        table = store.items_table({"test": ids}, {"test": counts}, {"test": None})
        changes = {"model": model, "seed": seed, "identity": model * 9, "files": {}}
        changes |= {"model_digest": model, "scores": {"test": {"words_spoken": like}}}
        store.write(Path("results"), msgspec.structs.replace(stored.record, **changes), table)
    (board,) = boards(cli, "--metric", "words_spoken.py")
    values = [row["value"] for row in board["rows"]]
    assert not board["higher_is_better"]
    assert values == sorted(values)
    rank = {row["model"]: row["rank"] for row in board["rows"]}
    assert rank["terse"][1] < rank["verbose"][0], "the one that says less stands before"


def test_another_split_has_its_own_board(cli: Cli, results: Path) -> None:
    (board,) = boards(cli, "--split", "ood")
    assert board["split"] == "ood"
    assert {row["main"]["n"] for row in board["rows"]} == {12}
    assert board["floor"] is None, "levels are those of the test split"


def test_tasks_models_and_budgets_can_be_chosen(cli: Cli, results: Path) -> None:
    assert names(boards(cli, "-m", "late")[0]) == ["late"]
    assert sorted(names(boards(cli, "-m", "late,image_only")[0])) == ["image_only", "late"]
    assert len(boards(cli, "-t", "mini", "--budget", "brief")) == 1


# --- ranks ---------------------------------------------------------------------------------------


def test_places_are_those_that_pairwise_tests_leave_open(cli: Cli, results: Path) -> None:
    noise = rng.uniform(0, "noise", count=24) * 0.02
    add("clear", 0.8 + noise)
    add("tied_a", 0.5 + noise)
    add("tied_b", 0.5 + noise[::-1])
    add("last", 0.1 + noise)
    (board,) = boards(cli, "-m", "clear,tied_a,tied_b,last")
    assert {row["model"]: tuple(row["rank"]) for row in board["rows"]} == {
        "clear": (1, 1),
        "tied_a": (2, 3),
        "tied_b": (2, 3),
        "last": (4, 4),
    }
    text = cli("leaderboard", "-m", "clear,tied_a,tied_b,last").out.splitlines()
    assert [line.split()[0] for line in text[3:7]] == ["1", "2-3", "2-3", "4"]


def test_ranks_do_not_depend_on_what_the_models_are_called(cli: Cli, results: Path) -> None:
    noise = rng.uniform(1, "noise", count=24) * 0.3
    for model, other, shift in (("a", "z", 0.1), ("m", "m", 0.2), ("z", "a", 0.3)):
        add(model, noise + shift, seed=0)
        add(f"{other}2", noise + shift, seed=0)
    first = {row["model"]: row["rank"] for row in boards(cli, "-m", "a,m,z")[0]["rows"]}
    second = {row["model"]: row["rank"] for row in boards(cli, "-m", "a2,m2,z2")[0]["rows"]}
    assert (first["a"], first["m"], first["z"]) == (second["z2"], second["m2"], second["a2"])


def test_what_intervals_speak_about_is_said(cli: Cli, results: Path) -> None:
    assert "95 % intervals over 2 seeds x 24 items; one training set; ranks: all pairs" in (
        cli("leaderboard", "-m", "late").out
    )
    assert "95 % intervals over 24 items, for these weights: one seed" in (
        cli("leaderboard", "-m", "image_only").out
    )


# --- what is not ranked, and why -----------------------------------------------------------------


@pytest.mark.parametrize("status", ["diverged", "leak"])
def test_what_diverged_or_leaked_is_listed_and_not_ranked(
    cli: Cli, results: Path, status: str
) -> None:
    scores = {} if status == "diverged" else found("concat").record.scores
    change(found("concat", 0), status=status, reason="something | happened", scores=scores)
    change(found("concat", 1), status=status, reason="something | happened", scores=scores)
    (board,) = boards(cli)
    assert sorted(names(board)) == ["image_only", "late"]
    assert len(board["listed"]) == 2
    name = found("concat").record.name
    assert f"not ranked: {name}: {status}: something | happened" in cli("leaderboard").out
    markdown = cli("leaderboard", "--format", "markdown").out
    assert f"- {name}: {status}: something \\| happened" in markdown
    assert status not in cli("leaderboard", "--format", "csv").out


def test_a_board_of_nothing_but_failures_lists_them(cli: Cli, results: Path) -> None:
    change(found("image_only"), status="diverged", reason="nan", scores={})
    (board,) = boards(cli, "-m", "image_only")
    assert board["rows"] == []
    done = cli("leaderboard", "-m", "image_only")
    assert done.code == 0
    assert "not ranked: mini/image_only/" in done.out


def test_a_truncated_record_is_warned_of_and_the_rest_is_shown(cli: Cli, results: Path) -> None:
    path = found("concat", 1).folder / "record.json"
    path.write_bytes(path.read_bytes()[:500])
    done = cli("leaderboard", "--json")
    assert done.code == 0
    assert done.err.startswith(f"warning: {path}: is not valid JSON")
    assert len(done.err.splitlines()) == 1
    seeds = {row["model"]: row["seeds"] for row in json.loads(done.out)["boards"][0]["rows"]}
    assert seeds == {"late": 2, "concat": 1, "image_only": 1}


def test_an_edited_record_is_warned_of_and_left_out(cli: Cli, results: Path) -> None:
    path = found("concat", 1).folder / "record.json"
    text = path.read_text()
    value = found("concat", 1).record.scores["test"]["rouge_l"].value
    assert f'"value": {value}' in text
    path.write_text(text.replace(f'"value": {value}', '"value": 0.99'))
    done = cli("leaderboard")
    assert done.code == 0
    assert f"warning: {path}: does not match its checksum" in done.err


@pytest.mark.parametrize("spoilt", ["missing", "edited"])
def test_damaged_item_statistics_are_warned_of_and_left_out(
    cli: Cli, results: Path, spoilt: str
) -> None:
    path = found("image_only").folder / "items.parquet"
    if spoilt == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    done = cli("leaderboard", "--json")
    assert done.code == 0
    assert f"warning: {path}: " in done.err
    assert sorted(names(json.loads(done.out)["boards"][0])) == ["concat", "late"]


def rescored(stored: Stored, metric: str, signature: str) -> None:
    """Make a record look as if another version of a metric had scored it."""
    scores = stored.record.scores["test"]
    other = msgspec.structs.replace(scores[metric], signature=signature)
    change(stored, scores={"test": scores | {metric: other}})


@pytest.mark.parametrize("seeds", [(0,), (1,), (0, 1)])
def test_scores_of_another_signature_are_left_out_by_name(
    cli: Cli, results: Path, seeds: tuple[int, ...]
) -> None:
    now = found("late").record.scores["test"]["rouge_l"].signature
    for seed in seeds:
        rescored(found("late", seed), "rouge_l", "rouge_l|v0|old")
    done = cli("leaderboard", "--json")
    assert done.code == 0
    assert done.err == (
        f"warning: {', '.join(found('late', seed).record.name for seed in seeds)}: scored as "
        f"'rouge_l|v0|old', the board as {now!r}: left out; the same 'mmbench run' scores anew\n"
    )
    left = {row["model"]: row["seeds"] for row in json.loads(done.out)["boards"][0]["rows"]}
    assert left == {"concat": 2, "image_only": 1} | ({"late": 1} if len(seeds) == 1 else {})


def test_a_further_metric_of_another_signature_is_an_empty_cell(cli: Cli, results: Path) -> None:
    rescored(found("late", 1), "slot_f1", "slot_f1|v0|old")
    also = {row["model"]: row["also"]["slot_f1"] for row in boards(cli)[0]["rows"]}
    assert also["late"] is None
    assert also["concat"]["value"] >= 0


def test_where_no_record_is_scored_as_now_there_is_no_board(cli: Cli, results: Path) -> None:
    rescored(found("image_only"), "rouge_l", "rouge_l|v0|old")
    done = cli("leaderboard", "-m", "image_only")
    assert done.code == 4
    assert "warning: mini/image_only/" in done.err
    assert done.error == "error: no record was scored with its metric on 'test'"


def test_a_metric_that_is_not_known_here_is_asked_for_by_name(cli: Cli, results: Path) -> None:
    definition = found("image_only").record.definition
    task = definition["task"] | {"metrics": {"main": "own_metric", "also": ["other_metric"]}}
    scores = {"own_metric": found("image_only").record.scores["test"]["rouge_l"]}
    change(
        found("image_only"),
        task="other",
        definition=definition | {"task": task},
        scores={"test": scores},
    )
    done = cli("leaderboard", "--json")
    assert done.code == 0, "the other boards are none the worse"
    assert "the metric 'own_metric' is not known here: left out; --include the file" in done.err
    assert sorted(names(json.loads(done.out)["boards"][0])) == ["concat", "late"]


def test_records_of_other_items_are_left_out_by_name(cli: Cli, results: Path) -> None:
    stored = add("stranger", np.full(24, 0.9), ids=[f"other-{i}" for i in range(24)])
    done = cli("leaderboard", "--json")
    assert done.err == (f"warning: {stored.record.name}: was tested on other items: left out\n")
    assert "stranger" not in names(json.loads(done.out)["boards"][0])


FOURS = [f"video {k // 4}" for k in range(24)]
SIXES = [f"speaker {k // 6}" for k in range(24)]


def test_records_of_other_clusters_are_left_out_by_name(cli: Cli, results: Path) -> None:
    definition = found("late").record.definition | {"evaluation": {"clusters": "speaker"}}
    first = add("a_first", np.full(24, 0.9), clusters=SIXES, definition=definition)
    other = add("other", np.full(24, 0.9), clusters=FOURS)
    done = cli("leaderboard", "--json")
    assert done.err.splitlines() == [
        f"warning: {first.record.name}: has 4 clusters of the column 'speaker', the board no "
        f"clusters: left out",
        f"warning: {other.record.name}: has 6 clusters, the board no clusters: left out",
    ]
    assert sorted(names(json.loads(done.out)["boards"][0])) == ["concat", "image_only", "late"]


def test_of_as_many_records_the_clusters_of_the_first_count(cli: Cli, results: Path) -> None:
    noise = rng.uniform(2, "noise", count=24) * 0.2
    add("one", noise, clusters=FOURS)
    second = add("two", noise, clusters=SIXES)
    done = cli("leaderboard", "--json", "-m", "one,two")
    assert done.err == (
        f"warning: {second.record.name}: has 4 clusters, the board 6 clusters: left out\n"
    )
    assert names(json.loads(done.out)["boards"][0]) == ["one"]
    assert "over 24 items in 6 clusters, for these weights" in cli("leaderboard", "-m", "one").out


def test_the_same_clusters_under_other_names_are_the_same(cli: Cli, results: Path) -> None:
    noise = rng.uniform(3, "noise", count=24) * 0.2
    add("one", noise, clusters=FOURS)
    add("two", noise + 0.5, clusters=[name.upper() for name in FOURS])
    done = cli("leaderboard", "--json", "-m", "one,two")
    assert done.err == ""
    (board,) = json.loads(done.out)["boards"]
    assert {row["model"]: tuple(row["rank"]) for row in board["rows"]} == {
        "two": (1, 1),
        "one": (2, 2),
    }


def test_seeds_of_other_clusters_are_no_seeds_of_the_model(cli: Cli, results: Path) -> None:
    late = found("late").record
    odd = add("late", np.full(24, 0.9), seed=5, clusters=FOURS, model_digest=late.model_digest)
    done = cli("leaderboard", "--json")
    assert f"{odd.record.name}: has 6 clusters, the board no clusters: left out" in done.err
    seeds = {row["model"]: row["seeds"] for row in json.loads(done.out)["boards"][0]["rows"]}
    assert seeds["late"] == 2
    with pytest.raises(NotComparableError, match="seeds combine over the same clusters only"):
        aggregate([found("late"), odd], "rouge_l")


def test_a_twin_counts_where_the_first_is_left_out(cli: Cli, results: Path) -> None:
    digest = found("image_only").record.model_digest
    change(found("image_only"), seed=7)
    for identity, clusters in (("0" * 64, FOURS), ("f" * 64, None)):
        settings: dict[str, Any] = {"identity": identity, "model_digest": digest}
        add("image_only", np.full(24, 0.5), clusters=clusters, **settings)
    done = cli("leaderboard", "--json")
    assert "is there twice" not in done.err
    seeds = {row["model"]: row["seeds"] for row in json.loads(done.out)["boards"][0]["rows"]}
    assert seeds["image_only"] == 2


def test_a_seed_that_is_there_twice_counts_once(cli: Cli, results: Path) -> None:
    late = found("late").record
    twin = add("late", np.full(24, 0.9), identity="f" * 64, model_digest=late.model_digest)
    done = cli("leaderboard", "--json")
    assert f"{twin.record.name}: seed 0 is there twice: the first counts" in done.err
    seeds = {row["model"]: row["seeds"] for row in json.loads(done.out)["boards"][0]["rows"]}
    assert seeds["late"] == 2


@pytest.mark.parametrize("part", ["model_digest", "device", "plugins"])
def test_two_definitions_of_one_name_are_two_rows(cli: Cli, results: Path, part: str) -> None:
    late = found("late").record
    changes: dict[str, Any] = {"model_digest": late.model_digest, "identity": "f" * 64}
    if part == "model_digest":
        changes["model_digest"] = "0" * 64
    else:
        other = {"device": "NVIDIA H200", "plugins": {"fusion late": "1" * 64}}[part]
        changes["provenance"] = late.provenance | {part: other}
    add("late", np.full(24, 0.9), seed=5, **changes)
    rows = {row["model"]: row["seeds"] for row in boards(cli)[0]["rows"]}
    found_names = [name for name in rows if name.startswith("late#")]
    assert sorted(rows[name] for name in found_names) == [1, 2]
    assert "late" not in rows
    assert any("NVIDIA H200" in name for name in found_names) == (part == "device")


def test_other_definitions_of_a_task_and_other_budgets_have_boards_of_their_own(
    cli: Cli, results: Path
) -> None:
    change(found("image_only"), task_digest="0" * 64)
    change(found("concat", 0), budget="long")
    assert [(board["budget"], sorted(names(board))) for board in boards(cli)] == [
        ("brief", ["image_only"]),
        ("brief", ["concat", "late"]),
        ("long", ["concat"]),
    ]


# --- tasks that are mended, published rows -------------------------------------------------------

PUBLISHED = """
[[source.published]]
model = "Old | model"
source = "Somebody 1999, table *1*"
scores = { rouge_l = 0.65 }

[[source.published]]
model = "Older"
source = "Nobody 1998"
scores = { cider_d = 0.4 }
note = "larger pictures"

[[source.published]]
model = "Oldest"
source = "Someone 1997"
scores = { accuracy = 0.9 }
"""


def test_published_rows_stand_beside_and_are_not_ranked(
    cli: Cli, results: Path, made: Path
) -> None:
    Path("mini.toml").write_text((made.parent / "mini.toml").read_text() + PUBLISHED)
    (board,) = boards(cli, "--include", "mini.toml")
    row = board["rows"][0]
    assert (row["model"], row["value"], row["rank"], row["main"]) == (
        "Old | model",
        0.65,
        None,
        None,
    )
    others = [tuple(row["rank"]) for row in board["rows"] if row["rank"]]
    assert min(first for first, _ in others) == 1
    text = cli("leaderboard", "--include", "mini.toml").out
    assert re.search(r"^-\s+Old \| model\s+0.650\s+published", text, flags=re.MULTILINE)
    assert "- Old | model: rouge_l 0.65; Somebody 1999, table *1*\n" in text
    # One that tells other metrics of the task only stands behind; one that tells none, nowhere.
    assert [row["model"] for row in board["rows"]][-1] == "Older"
    assert re.search(r"^-\s+Older\s+-\s+published", text, flags=re.MULTILINE)
    assert "- Older: cider_d 0.4; Nobody 1998; larger pictures\n" in text
    assert "Oldest" not in text
    cli("leaderboard", "--include", "mini.toml", "--figure", "board.png")
    assert Path("board.png").read_bytes().startswith(b"\x89PNG")
    assert "next: mmbench show mini/Old" not in text
    markdown = cli("leaderboard", "--include", "mini.toml", "--format", "markdown").out
    assert "Old \\| model" in markdown
    assert "table \\*1\\*" in markdown
    rows = csv.DictReader(
        io.StringIO(cli("leaderboard", "--include", "mini.toml", "--format", "csv").out)
    )
    (old,) = (row for row in rows if row["model"] == "Old | model")
    assert (old["value"], old["low"], old["source"]) == ("0.65", "", "Somebody 1999, table *1*")


def test_levels_are_those_of_the_task_as_it_stands_now(cli: Cli, results: Path, made: Path) -> None:
    text = (made.parent / "mini.toml").read_text()
    Path("mini.toml").write_text(text.replace("ceiling = 0.7", "ceiling = 0.9"))
    assert boards(cli)[0]["ceiling"] == 0.7, "as it was when the record was made"
    assert boards(cli, "--include", "mini.toml")[0]["ceiling"] == 0.9
    Path("mini.toml").write_text(
        text.replace("ceiling = 0.7", "ceiling = 0.9").replace("seed = 3", "seed = 4")
    )
    assert boards(cli, "--include", "mini.toml")[0]["ceiling"] == 0.7, "another task by now"
