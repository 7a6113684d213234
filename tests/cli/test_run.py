"""`mmbench run`, from the command to the record on disk and back."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mmbench import catalog, claims, registry, sealed, store
from mmbench import run as run_module
from mmbench.data import _load
from mmbench.executors import work
from mmbench.store import Stored

ROOT = Path(__file__).resolve().parents[2]
FILES = ["items.parquet", "predictions.parquet", "record.json", "weights.safetensors"]
SMALL = ("--set", "width=16")

Cli: TypeAlias = Callable[..., Any]
Write: TypeAlias = Callable[..., str]

METRIC = '''
"""A metric."""
from mmbench.metrics import metric


@metric(bounds=(0.0, None), higher_is_better=False, version=1)
def words_spoken(items):
    "Mean number of words."
    return [len(text.split()) for text in items.predictions]
'''


def records(results: str | Path = "results") -> list[Stored]:
    found, problems = store.scan(Path(results))
    assert not problems
    return found


def only(results: str | Path = "results") -> Stored:
    (found,) = records(results)
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def leftovers(results: str | Path = "results") -> list[Path]:
    """Hidden files and folders, which only a writer at work may have."""
    return list(Path(results).rglob(".*"))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are carried out, in order: whatever is not in it was not trained."""
    names: list[str] = []
    execute = work.execute

    def noted(run: Any, watcher: Any) -> Any:
        names.append(f"{run.task.name}/{run.model.name} s{run.seed}")
        return execute(run, watcher)

    monkeypatch.setattr(work, "execute", noted)
    return names


# --- one run -------------------------------------------------------------------------------------


def test_a_run_leaves_one_record_of_four_files_and_says_what_to_do_next(
    cli: Cli, task: Write
) -> None:
    done = cli("run", "-t", task(), "-m", "late", *SMALL)
    assert done.code == 0
    record = only().record
    assert sorted(content(only().folder)) == FILES
    assert only().folder == Path("results", record.name)
    assert record.status == "finished"
    assert record.ranked
    assert set(record.scores) == {"test", "ood"}
    assert set(record.scores["test"]) == {"rouge_l", "cider_d", "slot_f1"}
    lines = done.out.splitlines()
    assert lines[0] == "plan: 1 of 1 runs to do, about 1 s at a guess, cpu"
    assert lines[1].startswith("mini rouge_l: floor 0.100, best single modality (image) 0.600")
    got = record.scores["test"]["rouge_l"]
    assert lines[2] == (
        f"mini/late  rouge_l {got.value:.3f} [{got.low:.3f}, {got.high:.3f}]  1 seed x 24 items"
    )
    assert lines[3] == "saved in results; next: mmbench show mini/late"
    assert not leftovers()


def test_progress_goes_to_standard_error_and_quiet_has_none(cli: Cli, task: Write) -> None:
    path = task()
    loud = cli("run", "-t", path, "-m", "late", *SMALL)
    assert "[1/1] mini/late seed 0: data" in loud.err
    assert "step 6/6  loss " in loud.err
    assert "step 1/6\n" in loud.err, "no loss has been read yet, so none is shown"
    quiet = cli("run", "-t", path, "-m", "late", *SMALL, "--force", "-q")
    assert (quiet.code, quiet.err) == (0, "")


def test_what_is_finished_is_not_done_again(cli: Cli, task: Write, trained: list[str]) -> None:
    path = task()
    cli("run", "-t", path, "-m", "late", *SMALL)
    before = content(only().folder)
    done = cli("run", "-t", path, "-m", "late", *SMALL)
    assert done.code == 0
    assert len(trained) == 1
    assert content(only().folder) == before
    assert "mini/late seed 0: finished before, rouge_l " in done.err
    assert done.out.startswith("plan: 0 of 1 runs to do, about 0 s, cpu\n")


def test_force_repeats_a_run_to_the_same_bits(cli: Cli, task: Write, trained: list[str]) -> None:
    path = task()
    arguments = ("run", "-t", path, "-m", "hybrid", *SMALL)
    cli(*arguments)
    first = only()
    cli(*arguments, "--force")
    second = only()
    assert len(trained) == 2
    assert set(first.record.files) == set(FILES) - {"record.json"}
    assert second.record.files == first.record.files, "checksums of predictions, items, weights"
    for part in ("scores", "curve", "identity", "definition", "data", "reproduce"):
        assert getattr(second.record, part) == getattr(first.record, part)
    assert not leftovers()


