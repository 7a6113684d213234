"""A package of somebody else's, built and installed, whose fusion competes like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mini import TASK

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "tests" / "sample_package"

MODEL = """
schema = 1
extends = "matched"
name = "sample"
summary = "a fusion of an installed package"
family = "own"
width = 16
fusion = { name = "sample_mean", params = { bias = false } }
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sample package and install it into a folder of its own; no network is needed."""
    pytest.importorskip("pip")
    pytest.importorskip("hatchling", reason="install mmbench[test]")
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    alone = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run(
        [*pip, *alone, str(SAMPLE)], capture_output=True, text=True, cwd=target, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mini.toml").write_text(TASK, encoding="utf-8")
    (tmp_path / "sample.toml").write_text(MODEL, encoding="utf-8")
    return tmp_path


def call(folder: Path, site: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = [str(ROOT), *([str(site)] if site else [])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=env,
        check=False,
    )


def mmbench(folder: Path, site: Path | None, *arguments: str) -> str:
    done = call(folder, site, "-m", "mmbench", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_and_described(folder: Path, site: Path) -> None:
    assert "sample_mean" not in mmbench(folder, None, "list", "fusions")
    listed = mmbench(folder, site, "list", "fusions")
    assert "sample_mean" in listed
    assert "The mean of the modalities that are there" in listed
    told = mmbench(folder, site, "describe", "sample_mean")
    assert "bias" in told


def test_it_runs_and_the_record_says_whose_it_is(folder: Path, site: Path, prepared: Path) -> None:
    arguments = ["run", "-t", "./mini.toml", "-m", "./sample.toml,late", "--set", "width=16"]
    done = json.loads(mmbench(folder, site, *arguments, "--json", "-q"))
    assert [(run["model"], run["status"]) for run in done] == [
        ("sample", "finished"),
        ("late", "finished"),
    ]
    record = json.loads((folder / done[0]["folder"] / "record.json").read_text())
    assert "mmbench-sample==0.3" in json.dumps(record)
    board = mmbench(folder, site, "leaderboard")
    assert "sample" in board
    # Whoever has not installed it can still rank it, and is told why it cannot be run again.
    assert "sample" in mmbench(folder, None, "leaderboard")
    again = call(folder, None, "-m", "mmbench", *arguments, "--force")
    assert again.returncode == 2
    assert "unknown fusion 'sample_mean'" in again.stderr


def test_it_keeps_the_contract(folder: Path, site: Path) -> None:
    code = (
        "from mmbench.testing import check_fusion\n"
        "check_fusion('sample_mean', skip=['compile', 'overfit'])"
    )
    done = call(folder, site, "-c", code)
    assert done.returncode == 0, done.stderr
