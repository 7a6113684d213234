"""`mmbench tune`: equal effort, on validation items only, and nobody can overlook it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, leaderboard, rng, store, tune
from mmbench.cli._progress import Quiet
from mmbench.data import _load
from mmbench.types import Dataset

Cli: TypeAlias = Callable[..., Any]
Write: TypeAlias = Callable[..., str]

SMALL = ("--set", "width=16", "-q")


def study(folder: str = "tuned", name: str = "late") -> tune.Study:
    return tune.read(Path(folder, "mini", f"{name}_tuned.json"))


def told(found: tune.Study) -> list[tuple[int, int, dict[str, Any], float | None]]:
    """What has to be the same when a study is made again."""
    return [(t.number, t.seed, t.drawn, t.score) for t in found.trials]


def test_every_model_gets_as_many_trials_and_the_best_one_becomes_a_model(
    cli: Cli, task: Write
) -> None:
    where = task()
    done = cli("tune", "-t", where, "-m", "late,image_only", "--trials", 3, *SMALL, "--json")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert [one["model"] for one in printed] == ["late", "image_only"]
    for one in printed:
        scores = [trial["score"] for trial in one["trials"]]
        assert len(scores) == 3
        content = tomllib.loads(Path(one["model_file"]).read_text())
        assert content["tuning"]["score"] == pytest.approx(max(scores), abs=1e-6)
        assert content["tuning"]["trials"] == 3
        best = one["trials"][int(np.argmax(scores))]["drawn"]
        stage = content["recipe"]["stages"][0]["objectives"][0]["optimizer"]
        decay = best["recipe.stages.*.objectives.*.optimizer.weight_decay"]
        assert stage["weight_decay"] == decay
        written = catalog.model(one["model"]).recipe.stages[0].objectives[0].optimizer.lr
        factor = best["recipe.stages.*.objectives.*.optimizer.lr"]
        assert stage["lr"] == pytest.approx(written * factor, rel=1e-3)
        assert 0.25 <= factor <= 4.0
    drawn = [[trial["drawn"] for trial in one["trials"]] for one in printed]
    assert drawn[0] == drawn[1], "the same draws for all, so that luck is shared"
    assert Path("tuned/mini/tuning.png").stat().st_size > 1000


def test_the_tuned_model_runs_and_boards_say_that_tuning_differs(cli: Cli, task: Write) -> None:
    where = task()
    done = cli("tune", "-t", where, "-m", "late", "--trials", 2, *SMALL)
    assert done.code == 0, done.err
    command = done.out.rpartition("next: mmbench ")[2].split()
    assert command[:5] == ["run", "-t", where, "-m", "late,tuned/mini/late_tuned.toml"]
    command[command.index("--seeds") + 1] = "1"
    assert cli(*command, "-q").code == 0
    found, problems = store.scan(Path("results"))
    assert not problems
    (record,) = [s.record for s in found if s.record.model == "late_tuned"]
    kept = record.definition["model"]["tuning"]
    assert (kept["trials"], kept["budget"], kept["task"]) == (2, "brief", "mini")
    assert len(kept["expected_best"]) == 2
    assert record.definition["model"]["recipe"] != catalog.model("late").recipe
    (board,) = leaderboard.boards(found)
    wanted = "tuning differs: as written: late; 2 random trials on mini/brief: late_tuned"
    assert board.tuning in (wanted, wanted.replace("as written: late; ", "") + "; as written: late")
    assert "tuning differs" in cli("leaderboard").out
    assert "tuning differs" in cli("leaderboard", "--format", "markdown").out
    assert "tuned   2 random trials on mini/brief" in cli("show", "mini/late_tuned").out
    described = cli("describe", "tuned/mini/late_tuned.toml").out
    assert "tuned       2 random trials on mini/brief: validation rouge_l" in described
    assert "recipe.modality_dropout: one of 0.0, 0.1, 0.2" in described
    assert "optimizer.lr: times 0.25 to 4 (log)" in described


def test_boards_of_equal_effort_say_so_and_those_of_none_say_nothing(cli: Cli, task: Write) -> None:
    where = task()
    cli("tune", "-t", where, "-m", "late,image_only", "--trials", 1, *SMALL)
    tuned = "tuned/mini/late_tuned.toml,tuned/mini/image_only_tuned.toml"
    assert cli("run", "-t", where, "-m", tuned, "-q").code == 0
    assert "tuned alike: 1 random trials on mini/brief each" in cli("leaderboard").out
    assert cli("run", "-t", where, "-m", "late", *SMALL, "--results", "other").code == 0
    assert "tun" not in cli("leaderboard", "--results", "other").out


def test_a_killed_study_goes_on_and_ends_with_the_same_values(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = task()
    line = ["tune", "-t", where, "-m", "late", *SMALL, "--sampler", "tpe", "--trials", 4]
    assert cli(*line, "--out", "whole").code == 0
    begun: list[int] = []
    begin = Quiet.begin

    def stop_at_the_third(self: Quiet, run: Any, number: int) -> Quiet:
        begun.append(number)
        if number == 3:
            raise KeyboardInterrupt
        return begin(self, run, number)

    with monkeypatch.context() as patch:
        patch.setattr(Quiet, "begin", stop_at_the_third)
        done = cli(*line)
    assert done.code == 130
    assert "the same command goes on" in done.err
    assert len(study().trials) == 2
    assert cli(*line).code == 0
    assert told(study()) == told(study("whole"))
    written = [Path(folder, "mini/late_tuned.toml").read_bytes() for folder in ("tuned", "whole")]
    assert written[0] == written[1]
    before = study()
    assert cli(*line).code == 0
    assert study() == before, "finished: no trial is made again"
    assert not list(Path("tuned").rglob(".*")), "nothing half written is left"


def test_fewer_trials_are_the_first_ones_and_more_go_further(cli: Cli, task: Write) -> None:
    where = task()
    line = ["tune", "-t", where, "-m", "late", *SMALL]
    assert cli(*line, "--trials", 3).code == 0
    three = told(study())
    assert cli(*line, "--trials", 4).code == 0
    assert told(study())[:3] == three
    done = cli(*line, "--trials", 2, "--json")
    assert len(json.loads(done.out)[0]["trials"]) == 2
    assert tomllib.loads(Path("tuned/mini/late_tuned.toml").read_text())["tuning"]["trials"] == 2
    assert len(study().trials) == 4, "none is lost"


def test_neither_the_test_split_nor_a_reported_seed_is_used(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = _load.load

    def without_tests(*arguments: Any) -> Dataset:
        made = load(*arguments)
        kept = {name: split for name, split in made.splits.items() if name in ("train", "val")}
        return replace(made, splits=kept)

    monkeypatch.setattr(_load, "load", without_tests)
    where = task()
    assert cli("tune", "-t", where, "-m", "late", "--trials", 2, *SMALL).code == 0
    assert [trial.seed for trial in study().trials] == [rng.TUNING, rng.TUNING + 1]
    monkeypatch.undo()
    done = cli("run", "-t", where, "-m", "late", "--seeds", f"{rng.TUNING}-{rng.TUNING}")
    assert done.code == 2
    assert "seeds from 1000000 on are those that models are tuned with" in done.error


def test_a_failed_trial_counts_as_the_floor_and_all_failed_ones_are_an_error(
    cli: Cli, task: Write
) -> None:
    where = task()
    own = Path("own.toml")
    text = (
        'schema = 1\nextends = "matched"\nname = "own"\nsummary = "own"\nfamily = "late"\n'
        'fusion = { name = "late" }\n[search]\n"width" = { choices = [%s] }\n'
    )
    own.write_text(text % "16, 17")
    line = ["tune", "-t", where, "-m", "./own.toml", "-q", "--trials", 6]
    assert cli(*line).code == 0
    found = study(name="own")
    assert 0 < found.failed < 6, "both widths are drawn"
    failed = [trial for trial in found.trials if trial.score is None]
    assert {trial.drawn["width"] for trial in failed} == {17}
    assert "the fusion 'late' refuses its arguments" in failed[0].reason
    assert found.scores[failed[0].number] == found.floor == 0.1
    assert tomllib.loads(Path("tuned/mini/own_tuned.toml").read_text())["width"] == 16
    own.write_text(text % "17")
    done = cli(*line, "--out", "other")
    assert done.code == 1
    assert "all 6 trials of 'own' failed, the first one with: " in done.error
    assert not Path("other/mini/own_tuned.toml").exists()


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('"recipe.stages.*.objectives.*.optimizer.rate" = { low = 1, high = 2 }', "unknown key"),
        ('"recipe.stagse.0.name" = { choices = ["a"] }', "there is no 'stagse': known here: "),
        ('"recipe.stages.7.share" = { low = 0.5, high = 1.0 }', "'7' is no element: expected *"),
        ('"recipe.batch_size" = { low = 64 }', "expected low and high, or choices"),
        ('"recipe.batch_size" = { low = 64, high = 32 }', "expected low < high, got 64 and 32"),
        ('"recipe.batch_size" = { low = 0, high = 32, log = true }', "needs low above 0"),
        ('"recipe.batch_size" = { low = 1, choices = [2] }', "either choices or low and high"),
        ('"fusion.name" = { low = 1, high = 2, scale = true }', "multiplies the number"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_is_trained(
    cli: Cli, task: Write, table: str, complaint: str
) -> None:
    Path("own.toml").write_text(
        'schema = 1\nextends = "matched"\nname = "own"\nsummary = "own"\nfamily = "late"\n'
        f'width = 16\nmatched = false\nfusion = {{ name = "late" }}\n[search]\n{table}\n'
    )
    done = cli("tune", "-t", task(), "-m", "./own.toml", "--trials", 2)
    assert done.code == 2
    assert complaint in done.error
    assert not Path("tuned").exists()


def test_another_study_in_the_same_place_is_refused_and_stays_as_it_is(
    cli: Cli, task: Write
) -> None:
    where = task()
    line = ["tune", "-t", where, "-m", "late", "--trials", 1]
    assert cli(*line, *SMALL).code == 0
    path = Path("tuned/mini/late_tuned.json")
    before, first = path.read_bytes(), told(study())
    other = ["--set", "width=32", "-q"]
    done = cli(*line, *other)
    assert done.code == 1
    assert "late_tuned.json: holds another study" in done.error
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    assert "is not valid JSON" in cli(*line, *SMALL).error
    path.write_bytes(before.replace(b'"budget": "brief"', b'"budget": "small"'))
    assert "does not match its checksum" in cli(*line, *SMALL).error
    assert cli(*line, *SMALL, "--force").code == 0
    assert told(study()) == first


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("tune -m late", "--task is missing"),
        ("tune -t TASK", "--model is missing"),
        ("tune -t TASK -m lat", "unknown model 'lat': did you mean 'late'?"),
        ("tune -t TASK -m late --trials 0", "'--trials': expected a whole number, from 1 to"),
        ("tune -t TASK -m late --sampler grid", "'grid' is not one of 'random', 'tpe'"),
        ("tune -t TASK -m late --budget bref", "did you mean 'brief'?"),
        ("tune -t TASK -m late --out TASK", "'--out': Directory"),
    ],
)
def test_wrong_usage_is_one_line(cli: Cli, task: Write, line: str, complaint: str) -> None:
    done = cli(*(task() if word == "TASK" else word for word in line.split()))
    assert done.code == 2
    assert complaint in done.error


def test_own_components_are_tuned_and_the_command_that_follows_finds_them(
    cli: Cli, task: Write
) -> None:
    assert cli("new", "fusion", "myown").code == 0
    done = cli("tune", "-t", task(), "-m", "./myown.py", "--trials", 1, *SMALL)
    assert done.code == 0, done.err
    command = done.out.rpartition("next: mmbench ")[2].split()
    assert "--include" in command
    catalog._shelf.cache_clear()
    command[command.index("--seeds") + 1] = "1"
    done = cli(*command, "-q")
    assert done.code == 0, done.err


def test_every_shipped_model_has_something_to_tune() -> None:
    for name in catalog.model_names():
        if "{" not in name:
            assert catalog.model(name).search, name