def test_another_seed_gives_other_bits(cli: Cli, task: Write) -> None:
    cli("run", "-t", task(), "-m", "late", "--seeds", "2", *SMALL)
    first, second = records()
    assert first.record.files["weights.safetensors"] != second.record.files["weights.safetensors"]
    assert first.record.identity != second.record.identity


def test_the_command_in_a_record_makes_it_again(cli: Cli, task: Write, trained: list[str]) -> None:
    own = task("mine", folder="things")
    cli("run", "-t", own, "-m", "late", "--limit", "8", "--set", "recipe.batch_size=16", *SMALL)
    first = only().record
    command = shlex.split(first.reproduce)
    assert command[:2] == ["mmbench", "run"]
    assert "things" not in first.reproduce, "folders are nobody's business"
    os.chdir("things")
    cli(*command[1:])
    again = only().record
    assert (again.identity, again.files, again.scores) == (
        first.identity,
        first.files,
        first.scores,
    )
    assert again.reproduce == first.reproduce


# --- several runs --------------------------------------------------------------------------------


def test_all_is_every_shipped_model_for_the_tasks_modalities(
    cli: Cli, task: Write, trained: list[str]
) -> None:
    path = task()
    Path("own").mkdir()
    Path("own/own_model.toml").write_text(
        'schema = 1\nextends = "matched"\nname = "own_model"\nsummary = ""\nfamily = "own"\n'
        'fusion = { name = "late" }\n'
    )
    done = cli("run", "-t", path, "-m", "all", "--include", "own", *SMALL, "-q")
    assert done.code == 0
    shipped = {path.stem for path in (ROOT / "baselines").glob("[!_]*.toml")}
    shipped -= {"unimodal", "logistic_unimodal"}
    shipped = {name for name in shipped if "text" in catalog.model(name).heads}
    expanded = {f"{m}_{what}" for m in ("image", "audio") for what in ("only", "logistic")}
    names = sorted(shipped | expanded)
    # Of models that differ only on other kinds of output the first by name is run.
    mini = catalog.task(str(path))
    first = {catalog.model(name, (), mini).digest(): name for name in reversed(names)}
    assert len(first) == len(names) - 1, "late and late_mixture are one model for texts"
    assert {n.split()[0].removeprefix("mini/") for n in trained} == set(first.values())
    assert len(records()) == len(trained)
    assert done.out.splitlines()[-1].endswith("next: mmbench leaderboard -t mini")


def test_unimodal_is_one_model_for_each_modality(cli: Cli, task: Write) -> None:
    done = cli("run", "-t", task(), "-m", "unimodal", *SMALL, "--dry-run", "--json")
    assert [run["model"] for run in json.loads(done.out)] == ["image_only", "audio_only"]


def test_all_tasks_are_the_shipped_ones_and_others_may_stand_beside(
    cli: Cli, task: Write, tmp_path: Path
) -> None:
    data = tmp_path / "flickr8k"
    data.mkdir()
    annotations = {"images": [], "dataset": "flickr8k"}
    (data / "dataset_flickr8k.json").write_text(json.dumps(annotations))
    arguments = ("-t", f"all,{task()}", "-m", "late", "--data", data, "--dry-run", "--json")
    done = cli("run", *arguments)
    names = catalog.task_names(shipped=True)
    held = [n for n in names if not _load.needs_data(catalog.task(n), data)]
    assert {"flickr8k_captioning", "captioning"} <= set(held)
    fitting = [n for n in held if n != "generation"]  # of pictures there is no late fusion
    assert [run["task"] for run in json.loads(done.out)] == [*fitting, "mini"]
    assert "generation goes without: model 'late': the fusion 'late' does not serve" in done.err
    (left,) = [line for line in done.err.splitlines() if line.startswith("note: left out")]
    assert f"since their data are on your disk ({data} does not hold them): " in left
    assert ", mosi, " in left
    assert "flickr8k_captioning" not in left


