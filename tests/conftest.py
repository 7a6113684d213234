"""What all tests stand on: prepared data made once, and an mmbench that no test leaves changed."""

from __future__ import annotations

import os

# Before anything loads torch or numpy: tests run on all cores side by side, and threads of several
# processes that wait for one another make small models many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from mini import TASK

from mmbench import catalog, registry
from mmbench.cli import run_cli
from mmbench.cost import meter

#: The one variable of the user's that tests read: where real data lie.
TEST_DATA = "MMBENCH_TEST_DATA"


@pytest.fixture(scope="session", autouse=True)
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder of prepared data for all tests, and no setting of the user's in any."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith("MMBENCH_") and name != TEST_DATA:
                patch.delenv(name)
        patch.setenv("MMBENCH_CACHE", str(cache))
        patch.setenv("MMBENCH_THREADS", "1")
        patch.setattr(meter, "SHORTEST", 0.02)  # of hundreds of runs nobody asks how fast they are
        yield cache


@pytest.fixture
def own_components(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test include files of its own; afterwards nobody knows them any more."""
    monkeypatch.setattr(registry, "_included", {})
    monkeypatch.setattr(registry, "_included_files", {})
    monkeypatch.setattr(catalog, "_included", [])
    catalog._shelf.cache_clear()
    yield
    catalog._shelf.cache_clear()


@pytest.fixture
def workplace(tmp_path: Path, own_components: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, as a user would who has just installed mmbench."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Done(NamedTuple):
    """What a command left: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that an error is; fails where there is none, more, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert self.code != 0
        return lines[0]


Command = Callable[..., Done]


@pytest.fixture
def cli(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run commands as a shell would, but in this process."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = run_cli([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def task(workplace: Path) -> Callable[..., str]:
    """Write a task; `changes` are pairs of what stands in `TASK` and what is to stand there."""

    def write(name: str = "mini", *changes: tuple[str, str], folder: str = ".") -> str:
        text = TASK.replace('"mini"', f'"{name}"')
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = Path(folder, f"{name}.toml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return f"./{path}"

    return write


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """Results of real runs: two models with two seeds, one with one."""
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
