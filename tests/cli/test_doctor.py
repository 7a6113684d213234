"""`mmbench doctor`: every check can find something, and says what to do about it."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mmbench
from mmbench import catalog, doctor, registry, room
from mmbench.cli import run_cli
from mmbench.data import _load
from mmbench.doctor import Check, installation, machine, places, shell

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    *(
        "python",
        "mmbench",
        "tasks",
        "models",
        "packages",
        "train",
        "metrics",
        "hf",
        "tune",
        "media",
        "test",
        "torch",
        "gpu",
    ),
    *("cores", "threads", "memory", "cache", "results", "data", "variables", "locale", "terminal"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to stand in, no setting, and a container without limits."""
    for name in os.environ:
        if name.startswith("MMBENCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(room, "CGROUP", tmp_path / "no such folder")
    monkeypatch.setattr(places, "SPACE", 0)
    monkeypatch.setattr(registry, "_included", {})
    monkeypatch.setattr(registry, "_included_files", {})
    monkeypatch.setattr(catalog, "_included", [])
    catalog._shelf.cache_clear()
    yield tmp_path
    catalog._shelf.cache_clear()


def one(look: Iterable[Check]) -> Check:
    """Return the only check that a look yields."""
    (check,) = look
    assert check.status == "ok" or check.fix, "who warns says what to do"
    return check


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


# --- the whole -----------------------------------------------------------------------------------


def test_all_checks_are_made_and_nothing_fails_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("next: mmbench run ")
    assert " 0 failed" in lines[-2]
    for line in lines[:-2]:
        status = line.split()[0]
        assert status in ("ok", "warn"), line
        assert (" -> " in line) == (status == "warn"), line
    shown = [line.split()[1] for line in lines[:-2]]
    assert list(dict.fromkeys(shown)) == NAMES


def test_a_failure_is_exit_code_1_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["doctor", "--data", "nowhere"]) == 1
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("fail"))
    assert "nowhere: there is no such folder -> --data" in line
    assert " 1 failed" in lines[-2]
    assert lines[-1].startswith("next: do what stands behind")


def test_a_warning_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMBENCH_RESULT", "x")
    assert run_cli(["doctor"]) == 0
    assert "warn  variable MMBENCH_RESULT" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--data", "nowhere"), 1)])
def test_json_has_the_same_shape_whatever_is_found(
    arguments: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["doctor", "--json", *arguments]) == code
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"status", "checks"}
    assert found["status"] == ("fail" if code else "warn"), "no real data are given, which warns"
    for check in found["checks"]:
        assert check.keys() == {"name", "status", "text", "fix"}
        assert check["status"] in ("ok", "warn", "fail")
        assert all(isinstance(value, str) and "\n" not in value for value in check.values())
        assert check["text"]
        assert (check["status"] == "ok") == (check["fix"] == "")
    names = [check["name"] for check in found["checks"]]
    assert len(names) == len(set(names))
    assert set(NAMES) <= set(names)


def test_the_worst_status_counts() -> None:
    assert doctor.worst([]) == "ok"
    checks = [Check("a", "ok", ""), Check("b", "warn", ""), Check("c", "ok", "")]
    assert doctor.worst(checks) == "warn"
    assert doctor.worst([*checks, Check("d", "fail", "")]) == "fail"


def test_a_check_that_breaks_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Check]:
        yield Check("seen before", "ok", "this")
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(machine, "memory", broken)
    found = by_name(doctor.examine())
    assert found["seen before"].status == "ok"
    assert found["memory"].status == "fail"
    assert found["memory"].text == "RuntimeError: two lines"
    assert found["memory"].fix
    assert "terminal" in found, "those after it are made all the same"


def test_nothing_is_left_behind(folder: Path) -> None:
    doctor.examine(folder / "a" / "results")
    assert list(folder.iterdir()) == []


def test_torch_is_imported_for_its_own_checks_alone() -> None:
    code = (
        "import sys; from mmbench import doctor; from mmbench.doctor import machine;"
        "machine.torch_package = machine.gpu = lambda: iter(());"
        "names = [check.name for check in doctor.examine()];"
        "assert 'tasks' in names and 'torch' not in names, names;"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


# --- mmbench itself ------------------------------------------------------------------------------


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(installation.python()).status == "ok"
    monkeypatch.setattr(installation, "PYTHON", (99, 1))
    found = one(installation.python())
    assert (found.status, found.fix) == ("fail", "install Python 99.1 or newer")


def test_the_oldest_python_is_the_one_that_the_package_asks_for() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=" + ".".join(map(str, installation.PYTHON))
    assert set(installation.EXTRAS) == set(project["optional-dependencies"]) - {"all"}
    (torch,) = (p for p in project["optional-dependencies"]["train"] if p.startswith("torch"))
    assert torch == "torch>=" + ".".join(map(str, machine.TORCH))


def test_another_mmbench_than_the_installed_one_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmbench, "__version__", "99.1")
    found = one(installation.mmbench_itself())
    assert found.status == "warn"
    assert "99.1" in found.text
    monkeypatch.setattr(installation, "version", lambda package: None)
    found = one(installation.mmbench_itself())
    assert found.status == "warn"
    assert "is not installed" in found.text