def test_several_tasks_models_and_seeds_are_all_combined(cli: Cli, task: Write) -> None:
    one, two = task("one"), task("two", ("seed = 3", "seed = 4"))
    arguments = ("-t", one, "-t", two, "-m", "late,constant", "-m", "late", "--seeds", "2-3")
    done = cli("run", *arguments, *SMALL, "-q")
    assert done.code == 0
    assert {(s.record.task, s.record.model, s.record.seed) for s in records()} == {
        (task_name, model, seed)
        for task_name in ("one", "two")
        for model in ("late", "constant")
        for seed in (2, 3)
    }
    assert "one/late      rouge_l " in done.out
    assert "2 seeds x 24 items" in done.out


def test_one_run_that_fails_does_not_stop_the_others(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench.errors import DataError

    execute = work.execute

    def broken(run: Any, watcher: Any) -> Any:
        if run.seed == 0:
            raise DataError("the first scene is broken")
        return execute(run, watcher)

    monkeypatch.setattr(work, "execute", broken)
    done = cli("run", "-t", task(), "-m", "late", "--seeds", "2", *SMALL)
    assert done.code == 4
    assert done.error == "error: mini/late seed 0: the first scene is broken"
    assert only().record.seed == 1
    alone = cli("run", "-t", task(), "-m", "late", "--results", "other", *SMALL)
    assert alone.err.count("the first scene is broken") == 1, "said once"


def test_all_tasks_are_those_that_need_nothing_of_the_user(cli: Cli, workplace: Path) -> None:
    """And what a model cannot answer is left out by name: these pairs, and no other."""
    models = ("early", "late", "hybrid", "concat", "multimodal_self_attention", "gatv2", "mvae")
    done = cli(
        "run", "-t", "all", "-m", ",".join(models), "--budget", "smoke", "--dry-run", "--json"
    )
    planned = {(run["task"], run["model"]) for run in json.loads(done.out)}
    tasks = {task for task, _ in planned}
    assert {"captioning", "synergy", "grounding"} <= tasks
    without = {(task, model) for task in tasks for model in models} - planned
    speech = ("speech", "speech_async", "speech_context", "speech_wave", "event_detection")
    assert without == {
        *((task, "mvae") for task in speech),
        ("generation", "late"),
        ("text_generation_blind", "hybrid"),
    }
    notes = [line for line in done.err.splitlines() if " without: model " in line]
    for task, model in without:
        assert any(task in line and f"model {model!r}: the fusion " in line for line in notes)
    assert not any(name.startswith("flickr8k") for name in tasks)
    (left,) = [line for line in done.err.splitlines() if line.startswith("note: left out")]
    assert "since their data are on your disk (--data names their folder): " in left
    assert "flickr8k_tagged" in left.partition(": ")[2]
    named = cli("run", "-t", "flickr8k_tagged", "-m", "early", "--dry-run")
    assert named.code == 4
    assert "'flickr8k_tagged' needs data of yours: --data DIR" in named.error


def test_a_parameter_that_the_data_do_not_have_is_refused_in_the_plan(
    cli: Cli, workplace: Path
) -> None:
    path, text = Path("mine.toml"), catalog.task_path("synergy").read_text()
    text = text.replace('name = "synergy"', 'name = "mine"')
    path.write_text(text.replace("[dataset.params]", "[dataset.params]\nniose = 3"))
    done = cli("run", "-t", "./mine.toml", "-m", "late", "--dry-run")
    assert done.code == 2
    assert "mine.toml: dataset.params: unknown key 'niose': did you mean 'noise'?" in done.error


def test_verbose_says_more_in_lines(cli: Cli, task: Write) -> None:
    few = cli("run", "-t", task(), "-m", "late", *SMALL).err.splitlines()
    many = cli("run", "-t", task(), "-m", "late", *SMALL, "--force", "-v").err.splitlines()
    assert "[1/1] mini/late seed 0: build" in many
    assert "[1/1] mini/late seed 0: build" not in few
    assert len(many) > len(few)


# --- options -------------------------------------------------------------------------------------


def test_a_limit_makes_records_that_are_listed_and_never_ranked(cli: Cli, task: Write) -> None:
    cli("run", "-t", task(), "-m", "late", "--limit", "5", *SMALL)
    record = only().record
    assert not record.ranked
    assert {score.n for score in record.scores["test"].values()} == {5}
    assert len(store.read_predictions(only(), "ood")["id"]) == 5
    board = cli("leaderboard")
    assert board.code == 0
    assert f"not ranked: {record.name}: test items were limited" in board.out
    assert json.loads(cli("leaderboard", "--json").out)["boards"][0]["rows"] == []


def test_set_overrides_a_definition_and_is_part_of_the_identity(cli: Cli, task: Write) -> None:
    path = task()
    cli("run", "-t", path, "-m", "late", *SMALL)
    cli("run", "-t", path, "-m", "late", "--set", "width=24", "--set", "recipe.decoding.beams=1")
    first, second = sorted(records(), key=lambda s: s.record.definition["model"]["width"])
    assert first.record.identity != second.record.identity
    assert second.record.definition["model"]["width"] == 24
    assert second.record.definition["model"]["recipe"]["decoding"]["beams"] == 1
    assert first.record.cost["parameters"] < second.record.cost["parameters"]


def test_a_folder_of_own_definitions_is_known_by_name(cli: Cli, task: Write) -> None:
    task("mine", folder="own")
    done = cli("run", "--include", "own", "-t", "mine", "-m", "constant", *SMALL)
    assert done.code == 0
    assert only().record.task == "mine"
    assert "--include ./own" in only().record.reproduce


@pytest.mark.parametrize("extension", ["toml", "py"])
def test_a_fusion_of_ones_own_is_named_by_its_path_and_pinned_by_its_digest(
    cli: Cli, task: Write, extension: str, trained: list[str]
) -> None:
    cli("new", "fusion", "gates")
    if extension == "py":
        Path("gates.toml").unlink()
    arguments = ("run", "-t", task(), "-m", f"./gates.{extension}", *SMALL)
    assert cli(*arguments).code == 0
    record = only().record
    digest = record.provenance["plugins"]["fusion gates"]
    assert digest == registry.digest("fusion", "gates")
    assert f"-m ./gates.{extension}" in record.reproduce
    assert "--include" not in record.reproduce, "the file comes with the model"


def test_an_edited_fusion_is_another_model_and_never_mixed_with_the_old_one(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("new", "fusion", "gates")
    path = task()
    cli("run", "-t", path, "-m", "./gates.toml", *SMALL)
    file = Path("gates.py")
    file.write_text(file.read_text().replace("softmax(dim=1)", "sigmoid()"))
    monkeypatch.setattr(registry, "_included", {})
    monkeypatch.setattr(registry, "_included_files", {})
    cli("run", "-t", path, "-m", "./gates.toml", *SMALL)
    first, second = (stored.record for stored in records())
    assert first.model_digest == second.model_digest
    assert first.identity != second.identity
    (board,) = json.loads(cli("leaderboard", "--json").out)["boards"]
    names = [row["model"] for row in board["rows"]]
    assert len(set(names)) == 2
    assert all(name.startswith("gates#") for name in names)


def test_variables_stand_in_for_options(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMBENCH_RESULTS", "elsewhere")
    monkeypatch.setenv("MMBENCH_SEEDS", "4-4")
    monkeypatch.setenv("MMBENCH_SET", "width=16")
    done = cli("run", "-t", task(), "-m", "late")
    assert only("elsewhere").record.seed == 4
    assert only("elsewhere").record.definition["model"]["width"] == 16
    assert done.out.splitlines()[-1].endswith("next: mmbench show mini/late --results elsewhere")


def test_json_tells_what_became_of_each_run(cli: Cli, task: Write) -> None:
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "2", *SMALL, "--json")
    first, second = json.loads(cli(*arguments).out)
    assert (first["task"], first["model"], first["seed"]) == ("mini", "late", 0)
    assert (first["status"], first["fresh"], first["rescored"]) == ("finished", True, False)
    assert Path(first["folder"], "record.json").exists()
    assert first["identity"] != second["identity"]
    assert first["scores"]["test"]["rouge_l"]["n"] == 24
    again = json.loads(cli(*arguments).out)
    assert [run["fresh"] for run in again] == [False, False]
    assert [run["scores"] for run in again] == [first["scores"], second["scores"]]


# --- plans ---------------------------------------------------------------------------------------


def test_a_dry_run_prints_plan_and_forecast_and_does_nothing(
    cli: Cli, task: Write, trained: list[str]
) -> None:
    arguments = ("run", "-t", task(), "-m", "late,constant", *SMALL, "--dry-run")
    done = cli(*arguments)
    assert done.code == 0
    assert done.out.splitlines()[0] == "plan: 2 of 2 runs to do, about 2 s at a guess, cpu"
    assert "  mini/late brief seed 0: to do, about 1 s at a guess" in done.out.splitlines()
    assert not Path("results").exists()
    assert not trained
    cli(*arguments[:4], "late", *arguments[5:-1])
    lines = cli(*arguments).out.splitlines()
    assert lines[0].startswith("plan: 1 of 2 runs to do, about ")
    assert "  mini/late brief seed 0: finished" in lines
    assert any(line.startswith("  mini/constant brief seed 0: to do, about ") for line in lines)
    assert "  mini/late brief seed 0: to do, about" in cli(*arguments, "--force").out


def test_a_plan_as_json_names_the_records_that_will_be(cli: Cli, task: Write) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    (planned,) = json.loads(cli(*arguments, "--dry-run", "--json").out)
    assert (planned["finished"], planned["seconds"]) == (False, None)
    cli(*arguments)
    assert only().record.identity == planned["identity"]
    (planned,) = json.loads(cli(*arguments, "--dry-run", "--json").out)
    cost = only().record.cost
    assert planned["finished"] is True
    assert planned["seconds"] == pytest.approx(cost["train_seconds"] + cost["test_seconds"])


def test_levels_without_single_modalities_are_shown_as_far_as_they_go(
    cli: Cli, task: Write
) -> None:
    path = task("bare", ("alone = { image = 0.6, audio = 0.5 }\n", ""))
    done = cli("run", "-t", path, "-m", "late", *SMALL, "--dry-run")
    assert "bare rouge_l: floor 0.100, all modalities 0.700 (oracles)" in done.out.splitlines()


# --- metrics of a record that is finished --------------------------------------------------------


@pytest.fixture
def metric(workplace: Path) -> str:
    Path("words_spoken.py").write_text(METRIC)
    return "./words_spoken.py"


def test_a_metric_asked_for_is_scored_and_shown(cli: Cli, task: Write, metric: str) -> None:
    done = cli("run", "-t", task(), "-m", "late", *SMALL, "--metric", metric)
    got = only().record.scores["test"]["words_spoken"]
    assert not got.higher_is_better
    # An untrained model says as many words of every scene: that has no interval.
    span = "" if got.low is None else f" [{got.low:.3f}, {got.high:.3f}]"
    assert f", words_spoken {got.value:.3f}{span}  1 seed" in done.out
    assert f", words_spoken {got.value:.3f}{span}" in done.err
    assert only().record.reproduce.endswith("--metric ./words_spoken.py --set width=16")


def test_a_metric_asked_for_later_is_scored_from_what_was_said(
    cli: Cli, task: Write, metric: str, trained: list[str]
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments)
    before, files = only().record, content(only().folder)
    done = cli(*arguments, "--metric", metric)
    assert done.code == 0
    assert len(trained) == 1
    assert "mini/late seed 0: finished before, scored anew: rouge_l " in done.err
    assert ", words_spoken " in done.out
    after = only().record
    said = store.read_predictions(only(), "ood")["caption"]
    expected = sum(len(text.split()) for text in said) / len(said)
    assert after.scores["ood"]["words_spoken"].value == pytest.approx(expected)
    for split, scores in before.scores.items():
        assert {name: after.scores[split][name] for name in scores} == scores
    for name in ("predictions.parquet", "weights.safetensors"):
        assert content(only().folder)[name] == files[name]
    rescored = after.provenance.pop("rescored")
    assert set(rescored) == {"mmbench", "commit", "started"}
    assert after.provenance == before.provenance
    assert (after.cost, after.curve, after.identity) == (before.cost, before.curve, before.identity)
    assert not leftovers()
    again = cli(*arguments, "--metric", metric)
    assert "finished before, rouge_l " in again.err, "now it has what is asked for"


def test_a_run_with_a_metric_and_one_scored_later_agree(cli: Cli, task: Write, metric: str) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments, "--metric", metric, "--results", "at_once")
    cli(*arguments, "--results", "later")
    cli(*arguments, "--metric", metric, "--results", "later")
    one, two = only("at_once"), only("later")
    assert one.record.scores == two.record.scores
    items, others = store.read_items(one)["test"], store.read_items(two)["test"]
    assert (items.ids, items.clusters) == (others.ids, others.clusters)
    assert set(items.families) == set(others.families)
    for family, (names, rows) in items.families.items():
        assert others.families[family][0] == names
        assert (others.families[family][1] == rows).all()


def test_scores_by_a_metric_that_is_not_asked_for_again_stay(
    cli: Cli, task: Write, metric: str
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments, "--metric", metric)
    before = only().record.scores["test"]["words_spoken"]
    cli(*arguments, "--metric", "bleu4")
    assert only().record.scores["test"]["words_spoken"] == before
    assert {"bleu", "words_spoken"} <= set(store.read_items(only())["test"].families)
    assert cli("leaderboard", "--metric", metric).code == 0


def test_a_metric_of_another_version_is_scored_anew(
    cli: Cli, task: Write, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL, "--metric", metric)
    cli(*arguments)
    Path(metric).write_text(METRIC.replace("version=1", "version=2").replace("len(", "2 * len("))
    monkeypatch.setattr(registry, "_included", {})
    monkeypatch.setattr(registry, "_included_files", {})
    before = only().record.scores["test"]["words_spoken"]
    cli(*arguments)
    after = only().record.scores["test"]["words_spoken"]
    assert after.signature != before.signature
    assert after.value == pytest.approx(2 * before.value)


def test_levels_that_were_mended_change_the_verdict_without_training(
    cli: Cli, task: Write, trained: list[str]
) -> None:
    bound = ("alone = {", 'bound = { "audio+image" = -1.0 }\nalone = {')
    arguments = ("run", "-t", "./mini.toml", "-m", "late", *SMALL)
    task("mini", bound)
    leak = cli(*arguments)
    assert leak.code == 1
    assert "leak: rouge_l " in leak.error
    assert only().record.status == "leak"
    task("mini")
    assert cli(*arguments).code == 0
    assert (only().record.status, only().record.reason) == ("finished", "")
    task("mini", bound)
    assert cli(*arguments).code == 1
    assert only().record.status == "leak"
    assert len(trained) == 1


def test_without_predictions_a_record_cannot_be_scored_anew_and_stays(
    cli: Cli, task: Write, metric: str
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments)
    (only().folder / "predictions.parquet").unlink()
    before = content(only().folder)
    done = cli(*arguments, "--metric", metric)
    assert done.code == 1
    assert "predictions.parquet: is missing" in done.error
    assert done.error.endswith("--force repeats the run")
    assert content(only().folder) == before


def test_without_weights_a_record_is_scored_anew_all_the_same(
    cli: Cli, task: Write, metric: str
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments)
    weights = only().folder / "weights.safetensors"
    digest = only().record.files["weights.safetensors"]
    weights.unlink()
    assert cli(*arguments, "--metric", metric).code == 0
    assert only().record.files["weights.safetensors"] == digest, "for whoever has them still"


def test_a_record_of_other_data_is_not_scored_anew(cli: Cli, task: Write, metric: str) -> None:
    import msgspec

    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments)
    stored = only()
    other = msgspec.structs.replace(stored.record, data={"fingerprint": "0" * 64, "source": ""})
    (stored.folder / "record.json").write_bytes(msgspec.json.encode(sealed.seal(other)))
    done = cli(*arguments, "--metric", metric)
    assert "was tested on other data than there are now; --force repeats the run" in done.error


