"""Whatever a user can get wrong is one line that names it and what would work."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from mmbench import run as run_module
from mmbench import store
from mmbench.cli import run_cli
from mmbench.errors import MmbenchError, UsageError
from mmbench.executors import work

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--set", "width=16")
LR = "recipe.stages.0.objectives.0.optimizer.lr"

Cli: TypeAlias = Callable[..., Any]
Write: TypeAlias = Callable[..., str]


# --- wrong usage ---------------------------------------------------------------------------------

#: What is typed behind ``mmbench`` -> what the line has to say. ``TASK`` is a task that works.
USAGE = {
    "rnu -t TASK": ["no command 'rnu': did you mean 'run'? known: run, leaderboard, compare, gate"],
    "--nope": ["No such option '--nope'", "'mmbench --help' shows the options"],
    "run -m late": ["--task is missing: 'mmbench list tasks' shows what there is"],
    "run -t TASK": ["--model is missing: 'mmbench list models' shows what there is"],
    "run -t captionng -m late": [
        "unknown task 'captionng': did you mean 'captioning'? known: avmnist, captioning, ",
        "'mmbench list tasks' shows them; your own is named by its path, ./captionng.toml",
    ],
    "run -t zzz -m late": ["unknown task 'zzz': known: avmnist, captioning, "],
    "run -t none.toml -m late": ["none.toml: there is no such file"],
    "run -t TASK -m hybird": ["unknown model 'hybird': did you mean 'hybrid'? known: "],
    "run -t TASK -m early_tokens": [
        "'early_tokens': it is the name of a fusion, on which early stands"
    ],
    "run -t TASK -m none.toml": ["none.toml: there is no such file"],
    "run -t TASK -m ./none.py": ["/none.py: cannot be read: No such file or directory"],
    "run -t TASK -m tags_only": [
        "model 'tags_only' looks at the modality 'tags', which the task 'mini' lacks: "
        "it has image, audio"
    ],
    "run -t TASK -m late --bugdet brief": ["No such option '--bugdet'", "'--budget'"],
    "run -t TASK -m late --budget breif": [
        "--budget breif: did you mean 'brief'? the task 'mini' has brief"
    ],
    "run -t TASK -m late --metric rogue_l": ["unknown metric 'rogue_l': did you mean 'rouge_l'?"],
    "run -t TASK -m late --metric ./none.py": ["/none.py: cannot be read"],
    "run -t TASK -m late --seeds abc": ["--seeds abc: expected a count (3) or a range (0-4)"],
    "run -t TASK -m late --seeds 3-1": ["--seeds 3-1: expected a count (3) or a range (0-4)"],
    "run -t TASK -m late --seeds 0": ["--seeds 0: expected a count"],
    "run -t TASK -m late --limit 1": ["'--limit': expected a whole number, 2 or more, not 1"],
    "run -t TASK -m late --threads 0": ["'--threads': expected a whole number, 1 or more, not 0"],
    "run -t TASK -m late --device tpu": ["'--device': 'tpu' is not one of 'auto', 'cpu', 'cuda'"],
    "run -t TASK -m late --results TASK": ["'--results': Directory", "is a file"],
    "run -t TASK -m late --set width": [
        "--set 'width': expected KEY=VALUE, e.g. recipe.batch_size=32"
    ],
    "run -t TASK -m late --set widht=3": [
        "baselines/late.toml with --set: unknown key 'widht': did you mean 'width'?"
    ],
    "run -t TASK -m late --set lr=3": [
        "unknown key 'lr': did you mean 'recipe.stages.0.objectives.0.optimizer.lr'?"
    ],
    "run -t TASK -m late --set recipe.stages.0.shrae=3": [
        "unknown key 'recipe.stages[0].shrae': did you mean 'recipe.stages.0.share'?"
    ],
    "run -t TASK -m late --metric nll": [
        "metric 'nll' scores outputs of the kind 'label', but 'caption' of the task 'mini' is of "
        "the kind 'text'; 'mmbench list metrics' shows the kinds"
    ],
    "run -t TASK -m late --metric label.nll": [
        "metric 'label.nll': the task 'mini' has no output 'label'; it has: caption"
    ],
    "run -t sentiment -m late --metric mse": ["; intensity.mse scores that one; 'mmbench list"],
    "run -t TASK -m late -q -v": ["--verbose: not with --quiet: give one of both"],
    "run -t TASK -m late --set width=abc": ["width: expected `int`, got `str`"],
    "run -t TASK -m late --set recipe.decoding.beams=0": ["recipe.decoding.beams: expected `int`"],
    "run -t TASK -m late --set width.x=1": ["--set 'width.x=1': 'x' does not stand in a table"],
    "run -t TASK -m late --set recipe.stages.7.split=val": [
        "--set 'recipe.stages.7.split=val': there is no element 7"
    ],
    "run -t TASK -m late --set width=17": ["the fusion 'late' refuses its arguments"],
    "run -t TASK -m late --set fusion.name=lat": ["unknown fusion 'lat': did you mean 'late'?"],
    "run -t TASK -m late --set heads.text.name=gur": ["unknown head 'gur': did you mean 'gru'?"],
    "run -t TASK -m late --set encoders.image.name=cn": [
        "unknown encoder 'cn': did you mean 'cnn'"
    ],
    "run -t TASK -m late --set combiner.name=mixtur": ["unknown combiner 'mixtur': did you mean"],
    "run -t TASK -m late --set fusion.params.depht=1": [
        "fusion.params: unknown key 'depht' for the fusion 'late': did you mean 'depth'? it takes"
    ],
    "run -t TASK -m late --set recipe.stages.0.split=trian": [
        "the stage 'fit' trains on the split 'trian': expected one of train, val"
    ],
    "run -t TASK -m late --set recipe.stages.0.split=test": [
        "the stage 'fit' trains on the split 'test': expected one of train, val"
    ],
    "run -t TASK -m late --set recipe.stages.0.objectives.0.optimizer.betas=[2.0,1.0]": [
        "optimizer.betas"
    ],
    "run -t TASK -m late --set recipe.decoding.beams=100000": ["recipe.decoding.beams"],
    "run -t TASK -m late --seeds 99999999999": ["--seeds 99999999999", "at most 1000 seeds"],
    "run -t TASK -m ,": ["names nothing"],
    "run -t TASK -m late --set recipe.stages.0.objectives.0.name=supervisd": [
        "unknown objective 'supervisd': did you mean 'supervised'?"
    ],
    "run -t TASK -m late --set recipe.stages.0.objectives.0.parameters=['x*']": [
        "the objective 'supervised' trains nothing: no parameter matches x*"
    ],
    "run -t TASK -m unimodal.toml": ["unimodal.toml: there is no such file"],
    "list fusion": ["'fusion' is not one of 'tasks', 'models', 'datasets'"],
    "list --include none": ["--include none: expected a folder of TOMLs, a .toml or a .py file"],
    "list --include none.toml": ["--include none.toml: there is no such file"],
    "describe": ["Missing argument 'NAME'"],
    "describe captionin": [
        "unknown task, model or component 'captionin': did you mean 'captioning'"
    ],
    "describe none.toml": ["none.toml: cannot be read: No such file or directory"],
    "leaderboard --metric rogue_l": ["unknown metric 'rogue_l': did you mean 'rouge_l'?"],
    "leaderboard --format xml": [
        "'xml' is not one of 'text', 'markdown', 'overview', 'csv', 'json'"
    ],
    "show --items 0": ["'--items': expected a whole number, from 1 to 90, not 0"],
}


@pytest.mark.parametrize("line", USAGE)
def test_wrong_usage_is_one_line_and_exit_code_2(cli: Cli, task: Write, line: str) -> None:
    arguments = [task() if word == "TASK" else word for word in line.split()]
    done = cli(*arguments)
    assert done.code == 2
    for part in USAGE[line]:
        assert part in done.error
    assert len(done.err.splitlines()) == 1, "nothing was begun"
    assert not Path("results").exists()


def test_no_command_at_all_shows_what_there_is(cli: Cli) -> None:
    done = cli()
    assert (done.code, done.err) == (0, "")
    assert done.out == cli("--help").out
    assert "mmbench run --task captioning --model hybrid" in done.out


@pytest.mark.parametrize("value", ["abc", "1"])
def test_a_wrong_variable_is_told_like_a_wrong_option(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MMBENCH_LIMIT", value)
    done = cli("run", "-t", task(), "-m", "late")
    assert done.code == 2
    assert "'--limit'" in done.error


def test_a_gpu_that_is_not_there(cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = cli("run", "-t", task(), "-m", "late", "--device", "cuda")
    assert done.code == 2
    assert done.error == "error: --device cuda: torch sees no GPU here: use --device cpu"


def test_torch_that_is_not_installed(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = cli("run", "-t", task(), "-m", "late")
    assert done.code == 2
    assert done.error == (
        "error: torch, which training needs, is not installed: pip install 'mmbench[train]'"
    )


# --- definitions ---------------------------------------------------------------------------------

#: Name -> (what stands in the task, what is put there, what the line has to say).
DEFINITIONS = {
    "type": ("train = 64", 'train = "many"', "splits.train: expected `int`, got `str`"),
    "empty": ("val = 16", "val = 0", "splits.val: expected `int` >= 1"),
    "single": ("test = 24", "test = 1", "splits.test = 1: expected 2 or more"),
    "validation": (
        "validation_items = 8",
        "validation_items = 1",
        "budgets.brief.validation_items = 1: expected 2 or more",
    ),
    "no_split": ("val = 16\n", "", "splits.val is missing: a task needs train, val and test"),
    "missing": ('name = "scenecap"\n', "", "the key 'dataset.name' is missing"),
    "unknown": ("summary = ", "sumary = ", "unknown key 'sumary': did you mean 'summary'?"),
    "deep": (
        "steps = 6",
        "step = 6",
        "unknown key 'budgets.brief.step': did you mean 'budgets.brief.steps'?",
    ),
    "syntax": ("[splits]", "[[splits", "is not valid TOML: "),
    "newer": ("schema = 1", "schema = 9", "schema = 9 is newer than this mmbench reads (1)"),
    "budget": (
        'default_budget = "brief"',
        'default_budget = "long"',
        "default_budget = 'long' is not in budgets (brief)",
    ),
    "metric": ('main = "rouge_l"', 'main = "rogue_l"', "unknown metric 'rogue_l': did you mean"),
    "dataset": ('name = "scenecap"', 'name = "scenecab"', "unknown dataset 'scenecab': did you"),
    "shape": ("[3, 48, 48]", "[3, 32, 32]", "modalities.image: image [3, 32, 32], but one item"),
    "parameter": (
        "seed = 3",
        "seed = 3\nparams = { oclusion = 0.1 }",
        "unknown key 'oclusion': did you mean 'occlusion'?",
    ),
    "kind": ('kind = "spectrogram"', 'kind = "smell"', "has no encoder for 'smell': its encoders"),
    "head": ('kind = "text"', 'kind = "poem"', "of the task 'wrong' is of the kind 'poem'"),
}


@pytest.mark.parametrize("case", DEFINITIONS)
def test_a_task_file_that_is_wrong_is_told_by_file_and_key(
    cli: Cli, task: Write, case: str
) -> None:
    old, new, expected = DEFINITIONS[case]
    done = cli("run", "-t", task("wrong", (old, new)), "-m", "late", *SMALL, "-q")
    assert done.code == 2
    assert expected in done.error
    if case not in ("metric", "dataset", "kind", "head", "parameter"):
        assert "wrong.toml: " in done.error


def test_a_file_that_is_not_text(cli: Cli, task: Write) -> None:
    path = Path(task("wrong"))
    path.write_bytes(path.read_bytes() + b"# \xff\xfe")
    done = cli("run", "-t", "./wrong.toml", "-m", "late")
    assert (done.code, done.error) == (2, "error: wrong.toml: is not UTF-8 text")


def test_a_file_whose_name_is_not_that_of_its_task(cli: Cli, task: Write) -> None:
    Path(task("wrong")).rename("other.toml")
    done = cli("run", "-t", "./other.toml", "-m", "late")
    assert "other.toml: name = 'wrong' differs from the file's name" in done.error


def test_a_folder_in_place_of_a_file(cli: Cli) -> None:
    Path("folder.toml").mkdir()
    done = cli("run", "-t", "./folder.toml", "-m", "late")
    assert (done.code, done.error) == (2, "error: folder.toml: cannot be read: Is a directory")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('fusion = { name = "lat" }', "unknown fusion 'lat': did you mean 'late'?"),
        ("fusion = 3", "fusion: expected `object`, got `int`"),
        ('fusio = { name = "late" }', "unknown key 'fusio': did you mean 'fusion'?"),
        ("", "the key 'fusion' is missing"),
        ('fusion = { name = "late" }\nwidth = 0', "width: expected `int` >= 1"),
    ],
)
def test_a_model_file_that_is_wrong_is_told_before_anything_is_loaded(
    cli: Cli, task: Write, line: str, expected: str
) -> None:
    text = f'schema = 1\nextends = "matched"\nname = "own"\nsummary = ""\nfamily = ""\n{line}\n'
    Path("own.toml").write_text(text)
    done = cli("run", "-t", task(), "-m", "late,./own.toml")
    assert done.code == 2
    assert expected in done.error
    assert len(done.err.splitlines()) == 1


def test_a_base_that_is_not_there(cli: Cli, task: Write) -> None:
    Path("own.toml").write_text('extends = "mached"\nname = "own"\n')
    done = cli("run", "-t", task(), "-m", "./own.toml")
    assert "unknown extends in own.toml: 'mached': did you mean 'matched'?" in done.error


def test_two_models_of_one_name(cli: Cli, task: Write) -> None:
    text = 'schema = 1\nextends = "matched"\nname = "late"\nsummary = ""\nfamily = ""\n'
    Path("late.toml").write_text(f'{text}fusion = {{ name = "concat" }}\n')
    done = cli("run", "-t", task(), "-m", "late,./late.toml")
    assert done.code == 2
    assert done.error == "error: two different models are called 'late': rename one"


def test_two_tasks_of_one_name(cli: Cli, task: Write) -> None:
    one = task("mini")
    two = task("mini", ("seed = 3", "seed = 4"), folder="other")
    done = cli("run", "-t", one, "-t", two, "-m", "late")
    assert done.code == 2
    assert done.error == (
        f"error: {one} and {two}: both tasks are named 'mini', and results go by names: rename one "
        f"of them (name = ...)"
    )


def test_a_name_that_is_taken(cli: Cli, task: Write) -> None:
    task("captioning", folder="own")
    done = cli("list", "--include", "own")
    assert done.code == 2
    assert "captioning.toml: the name 'captioning' exists already: rename yours" in done.error


def test_a_fusion_of_several_modalities_on_one_is_refused_with_what_would_work(cli: Cli) -> None:
    # No data are there: the pair is refused before anybody looks for them.
    done = cli("run", "-t", "flickr8k_captioning", "-m", "image_only,hybrid", "--data", "nowhere")
    assert done.code == 2
    assert done.error == (
        "error: model 'hybrid': the fusion 'hybrid' needs at least 2 modalities and has 1 (image): "
        "models for one are called image_only"
    )


# --- files of code -------------------------------------------------------------------------------

FUSION = """
from mmbench.models import Fusion