TASK = """
schema = 1
name = "own"
version = 1
summary = "own"
dataset = { name = "scenecap", version = 1 }
modalities.image = { kind = "image", shape = [3, 48, 48] }
outputs.caption = { kind = "text" }
splits = { train = 1, val = 2, test = 2 }
metrics = { main = "cider_d" }
budgets.small = { items = 1, steps = 1 }
"""
MODEL = """
schema = 1
extends = "matched"
name = "own"
summary = "own"
family = "own"
fusion = { name = "late" }
"""


@pytest.mark.parametrize(
    ("text", "right", "wrong", "name", "says"),
    [
        (TASK, '"cider_d"', '"ciderd"', "task own", "did you mean 'cider_d'?"),
        (TASK, '"scenecap"', '"scenecab"', "task own", "did you mean 'scenecap'?"),
        (TASK, "version = 1\ns", "s", "task own", "'version' is missing"),
        (MODEL, '"late"', '"latte"', "model own", "did you mean 'late'?"),
        (MODEL, "fusion", 'combiner.name = "mixtur"\nfusion', "model own", "'mixture'"),
        (MODEL, 'summary = "own"', "", "model own", "'summary' is missing"),
        (MODEL, "fusion", 'encoders.image.name = "cn"\nfusion', "model own", "'cnn'"),
        (MODEL, "fusion", 'heads.text.name = "lsmt"\nfusion', "model own", "'lstm'"),
        (MODEL, "fusion", 'recipe.stages = [{ objectives = [{ name = "super" }] }]\nfusion',
         "model own", "supervised"),
    ],
)  # fmt: skip
def test_a_definition_that_names_nothing_fails(
    text: str, right: str, wrong: str, name: str, says: str, folder: Path
) -> None:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    catalog.include(folder)
    assert name not in by_name(doctor.examine())
    assert right in text
    catalog._shelf.cache_clear()
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    os.utime(path, ns=(1, 1))  # read again, though it was written twice in no time
    found = by_name(doctor.examine())[name]
    assert found.status == "fail"
    assert says in found.text
    assert found.fix


def test_a_definition_that_is_no_toml_fails_in_one_line(folder: Path) -> None:
    (folder / "own.toml").write_text("name = ", encoding="utf-8")
    catalog.include(folder)
    found = by_name(doctor.examine())
    assert found["tasks"].status == "fail"
    assert "own.toml: is not valid TOML" in found["tasks"].text
    assert found["locale"].status


def test_no_definitions_at_all_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "task_names", list)
    assert one(installation.tasks()).status == "fail"
    assert one(installation.models()).status == "fail"


# --- packages ------------------------------------------------------------------------------------


