"""Results that tests of the command line read and spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmbench.cli import run_cli


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """Results of real runs: two models with two seeds, one with one."""
    from mini import TASK

    folder = tmp_path_factory.mktemp("made")
    (folder / "mini.toml").write_text(TASK)
    options = ["-t", str(folder / "mini.toml"), "--results", str(folder / "results"), "-q"]
    for models, seeds in (("late,concat", "2"), ("image_only", "1")):
        assert run_cli(["run", "-m", models, "--seeds", seeds, "--set", "width=16", *options]) == 0
    return folder / "results"


@pytest.fixture
def results(made: Path, workplace: Path) -> Path:
    """A copy of them that a test may spoil."""
    for path in made.rglob("*.*"):
        if path.is_file():
            copy = Path("results", path.relative_to(made))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return Path("results")
