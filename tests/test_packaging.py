"""The wheel holds all that mmbench needs, and what it offers to others is what is written here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from mini import TASK

import mmbench
from mmbench import metrics, models

ROOT = Path(__file__).resolve().parents[1]


def call(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command that has to succeed; return its standard output."""
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=cwd, env=env, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# --- what is offered -----------------------------------------------------------------------------


def test_the_public_surface_is_this() -> None:
    """A name that is added, removed or renamed is somebody's broken plug-in: on purpose only."""
    assert [name for name in vars(mmbench) if not name.startswith("_")] == [
        name for name in vars(mmbench) if name in sys.modules or f"mmbench.{name}" in sys.modules
    ], "beside its modules the package itself has its version and nothing else"
    assert mmbench.__version__
    assert models.__all__ == [
        "Batch",
        "Branch",
        "Combined",
        "Combiner",
        "Encoder",
        "Fused",
        "Fusion",
        "Head",
        "HeadOut",
        "Links",
        "Objective",
        "Stream",
    ]
    assert metrics.__all__ == [
        "Metric",
        "TextItems",
        "family",
        "influence",
        "metric",
        "perfect",
        "prepare",
        "pseudo_values",
    ]


@pytest.mark.parametrize("module", [models, metrics])
def test_what_is_offered_is_there_and_documented(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        assert (getattr(module, name).__doc__ or "").strip(), name


def test_the_command_is_installed() -> None:
    points = [p for p in entry_points(group="console_scripts") if p.name == "mmbench"]
    assert [point.value for point in points] == ["mmbench.__main__:main"]


def test_tested_versions_cover_what_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    names = {line.partition(">=")[0].lower() for line in required}
    assert names <= pinned


# --- what is shipped -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip(
        "hatchling", reason="the wheel is built by hatchling: install mmbench[test]"
    )
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (path,) = folder.glob("mmbench-*.whl")
    return path


def shipped() -> set[str]:
    """Return what of the checkout belongs in a wheel, by the names it has there."""
    files = [path.relative_to(ROOT) for path in (ROOT / "mmbench").rglob("*") if path.is_file()]
    made = ("__pycache__", ".")  # by Python, and by tools in hidden folders
    inside = {f.as_posix() for f in files if not any(part.startswith(made) for part in f.parts)}
    for folder in ("tasks", "baselines"):
        inside |= {f"mmbench/_catalog/{folder}/{p.name}" for p in (ROOT / folder).glob("*.toml")}
    return inside


@pytest.mark.slow
def test_the_wheel_holds_code_definitions_templates_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
    assert names == shipped()
    for needed in (
        "mmbench/py.typed",
        "mmbench/_catalog/tasks/captioning.toml",
        "mmbench/_catalog/baselines/_matched.toml",
        "mmbench/templates/fusion.py.txt",
    ):
        assert needed in names


@pytest.mark.slow
def test_the_wheel_says_what_it_needs_and_carries_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        (name,) = (n for n in content.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = content.read(name).decode()
        assert any(n.endswith("/licenses/LICENSE") for n in content.namelist())
    assert f"Version: {mmbench.__version__}" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    light = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    light = [line for line in light if "extra ==" not in line]
    assert light
    assert not any("torch" in line for line in light), "torch comes with the extra 'train'"


@pytest.mark.slow
def test_a_wheel_made_from_the_source_archive_is_the_same(wheel: Path, tmp_path: Path) -> None:
    call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("mmbench-*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=source)
    (again,) = tmp_path.glob("mmbench-*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())


# --- what is installed ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel in it and no checkout.

    What mmbench needs is not installed again, which would take a network: the environment sees
    the packages of this one, behind its own.
    """
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    call(*pip, "install", "--no-deps", "--no-index", wheel)
    own = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (own / "packages_of_the_tests.pth").write_text("\n".join(sorted(others)) + "\n")
    return scripts


@pytest.mark.slow
def test_the_wheel_works_outside_of_the_checkout_with_its_own_definitions(
    installed: Path, tmp_path: Path, prepared: Path
) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    code = "from mmbench import catalog; print(catalog.task_path('captioning'))"
    path = Path(call(installed / "python", "-c", code, cwd=tmp_path, env=env).strip())
    assert path.is_relative_to(installed.parent)
    assert path.as_posix().endswith("/mmbench/_catalog/tasks/captioning.toml")
    assert path.read_bytes() == (ROOT / "tasks" / "captioning.toml").read_bytes()

    command = installed / "mmbench"
    listed = call(command, "list", cwd=tmp_path, env=env)
    assert "captioning" in listed
    assert "hybrid" in listed
    assert call(command, "describe", "captioning", cwd=tmp_path, env=env).startswith("captioning@1")
    assert f"version {mmbench.__version__}" in call(command, "--version", cwd=tmp_path, env=env)

    (tmp_path / "mini.toml").write_text(TASK)
    arguments = ["run", "-t", "./mini.toml", "-m", "hybrid", "--set", "width=16", "--json"]
    (done,) = json.loads(call(command, *arguments, cwd=tmp_path, env=env))
    assert done["status"] == "finished"
    assert (tmp_path / done["folder"] / "record.json").exists()
    record = json.loads((tmp_path / done["folder"] / "record.json").read_text())
    assert record["provenance"]["commit"] == "", "it is from no checkout"
    assert "mini@1" in call(command, "leaderboard", cwd=tmp_path, env=env)
    call(command, "new", "fusion", "own", cwd=tmp_path, env=env)
    assert (tmp_path / "own.py").exists()