# --- what interrupts -----------------------------------------------------------------------------


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(
    cli: Cli, task: Write, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", "--seeds", "3", *SMALL)
    steps: list[int] = []

    def interrupted(self: Any, done: int, total: int, loss: Any, score: Any) -> None:
        steps.append(done)
        if len(steps) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmbench.cli._progress.Plain.step", interrupted)
        done = cli(*arguments)
    assert done.code == 130
    assert done.err.splitlines()[-1] == (
        "interrupted: 1 of 3 runs are finished and kept in results; "
        "the same command goes on with the others"
    )
    assert only().record.seed == 0
    before = content(only().folder)
    assert not leftovers()
    trained.clear()
    done = cli(*arguments)
    assert done.code == 0
    assert trained == ["mini/late s1", "mini/late s2"]
    assert content(records()[0].folder) == before
    assert "3 seeds x 24 items" in done.out


def test_ctrl_c_while_a_record_is_written_leaves_none_of_it(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(model: Any, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "_save_weights", interrupted)
    assert cli("run", "-t", task(), "-m", "late", *SMALL).code == 130
    assert not records()
    assert not leftovers()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken disk")])
def test_what_strikes_while_a_record_is_replaced_leaves_the_old_one(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments)
    before = content(only().folder)
    replace = os.replace

    def broken(old: Path, new: Path) -> None:
        if old.name.startswith(".writing-"):
            raise error
        replace(old, new)

    monkeypatch.setattr(os, "replace", broken)
    assert cli(*arguments, "--force").code in (1, 130)
    assert content(only().folder) == before
    assert not leftovers()


def test_what_a_killed_process_had_moved_aside_comes_back(
    cli: Cli, task: Write, trained: list[str]
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments)
    folder, before = only().folder, content(only().folder)
    trained.clear()
    aside, half = (folder.parent / f".{what}-{folder.name}-x1" for what in ("replaced", "writing"))
    aside.mkdir()
    folder.rename(aside / folder.name)
    half.mkdir()
    (half / "items.parquet").write_bytes(b"half")
    done = cli(*arguments)
    assert done.code == 0, done.err
    assert not trained
    assert content(only().folder) == before
    assert not leftovers()


def test_what_a_process_left_that_was_killed_after_its_record_goes(
    cli: Cli, task: Write, trained: list[str]
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL)
    cli(*arguments)
    folder, before = only().folder, content(only().folder)
    written = os.stat(folder / store.RECORD).st_mtime_ns
    checkpoint = folder.with_name(f".{folder.name}.checkpoint")
    for when, kept in ((written - 10**9, []), (written + 10**9, [checkpoint])):
        checkpoint.mkdir()
        os.utime(checkpoint, ns=(when, when))
        claims.path_of(folder).touch()
        trained.clear()
        assert cli(*arguments).code == 0
        assert leftovers() == kept, "one that is younger is of a run that repeats the record"
    assert not trained
    assert content(only().folder) == before


def test_a_real_ctrl_c_ends_a_process_in_an_orderly_way(
    cli: Cli, task: Write, workplace: Path
) -> None:
    brief = task("brief")
    endless = task("endless", ("steps = 6", "steps = 1000000"))
    arguments = ["run", "-t", f"{brief},{endless}", "-m", "late", *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-m", "mmbench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # Where the tests run in the background, SIGINT is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "[2/2] endless/late seed 0: data" in line:
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, (lines, out, err)
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("interrupted: 1 of 2 runs are finished and kept in ")
    assert only().record.task == "brief"
    assert not leftovers()


# --- what a fusion of one's own may do -----------------------------------------------------------


def test_an_error_in_a_file_of_ones_own_is_told_by_its_file_and_line(cli: Cli, task: Write) -> None:
    cli("new", "fusion", "gates")
    file = Path("gates.py")
    first = "        heard = [\n"
    assert first in file.read_text()
    text = file.read_text().replace(first, f"        streams['smell']\n{first}")
    file.write_text(text)
    line = text.splitlines().index("        streams['smell']") + 1
    done = cli("run", "-t", task(), "-m", "./gates.toml", *SMALL)
    assert done.code == 1
    assert done.error == (
        f"error: mini/gates seed 0: {file.resolve()}:{line}: KeyError: 'smell'; "
        "--debug shows the way there"
    )
