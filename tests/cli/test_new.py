"""`mmbench new`: what it writes works as written, and what it must not do it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mmbench import catalog, registry, scaffold
from mmbench.cli import run_cli
from mmbench.cli.new import command
from mmbench.data.scenecap import Params
from mmbench.spec import TaskSpec

ROOT = Path(__file__).resolve().parents[2]
LONG = "a" * scaffold.LONGEST
FILES = {
    "task": ["own.toml"],
    "fusion": ["own.py", "own.toml", "test_own.py"],
    "metric": ["own.py", "test_own.py"],
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to stand in, and an mmbench that knows no file of any other test."""
    for name in os.environ:
        if name.startswith("MMBENCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MMBENCH_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_included", {})
    monkeypatch.setattr(registry, "_included_files", {})
    monkeypatch.setattr(catalog, "_included", [])
    catalog._shelf.cache_clear()
    yield tmp_path
    catalog._shelf.cache_clear()


def new(*arguments: str) -> int:
    return run_cli(["new", *arguments])


def run_pytest(*paths: str) -> subprocess.CompletedProcess[str]:
    """Run generated tests as a user would: in their folder, a process of their own."""
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "--junitxml", "report.xml"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *paths],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        check=False,
    )


def tiny(name: str = "tiny") -> str:
    """Write a task with `new` and cut its numbers to what a test can afford; return its path."""
    assert new("task", name) == 0
    path = Path(f"{name}.toml")
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^(train|val|test|ood) = \d+", r"\1 = 8", text, flags=re.M)
    small = "{ items = 8, steps = 2, validations = 1, validation_items = 4 }"
    text, count = re.subn(r"^smoke = .*", f"smoke = {small}", text, flags=re.M)
    assert count == 1
    path.write_text(text, encoding="utf-8")
    return f"./{name}.toml"


def scores(task: str, model: str) -> dict[str, dict[str, float]]:
    """Return the test scores of the one record of a model."""
    (record,) = Path("results", task, model).glob("*/record.json")
    found: dict[str, dict[str, float]] = json.loads(record.read_text())["scores"]["test"]
    return found


# --- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_it_says_what_it_wrote_and_what_to_try(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new(kind, "own") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [f"wrote {file}" for file in FILES[kind]]
    assert lines[-1].startswith("next: mmbench run ")
    assert f" ./{FILES[kind][0]} " in lines[-1]
    assert sorted(path.name for path in folder.iterdir()) == FILES[kind]


def test_every_kind_of_the_command_line_can_be_written() -> None:
    (kind, _) = (param.type for param in command.params if param.name in ("kind", "name"))
    assert set(kind.choices) == set(scaffold.FILES) == set(scaffold.COMMANDS) == set(FILES)  # type: ignore[attr-defined]