def asks(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let mmbench's metadata ask for these packages."""
    monkeypatch.setattr(importlib.metadata, "requires", lambda package: list(lines))


def test_a_package_that_is_always_needed_fails_where_it_is_missing_or_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = one(installation.packages())
    assert found.status == "ok"
    assert f"numpy {importlib.metadata.version('numpy')}" in found.text
    assert "torch" not in found.text
    asks(monkeypatch, "numpy>=1", "no-such-package-of-ours>=1", "click>=999")
    found = one(installation.packages())
    assert found.status == "fail"
    assert "no-such-package-of-ours is missing" in found.text
    assert "expected >=999" in found.text
    assert "numpy" not in found.text


def test_an_extra_warns_only_where_something_does_not_work_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extras = installation.EXTRAS
    missing = [f"no-such-package-of-ours>=1; extra == '{extra}'" for extra in extras]
    asks(monkeypatch, "numpy>=1", *missing)
    found = {extra: one(installation.extra_packages(extra)) for extra in extras}
    assert {extra: check.status for extra, check in found.items()} == {
        "train": "warn",
        "metrics": "ok",
        "hf": "ok",
        "tune": "ok",
        "media": "ok",
        "test": "ok",
    }
    for extra, check in found.items():
        assert "no-such-package-of-ours" in check.text
        assert f"mmbench[{extra}]" in check.text + check.fix
    asks(monkeypatch, *(f"numpy>=999; extra == '{extra}'" for extra in extras))
    for extra in extras:
        found_old = one(installation.extra_packages(extra))
        assert (found_old.status, "expected >=999" in found_old.text) == ("warn", True)
    asks(monkeypatch, *(f"numpy>=1; extra == '{extra}'" for extra in extras))
    assert one(installation.extra_packages("hf")).text.startswith("numpy ")


def test_packages_cannot_be_told_where_mmbench_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(package: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert one(installation.packages()).status == "warn"
    assert list(installation.extra_packages("train")) == []


# --- the machine ---------------------------------------------------------------------------------


def test_torch_warns_where_it_is_absent_and_fails_where_it_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert one(machine.torch_package()).status == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(machine, "TORCH", (99, 0))
        found = one(machine.torch_package())
        assert (found.status, "99.0 or newer" in found.text) == ("fail", True)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        found = one(machine.torch_package())
        assert (found.status, "cannot be imported" in found.text) == ("fail", True)
        assert one(machine.gpu()).status == "ok"
    monkeypatch.setattr(machine, "version", lambda package: None)
    found = one(machine.torch_package())
    assert (found.status, "not installed" in found.text) == ("warn", True)
    assert "mmbench[train]" in found.fix
    assert one(machine.gpu()).status == "ok"


def graphics(capability: tuple[int, int] | None) -> Any:
    """A torch that sees a GPU of that compute capability, or none."""
    cuda = SimpleNamespace(
        is_available=lambda: capability is not None,
        get_device_name=lambda index: "Tesla X",
        get_device_properties=lambda index: SimpleNamespace(total_memory=16 * 2**30),
        get_device_capability=lambda index: capability,
    )
    return SimpleNamespace(cuda=cuda)


@pytest.mark.parametrize(
    ("capability", "driver", "status", "says"),
    [
        ((9, 0), True, "ok", "Tesla X, 16 GiB, bf16"),
        ((8, 0), True, "ok", "bf16"),
        ((7, 5), True, "warn", "only emulated"),
        (None, True, "warn", "torch sees no GPU"),
        (None, False, "ok", "runs take the CPU"),
    ],
)
def test_a_gpu_is_named_and_warns_where_it_is_of_little_use(
    capability: tuple[int, int] | None,
    driver: bool,
    status: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_import_torch", lambda: graphics(capability))
    monkeypatch.setattr(machine, "_has_nvidia_driver", lambda: driver)
    found = one(machine.gpu())
    assert found.status == status
    assert says in found.text


def limits(monkeypatch: pytest.MonkeyPatch, folder: Path, **files: str) -> None:
    """Let a container's limits be these."""
    monkeypatch.setattr(room, "CGROUP", folder)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(f"{text}\n", encoding="ascii")


def test_less_than_one_core_warns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = machine.usable_cores()
    assert one(machine.cores()).status == "ok"
    limits(monkeypatch, folder, cpu_max="max 100000")
    assert machine.usable_cores() == free
    limits(monkeypatch, folder, cpu_max="50000 100000")
    found = one(machine.cores())
    assert found.status == "warn"
    assert found.text.startswith("0.5 of ")


@pytest.mark.parametrize(
    ("given", "status"),
    [("", "ok"), ("1", "ok"), ("100000", "warn"), ("0", "fail"), ("-1", "fail"), ("two", "fail")],
)
def test_threads_are_held_against_the_cores(
    given: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMBENCH_THREADS", given)
    assert one(machine.threads()).status == status


def test_little_memory_warns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, folder, memory_max="max", memory_current="5")
    everything = machine.available_memory()
    assert everything is not None
    assert everything > 2**20
    gib, half = 2**30, 2**29
    limits(monkeypatch, folder, memory_max=f"{gib}", memory_current=f"{half}")
    assert machine.available_memory() == min(half, everything)
    found = one(machine.memory())
    assert (found.status, found.text) == ("warn", "0.5 GiB free, a run may take 2")
    limits(monkeypatch, folder, memory_stat=f"anon 7\ninactive_file {half}\nfile 9")
    assert machine.available_memory() == min(gib, everything)
    monkeypatch.setattr(machine, "MEMORY", 1)
    assert one(machine.memory()).status == "ok"


def test_memory_is_known_without_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        assert (machine.available_memory() or 0) > 2**20
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    assert one(machine.memory()).text.startswith("unknown")


# --- folders -------------------------------------------------------------------------------------


def look_at_cache(path: Path, patch: pytest.MonkeyPatch) -> Check:
    patch.setenv("MMBENCH_CACHE", str(path))
    return one(places.cache())


def look_at_results(path: Path, patch: pytest.MonkeyPatch) -> Check:
    return one(places.results(path))


@pytest.mark.parametrize(
    ("look", "variable"),
    [(look_at_cache, "MMBENCH_CACHE"), (look_at_results, "MMBENCH_RESULTS")],
)
def test_a_folder_fails_where_nothing_can_be_written_and_warns_where_it_is_full(
    look: Callable[[Path, pytest.MonkeyPatch], Check],
    variable: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert look(folder / "new" / "deep", monkeypatch).status == "ok"
    (folder / "file").write_text("", encoding="utf-8")
    for wrong in (folder / "file", folder / "file" / "sub"):
        found = look(wrong, monkeypatch)
        assert found.status == "fail"
        assert str(wrong) in found.text
        assert variable in found.fix
    (folder / "link").symlink_to(folder / "gone")
    assert look(folder / "link", monkeypatch).status == "fail"
    monkeypatch.setattr(places, "SPACE", 2**80)
    found = look(folder, monkeypatch)
    assert (found.status, "make room" in found.fix) == ("warn", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_fails(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o555)
    assert one(places.results(folder / "locked")).status == "fail"


def test_folders_say_what_they_hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = folder / "cache" / "entry"
    cache.mkdir(parents=True)
    with (cache / "array.npy").open("wb") as file:
        file.truncate(3 * 2**28)
    assert "0.75 GiB of data" in look_at_cache(folder / "cache", monkeypatch).text
    for seed in range(2):
        record = folder / "task" / "model" / f"small-s{seed}-00000000"
        record.mkdir(parents=True)
        (record / "record.json").write_text("{}", encoding="utf-8")
    assert "2 records" in look_at_results(folder, monkeypatch).text


def test_data_are_looked_for_by_every_task_on_real_data(folder: Path) -> None:
    tasks = map(catalog.task, catalog.task_names(shipped=True))
    real = {f"data {task.name}" for task in tasks if _load.needs_data(task)}
    assert {"data flickr8k_captioning", "data flickr8k_tagged", "data mosi"} <= real
    names = {*real, "data"}
    nothing = by_name(places.data(None))
    assert {name: check.status for name, check in nothing.items()} == {
        **dict.fromkeys(real, "warn"),
        "data": "ok",
    }
    assert "MMBENCH_DATA" in nothing["data flickr8k_tagged"].fix
    assert "captioning" in nothing["data"].text
    empty = by_name(places.data(folder))
    assert empty.keys() == {*names, "data"}
    assert empty["data flickr8k_captioning"].status == "warn"
    assert f"not found in {folder}" in empty["data flickr8k_captioning"].text
    (folder / "flickr8k").mkdir()
    (folder / "flickr8k" / "dataset_flickr8k.json").write_text("{}", encoding="utf-8")
    for root in (folder, folder / "flickr8k"):
        for task in ("captioning", "tagged"):
            assert by_name(places.data(root))[f"data flickr8k_{task}"].status == "ok"
    assert one(places.data(folder / "nowhere")).status == "fail"


def test_a_task_whose_parameters_are_wrong_is_not_taken_for_one_without_data(
    folder: Path,
) -> None:
    text = TASK.replace('"scenecap", version = 1', '"karpathy", version = 1, params = { sise = 3 }')
    (folder / "own.toml").write_text(text, encoding="utf-8")
    catalog.include(folder)
    found = by_name(places.data(None))["data own"]
    assert found.status == "fail"
    assert "sise" in found.fix


# --- the shell -----------------------------------------------------------------------------------


def test_a_variable_that_nothing_reads_warns_with_the_near_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMBENCH_RESULT", "there")
    monkeypatch.setenv("MMBENCH_SEEDS", "3")
    monkeypatch.setenv("MMBENCH_QQQQ", "3")
    assert run_cli(["doctor", "--json"]) == 0
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["variable MMBENCH_RESULT"]["fix"] == "did you mean MMBENCH_RESULTS?"
    assert found["variable MMBENCH_QQQQ"]["fix"] == "unset it"
    assert "MMBENCH_SEEDS=3" in found["variables"]["text"]
    assert "variable MMBENCH_SEEDS" not in found
    assert "variable MMBENCH_CACHE" not in found


@pytest.mark.parametrize(
    ("output", "status"), [("utf-8", "ok"), ("UTF8", "ok"), ("ascii", "warn"), ("latin-1", "warn")]
)
def test_an_output_that_is_not_utf8_warns(
    output: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=output))
    found = one(shell.encodings())
    assert found.status == status
    assert output.lower() in found.text


def test_a_locale_that_is_not_utf8_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda do_setlocale=True: "ANSI_X3.4-1968")
    assert one(shell.encodings()).status == "warn"


class Screen(io.StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "status"), [("40", "warn"), ("80", "ok"), ("200", "ok")])
def test_a_narrow_terminal_warns(
    columns: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one(shell.terminal()).text.startswith("none")
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setenv("COLUMNS", columns)
    found = one(shell.terminal())
    assert (found.status, found.text.split()[0]) == (status, columns)


# --- what interrupted runs left ------------------------------------------------------------------


def left_behind(folder: Path, name: str, days: float, size: int = 2048) -> Path:
    """Make what a run that was interrupted so many days ago left."""
    path = folder / "results" / "mini" / "late" / f".{name}.checkpoint"
    (path / "current").mkdir(parents=True)
    (path / "current" / "tensors.safetensors").write_bytes(b"x" * size)
    then = time.time() - days * 86_400
    for one in (path / "current" / "tensors.safetensors", path / "current", path):
        os.utime(one, (then, then))
    return path


def test_no_checkpoints_are_not_mentioned(folder: Path) -> None:
    assert list(places.checkpoints(folder / "results")) == []


def test_a_run_that_was_interrupted_today_is_told_and_nothing_to_warn_of(folder: Path) -> None:
    left_behind(folder, "brief-s0-12345678", 0.1)
    (check,) = places.checkpoints(folder / "results")
    assert check == Check(
        "checkpoints",
        "ok",
        "1 checkpoint of unfinished runs, 2.0 KiB: mini/late/brief-s0-12345678 (2.0 KiB, 2 hours "
        "old)",
        "the same 'mmbench run' goes on with them",
    )


def test_old_checkpoints_are_warned_of_with_their_size_and_age_and_go_as_it_is_said(
    folder: Path,
) -> None:
    old = [left_behind(folder, f"brief-s{n}-12345678", 9 - n) for n in range(7)]
    young = left_behind(folder, "brief-s8-12345678", 0)
    (check,) = places.checkpoints(Path("results"))
    assert check.status == "warn"
    assert check.text.startswith(
        "8 checkpoints of unfinished runs, 16.0 KiB: mini/late/brief-s0-12345678 (2.0 KiB, 9 days "
        "old), mini/late/brief-s1-12345678 (2.0 KiB, 8 days old), "
    )
    assert check.text.endswith(", and 3 younger")
    said, _, command = check.fix.rpartition(": ")
    assert said == "the same 'mmbench run' goes on with them; if nobody will"
    for gone in (old[:5], old[5:]):
        subprocess.run(command, shell=True, check=True)
        assert not any(path.exists() for path in gone)
        (check,) = places.checkpoints(Path("results"))
        command = check.fix.rpartition(": ")[2]
    assert check.status == "ok"
    assert young.exists()


def test_what_killed_writers_left_is_warned_of_and_goes_as_it_is_said(folder: Path) -> None:
    model = folder / "results" / "mini" / "late"
    half, aside, young = (
        model / f".{name}-s0-12345678-x1"
        for name in ("writing-brief", "replaced-brief", "writing-small")
    )
    assert list(places.half_written(folder / "results")) == []
    for path in (half, aside / "brief-s0-12345678", young):
        path.mkdir(parents=True)
        (path / "record.json").write_bytes(b"x" * 512)
    for path in (half, aside):
        for one in (*path.rglob("*"), path):
            os.utime(one, (time.time() - 3600, time.time() - 3600))
    (check,) = places.half_written(Path("results"))
    assert (check.status, check.text) == (
        "warn",
        "2 half-written records of killed processes, 1.0 KiB, 1 of them with a record that was to "
        "be replaced",
    )
    assert "puts back what was to be replaced" in check.fix
    subprocess.run(check.fix.rpartition(": ")[2], shell=True, check=True)
    assert sorted(model.iterdir()) == [aside, young], "an only copy is not to be removed"
    shutil.copytree(aside / "brief-s0-12345678", model / "brief-s0-12345678")
    (check,) = places.half_written(Path("results"))
    assert "replaced" not in check.text
    subprocess.run(check.fix.rpartition(": ")[2], shell=True, check=True)
    assert not aside.exists()
    assert list(places.half_written(Path("results"))) == []