class {name}(Fusion):
    pass
"""
CODE = {
    "nothing": ("x = 1\n", ": holds no component: expected one class derived from"),
    "syntax": ("x = 1\ndef f(:\n", ":2: SyntaxError: "),
    "raises": ("\n\nraise ValueError('two\\nlines')\n", ":3: ValueError: two lines"),
    "exits": ("import sys\nsys.exit(3)\n", ":2: SystemExit: 3"),
    "imports": ("import no_such_module\n", ":1: ModuleNotFoundError: No module named"),
    "two": (
        FUSION.format(name="One") + FUSION.format(name="Two"),
        ": two classes are a fusion (One, Two): a component is one class in one file",
    ),
    "late": (FUSION.format(name="Late"), ": the fusion 'late' exists already: rename yours"),
}


@pytest.mark.parametrize("name", CODE)
@pytest.mark.parametrize("option", ["-m", "--include"])
def test_a_file_of_code_that_is_wrong_is_told_by_file_and_line(
    cli: Cli, task: Write, name: str, option: str
) -> None:
    text, expected = CODE[name]
    Path(f"{name}.py").write_text(text)
    done = cli("run", "-t", task(), option, f"./{name}.py")
    assert done.code == 2
    assert f"{name}.py{expected}" in done.error


def test_a_metric_file_with_two_metrics(cli: Cli, task: Write) -> None:
    two = "from mmbench.metrics import metric\n" + "".join(
        f"\n@metric\ndef {name}(items):\n    return [0.0] * len(items)\n" for name in ("one", "two")
    )
    Path("both.py").write_text(two)
    done = cli("run", "-t", task(), "-m", "late", "--metric", "both.py")
    assert done.code == 2
    assert done.error == "error: --metric both.py: expected one metric in the file, found 2"


# --- data and disks ------------------------------------------------------------------------------


def test_data_that_are_not_there(cli: Cli) -> None:
    done = cli("run", "-t", "flickr8k_captioning", "-m", "image_only")
    assert done.code == 4
    assert (
        "task 'flickr8k_captioning' needs data of yours: --data DIR or MMBENCH_DATA" in done.error
    )
    done = cli("run", "-t", "flickr8k_captioning", "-m", "image_only", "--data", "nowhere")
    assert done.code == 4
    assert "nowhere: --data (or MMBENCH_DATA) has to name a folder that is there" in done.error
    Path("empty").mkdir()
    done = cli("run", "-t", "flickr8k_captioning", "-m", "image_only", "--data", "empty")
    assert done.code == 4
    assert "empty: neither dataset_flickr8k.json nor" in done.error


def test_a_cache_that_cannot_be_written(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("MMBENCH_CACHE", "file/cache")
    done = cli("run", "-t", task(), "-m", "late", *SMALL)
    assert done.code == 4
    assert "file/cache: the data cache cannot be written: Not a directory; MMBENCH_CACHE names" in (
        done.error
    )


def test_a_results_folder_that_cannot_be_written_is_told_before_training(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setattr(run_module, "train", None)
    done = cli("run", "-t", task(), "-m", "late", "--seeds", "3", "--results", "file/below", *SMALL)
    assert done.code == 1
    assert done.error == (
        "error: file/below: cannot be written (Not a directory): --results or MMBENCH_RESULTS "
        "names another folder"
    )


@pytest.fixture
def finished(cli: Cli, task: Write) -> dict[Path, bytes]:
    """A finished record, as the bytes of its files."""
    cli("run", "-t", task(), "-m", "late", *SMALL)
    return files()


def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}


def full(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["begin", "weights", "tables", "record"])
@pytest.mark.parametrize("force", [True, False])
def test_a_full_disk_ends_the_sweep_and_leaves_earlier_records_as_they_were(
    cli: Cli,
    finished: dict[Path, bytes],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    force: bool,
) -> None:
    import pyarrow.parquet as parquet

    begun: list[Any] = []
    execute = work.execute
    monkeypatch.setattr(work, "execute", lambda run, w: (begun.append(run), execute(run, w))[1])
    if place == "begin":
        monkeypatch.setattr(tempfile, "TemporaryFile", full)
    if place == "weights":
        monkeypatch.setattr(run_module, "_save_weights", full)
    if place == "tables":
        monkeypatch.setattr(parquet, "write_table", full)
    if place == "record":
        monkeypatch.setattr(os, "fsync", full)
    more = ["--force"] if force else []
    done = cli("run", "-t", "./mini.toml", "-m", "late", "--seeds", "3", *SMALL, *more)
    assert done.code == 1
    assert done.error == (
        "error: results: the disk is full: make room and give the same command again; "
        "finished records are intact"
    )
    assert len(begun) == 1, "the other runs would only fail likewise, an hour later each"
    assert files() == finished


def test_a_folder_that_may_not_be_written(
    cli: Cli, finished: dict[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    done = cli("run", "-t", "./mini.toml", "-m", "constant", *SMALL)
    assert done.code == 1
    assert "results: cannot be written (Permission denied): --results or" in done.error
    assert files() == finished


# --- records -------------------------------------------------------------------------------------


def test_a_damaged_record_is_told_and_neither_replaced_nor_in_the_way_of_others(
    cli: Cli, finished: dict[Path, bytes]
) -> None:
    (path,) = (path for path in finished if path.name == "record.json")
    path.write_bytes(finished[path][:1000])
    arguments = ("run", "-t", "./mini.toml", "-m", "late", *SMALL)
    done = cli(*arguments, "--seeds", "2")
    assert done.code == 1
    assert f"{path}: is not valid JSON" in done.error
    assert done.error.endswith("--force repeats the run")
    assert path.read_bytes() == finished[path][:1000]
    found, problems = store.scan(Path("results"))
    assert [stored.record.seed for stored in found] == [1]
    assert len(problems) == 1
    assert "seed 0: to do" in cli(*arguments, "--dry-run").out
    assert cli(*arguments, "--force").code == 0
    assert json.loads(path.read_bytes())["files"] == json.loads(finished[path])["files"]


def test_a_run_that_diverges_is_a_record_an_error_line_and_exit_code_1(
    cli: Cli, task: Write
) -> None:
    arguments = ("run", "-t", task(), "-m", "late", *SMALL, "--set", f"{LR}=1e30")
    for _ in range(2):  # the second time it is there already
        done = cli(*arguments)
        assert done.code == 1
        assert "/late/brief-s0-" in done.error
        assert "diverged: the loss became nan by step " in done.error
    ((stored,), _) = store.scan(Path("results"))
    assert stored.record.status == "diverged"
    assert stored.record.scores == {}
    assert sorted(stored.record.files) == ["weights.safetensors"]


@pytest.mark.parametrize("verb", ["leaderboard", "show"])
def test_no_records_at_all_is_exit_code_4(cli: Cli, verb: str) -> None:
    done = cli(verb)
    assert done.code == 4
    assert "results: holds no records; 'mmbench run' makes them" in done.error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["leaderboard", "-t", "minni"], "the task 'minni': did you mean 'mini'?"),
        (["leaderboard", "-m", "lat"], "the model 'lat': did you mean 'late'?"),
        (["leaderboard", "--budget", "breif"], "the budget 'breif': did you mean 'brief'?"),
        (["leaderboard", "--split", "tset"], "the split 'tset': did you mean 'test'?"),
        (["leaderboard", "--metric", "bleu4"], "no record was scored with bleu4 on 'test'"),
        (["show", "mini/lte"], "no record 'mini/lte' in results: did you mean 'mini/late'?"),
    ],
)
def test_records_that_are_not_there_are_exit_code_4(
    cli: Cli, finished: dict[Path, bytes], arguments: list[str], expected: str
) -> None:
    done = cli(*arguments)
    assert done.code == 4
    assert expected in done.error


def test_a_file_that_cannot_be_written(cli: Cli, finished: dict[Path, bytes]) -> None:
    Path("file").touch()
    done = cli("leaderboard", "--out", "file/board.md")
    assert done.code == 1
    assert done.error.startswith("error: file/board.md: cannot be written: ")


def test_a_record_of_a_newer_mmbench(cli: Cli, finished: dict[Path, bytes]) -> None:
    (path,) = (path for path in finished if path.name == "record.json")
    path.write_bytes(msgspec.json.encode(json.loads(finished[path]) | {"schema": 99}))
    done = cli("leaderboard")
    assert done.code == 4
    assert "schema 99 is newer than this mmbench reads (1): upgrade it" in done.error


# --- how errors are told -------------------------------------------------------------------------


def test_every_kind_of_error_has_an_exit_code_of_the_design() -> None:
    kinds = [MmbenchError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert kind.exit_code in (1, 2, 4)
        assert issubclass(kind, UsageError) == (kind.exit_code == 2)
    assert len(kinds) > 8


def test_debug_raises_what_was_one_line(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MmbenchError, match="unknown task 'nowhere'"):
        run_cli(["run", "-t", "nowhere", "-m", "late", "--debug"])
    monkeypatch.setenv("MMBENCH_DEBUG", "1")
    with pytest.raises(MmbenchError):
        run_cli(["run", "-t", "nowhere", "-m", "late"])
    monkeypatch.setenv("MMBENCH_DEBUG", "0")
    assert run_cli(["run", "-t", "nowhere", "-m", "late"]) == 2


def test_a_fault_of_mmbench_itself_is_one_line_too(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench import catalog

    def broken() -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr(catalog, "task_names", broken)
    done = cli("list")
    assert done.code == 1
    assert done.error == (
        "error: internal: ZeroDivisionError: one; --debug shows where, please report it"
    )


def test_ctrl_c_outside_of_a_sweep(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmbench import catalog

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "task_names", interrupted)
    done = cli("list")
    assert (done.code, done.error) == (130, "error: interrupted")


def test_ctrl_c_while_python_still_imports(workplace: Path) -> None:
    Path("click.py").write_text("raise KeyboardInterrupt\n")
    done = mmbench("PYTHONPATH=$PWD:$PYTHONPATH $mmbench list")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def mmbench(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "mmbench": f"{sys.executable} -m mmbench"},
        check=False,
    )


def test_a_process_shows_errors_and_tracebacks_alike(workplace: Path) -> None:
    done = mmbench("$mmbench describe nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown task, model or component 'nowhere'")
    assert done.stderr.count("\n") == 1
    done = mmbench("$mmbench describe nowhere --debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UnknownNameError: unknown task" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(workplace: Path) -> None:
    done = mmbench("$mmbench list | true")
    assert (done.returncode, done.stderr) == (0, "")


def test_processes_of_torchrun_are_its_devices_and_only_the_first_speaks(
    cli: Cli, task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    command = ("run", "-t", task(), "-m")
    told = cli(*command, "late", "--devices", "3", "--device", "cpu")
    assert told.code == 2
    assert "--devices 3: torchrun started 2 processes" in told.error
    assert "2 processes of torchrun: torch sees no GPU here" in cli(*command, "late").error
    monkeypatch.setenv("RANK", "1")
    follower = cli(*command, "lat", "--device", "cpu")
    assert (follower.code, follower.out, follower.err) == (2, "", "")
    assert cli(*command, "late", "--device", "cpu", "--dry-run").out == ""