def test_json_names_the_files_and_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert new("metric", "own", "--dir", "my things", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == ["my things/own.py", "my things/test_own.py"]
    assert "my things/own.py" in shlex.split(found["next"])


def test_the_folder_is_made(folder: Path) -> None:
    assert new("task", "own", "--dir", "a/b") == 0
    assert (folder / "a" / "b" / "own.toml").is_file()


@pytest.mark.parametrize("name", ["g", "two_words", LONG])
def test_generated_files_pass_the_linter_and_the_formatter(name: str, folder: Path) -> None:
    for kind in ("fusion", "metric"):
        assert new(kind, name, "--dir", kind) == 0
    for check in (["check"], ["format", "--check"]):
        arguments = [*check, "--config", str(ROOT / "pyproject.toml"), "--no-cache", str(folder)]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_generated_files_pass_strict_typing(folder: Path) -> None:
    assert new("fusion", "own_fusion") == 0
    assert new("metric", "own_metric") == 0
    files = [str(path) for path in sorted(folder.glob("*.py"))]
    assert len(files) == 4
    options = ["--strict", "--warn-unreachable", "--cache-dir", str(folder / ".mypy_cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout


# --- the generated tests -------------------------------------------------------------------------


def test_generated_tests_pass() -> None:
    assert new("fusion", "gates") == 0
    assert new("metric", "words") == 0
    done = run_pytest()
    assert done.returncode == 0, done.stdout
    assert "15 passed" in done.stdout


FAULTS = {
    "unmasked": ("mask=torch.cat(masks, dim=1)", "mask=torch.cat(masks, dim=1) | True"),
    "detached": ("streams[name].mask)  #", "streams[name].mask).detach()  #"),
    "forgotten": ("self.gate = ", "self.spare = nn.Linear(width, 1)\n        self.gate = "),
    "listening": ("pool(x, m) for", "x.mean(dim=1) for"),
    "narrow": ("pooled=(means * weights).sum(dim=1)", "pooled=(means * weights).sum(dim=(1, 2))"),
    "renamed": ('return ("joint",)', 'return ("everything",)'),
}
CAUGHT = {
    "unmasked": {"test_padding"},
    "narrow": {"test_shapes"},
    "detached": {"test_parameters", "test_gradients"},
    "forgotten": {"test_parameters"},
    "listening": {"test_padding"},
    "renamed": {"test_shapes"},
}


def test_generated_fusion_tests_catch_faults() -> None:
    for name, (right, wrong) in FAULTS.items():
        assert new("fusion", name) == 0
        path = Path(f"{name}.py")
        text = path.read_text(encoding="utf-8")
        assert text.count(right) == 1, name
        path.write_text(text.replace(right, wrong), encoding="utf-8")
    run_pytest("-k", "not overfit and not compile")
    failed: dict[str, set[str]] = {name: set() for name in FAULTS}
    for case in ElementTree.parse("report.xml").iter("testcase"):
        if case.find("failure") is not None:
            failed[case.attrib["classname"].removeprefix("test_").partition(".")[0]].add(
                case.attrib["name"]
            )
    for name, tests in failed.items():
        assert tests, f"nothing catches a fusion that is {name}"
        assert CAUGHT.get(name, set()) <= tests


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("return 2 * shared", "return shared"),
        ("& Counter(right)", "| Counter(right)"),
        ("[max(", "[min("),
        ("items.tokens", "[text.split() for text in items.predictions]"),
    ],
)
def test_generated_metric_tests_catch_faults(right: str, wrong: str) -> None:
    assert new("metric", "own") == 0
    text = Path("own.py").read_text(encoding="utf-8")
    assert text.count(right) == 1
    Path("own.py").write_text(text.replace(right, wrong), encoding="utf-8")
    done = run_pytest()
    assert "test_scores_are_those_worked_out_by_hand" in done.stdout
    assert done.returncode == 1


# --- runs ----------------------------------------------------------------------------------------


def test_a_generated_fusion_runs_by_either_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert new("fusion", "gates") == 0
    arguments = ["run", "-t", tiny(), "--budget", "smoke", "-q", "--json", "-m"]
    capsys.readouterr()
    assert run_cli([*arguments, "./gates.py"]) == 0
    (by_code,) = json.loads(capsys.readouterr().out)
    assert (by_code["model"], by_code["status"], by_code["fresh"]) == ("gates", "finished", True)
    assert run_cli([*arguments, "./gates.toml"]) == 0
    (by_toml,) = json.loads(capsys.readouterr().out)
    assert (by_toml["identity"], by_toml["fresh"]) == (by_code["identity"], False)


def test_a_generated_fusion_takes_the_arguments_of_its_toml() -> None:
    assert new("fusion", "gates") == 0
    run = ["run", "-t", tiny(), "--budget", "smoke", "-q", "-m", "./gates.py"]
    assert run_cli([*run, "--set", "fusion.params.depth=0"]) == 0
    assert scores("tiny", "gates")["cider_d"]["value"] >= 0


def test_a_generated_metric_scores_a_run() -> None:
    assert new("metric", "words") == 0
    run = ["run", "-t", tiny(), "-m", "constant", "--budget", "smoke", "-q"]
    assert run_cli([*run, "--metric", "./words.py"]) == 0
    found = scores("tiny", "constant")["words"]
    assert 0 <= found["value"] <= 1
    assert found["n"] == 8


def test_a_generated_task_runs_by_path_and_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--budget", "smoke", "-q", "-m", "late,hybrid"]
    assert run_cli(["run", "-t", tiny(), *run]) == 0
    assert scores("tiny", "late").keys() == {"cider_d", "bleu4", "slot_f1", "emitter_f1"}
    capsys.readouterr()
    assert run_cli(["run", "-t", "tiny", "--include", ".", *run, "--json"]) == 0
    outcomes = json.loads(capsys.readouterr().out)
    assert [(o["model"], o["fresh"]) for o in outcomes] == [("late", False), ("hybrid", False)]


def test_a_generated_task_is_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert new("task", "noisy") == 0
    assert run_cli(["list", "tasks", "--include", ".", "--json"]) == 0
    out = capsys.readouterr().out
    rows = json.loads(out[out.index("{") :])["tasks"]
    (row,) = (row for row in rows if row["name"] == "noisy")
    assert row["kind"] == "image+audio"
    assert row["summary"]
    assert run_cli(["describe", "./noisy.toml"]) == 0
    assert "image_noise" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_the_next_command_works_as_printed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(kind, "own") == 0
    printed = capsys.readouterr().out.splitlines()[-1]
    arguments = shlex.split(printed.removeprefix("next: mmbench "))
    assert run_cli([*arguments, "-q"]) == 0, capsys.readouterr().err
    assert list(Path("results").glob("*/*/*/record.json"))


# --- what the definitions say --------------------------------------------------------------------


def test_a_generated_model_differs_from_the_shipped_ones_in_its_fusion_alone() -> None:
    assert new("fusion", "own") == 0
    own, shipped = catalog.model("./own.toml"), catalog.model("concat")
    assert own.fusion.name == "own"
    for part in ("width", "modalities", "encoders", "combiner", "heads", "recipe"):
        assert getattr(own, part) == getattr(shipped, part)


def test_the_settings_that_a_generated_model_suggests_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert new("fusion", "own") == 0
    path = Path("own.toml")
    suggested = re.compile(r"^# (?=\w+ = |\[\w+\]$)", flags=re.M)
    text, count = suggested.subn("", path.read_text(encoding="utf-8"))
    assert count >= 8
    path.write_text(text, encoding="utf-8")
    own, shipped = catalog.model("./own.toml"), catalog.model("concat")
    for part in ("width", "encoders", "combiner", "heads", "recipe"):
        assert getattr(own, part) != getattr(shipped, part), part
    assert run_cli(["run", "-t", tiny(), "-m", "./own.toml", "--budget", "smoke", "-q"]) == 0


def test_a_generated_task_names_and_explains_every_key() -> None:
    assert new("task", "noisy") == 0
    text = Path("noisy.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    assert set(content) == set(TaskSpec.__struct_fields__) - {"levels"}
    assert set(content["dataset"]["params"]) == set(Params.__struct_fields__)
    for line in text.splitlines():  # a key is explained beside it, or with its table
        if " = " in line and not line.startswith("#"):
            table = text[: text.index(line)].rpartition("\n\n")[2]
            assert "#" in line or "#" in table, line


def test_a_generated_task_has_data_of_its_own() -> None:
    assert new("task", "one") == 0
    assert new("task", "two") == 0
    one, two, shipped = catalog.task("./one.toml"), catalog.task("./two.toml"), None
    shipped = catalog.task("captioning")
    assert len({task.dataset.seed for task in (one, two, shipped)}) == 3
    usual = msgspec.to_builtins(Params())
    assert one.dataset.params["image_noise"] > usual["image_noise"]
    assert all(one.splits[name] < shipped.splits[name] for name in one.splits)
    told = ", ".join(f"{value}" for value in usual.values()).replace(", 0.5", " and 0.5")
    assert f"the task 'captioning' has {told}" in Path("one.toml").read_text(encoding="utf-8")
    assert shipped.dataset.params == {}


# --- what is refused -----------------------------------------------------------------------------


def test_a_file_that_is_there_is_never_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder / "test_own.py"
    mine.write_text("mine", encoding="utf-8")
    assert new("fusion", "own") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "test_own.py" in error
    assert "--force" in error
    assert [path.name for path in folder.iterdir()] == ["test_own.py"], "all or nothing"
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_dangling_link_is_not_written_through(folder: Path) -> None:
    (folder / "own.toml").symlink_to(folder / "elsewhere.toml")
    assert new("task", "own") == 2
    assert not (folder / "elsewhere.toml").exists()


def test_force_overwrites_but_the_variable_for_runs_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "own.toml").write_text("mine", encoding="utf-8")
    monkeypatch.setenv("MMBENCH_FORCE", "1")
    assert new("task", "own") == 2
    assert new("task", "own", "--force") == 0
    assert catalog.task("./own.toml").name == "own"


def test_force_overwrites_what_is_included_itself(folder: Path) -> None:
    assert new("task", "own") == 0
    assert new("task", "own", "--include", ".", "--force") == 0
    assert new("fusion", "mine") == 0
    assert new("fusion", "mine", "--include", "mine.py", "--force") == 0
    assert new("fusion", "mine", "--include", "mine.py", "--dir", "other") == 2


@pytest.mark.parametrize(
    ("kind", "name", "offer"),
    [
        ("fusion", "GatedSum", "gated_sum"),
        ("fusion", "gates-sum", "gates_sum"),
        ("fusion", "./gates.py", "gates"),
        ("task", "_hidden", "hidden"),
        ("task", "own\n", "own"),
        ("task", "über", "ber"),
        ("task", "...", "task"),
        ("fusion", "", "my_fusion"),
        ("fusion", "hybrid", "my_hybrid"),
        ("fusion", "image_only", "my_image_only"),
        ("fusion", "all", "my_all"),
        ("metric", "cider_d", "my_cider_d"),
        ("metric", "slots", "my_slots"),  # a family, under whose name statistics are stored
        ("task", "captioning", "my_captioning"),
        ("fusion", "3d", "my_3d"),
        ("fusion", "class", "my_class"),
        ("metric", "len", "my_len"),
        ("metric", "items", "my_items"),
        ("metric", "conftest", "my_conftest"),
        ("fusion", "branch", "my_branch"),
        ("fusion", "fusion", "my_fusion"),
        ("fusion", "random", "my_random"),
        ("metric", "torch", "my_torch"),
        ("fusion", LONG + "b", "a" * (scaffold.LONGEST - 3)),
    ],
)
def test_a_name_that_cannot_work_is_refused_with_one_that_does(
    kind: str, name: str, offer: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new(kind, "--", name) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert error.rstrip().endswith(f"try {offer!r}")
    assert not list(folder.iterdir())
    assert new(kind, offer) == 0


@pytest.mark.parametrize("kind", FILES)
def test_no_shipped_name_can_be_taken(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    task = catalog.task("captioning")
    taken = {
        "task": catalog.task_names(),
        "fusion": [*registry.names("fusion"), *catalog.model_names(task)],
        "metric": registry.names("metric"),
    }
    for name in taken[kind]:
        assert new(kind, name) == 2
        assert "already" in capsys.readouterr().err


def test_a_file_of_the_same_name_elsewhere_is_no_module_that_would_be_hidden(folder: Path) -> None:
    (folder / "own.py").write_text("", encoding="utf-8")
    assert new("fusion", "own", "--dir", "sub") == 0


def test_a_folder_that_cannot_be_written_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    assert new("task", "own", "--dir", "file/sub") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "file/sub" in error
    assert "--dir" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "locked").mkdir(mode=0o555)
    assert new("task", "own", "--dir", "locked") == 1
    assert "locked/own.toml: cannot be written" in capsys.readouterr().err
