"""What a command imports before it does anything, and how long that takes."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Whatever takes a tenth of a second and more to import, and what brings such things along.
HEAVY = ["torch", "pandas", "matplotlib", "datasets", "transformers"]
ALL = [*HEAVY, "numpy", "scipy", "pyarrow", "rich", "msgspec", "PIL", "jiwer", "pooch"]

IMPORTED = """
import contextlib, io, json, sys
from mmbench.cli import run_cli

with contextlib.redirect_stdout(io.StringIO()):
    code = run_cli({arguments!r})
assert code == 0, code
print(json.dumps(sorted(sys.modules)))
"""


#: Where the bytecode is kept while the tests run.
COMPILED = tempfile.mkdtemp(prefix="mmbench-bytecode-")
atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)


def python(*arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Compiled once, as wherever mmbench is installed; a checkout may be kept from writing it.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = COMPILED
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout


def imported(*arguments: str) -> set[str]:
    """Return the top-level packages that a command line imports."""
    modules = json.loads(python("-c", IMPORTED.format(arguments=list(arguments))))
    return {name.partition(".")[0] for name in modules}


def test_this_way_of_looking_sees_what_is_imported() -> None:
    seen = imported("list", "metrics")
    assert {"mmbench", "click", "numpy"} <= seen, "metrics are imported when they are listed"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["leaderboard", "--help"]]
)
def test_help_imports_nothing_but_click(arguments: list[str]) -> None:
    assert not imported(*arguments) & set(ALL)


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "tasks"],
        ["list", "tasks", "--json"],
        ["list", "fusions"],
        ["list", "encoders"],
        ["list", "heads"],
        ["list", "objectives"],
        ["list", "datasets"],
        ["describe", "captioning"],
        ["describe", "hybrid"],
        ["describe", "image_only", "--json"],
    ],
)
def test_definitions_and_components_are_shown_without_importing_them(arguments: list[str]) -> None:
    seen = imported(*arguments)
    assert not seen & set(HEAVY)
    assert "numpy" not in seen, "no component has been imported"


@pytest.mark.parametrize("name", ["cider_d", "scenecap", "early_tokens", "cnn", "mixture"])
def test_components_are_described_without_torch(name: str) -> None:
    assert not imported("describe", name) & set(HEAVY)


def test_training_does_without_torchs_compiler(tmp_path: Path) -> None:
    """It takes as long to import as torch itself."""
    run = ["run", "-t", "synergy", "-m", "concat", "--budget", "smoke", "--results", str(tmp_path)]
    modules = json.loads(python("-c", IMPORTED.format(arguments=run)))
    assert "torch" in modules
    assert "torch._dynamo" not in modules


def test_importing_the_package_imports_nothing() -> None:
    code = "import json, sys; old = set(sys.modules); import mmbench; "
    new = json.loads(python("-c", code + "print(json.dumps(sorted(set(sys.modules) - old)))"))
    assert new == ["mmbench"]


def seconds(*arguments: str) -> float:
    started = time.perf_counter()
    python(*arguments)
    return time.perf_counter() - started


#: Command -> how many times longer than importing click it may take.
LIMITS = {"--help": 3, "list": 8, "list fusions": 8, "list metrics": 8, "describe captioning": 8}
LIMITS |= {"list tasks": 8, "describe hybrid": 8}


def test_help_and_lists_are_there_at_once() -> None:
    """The least of several runs, taken in turns, so that a busy machine slows all alike."""
    best: dict[str, float] = {}
    for _ in range(7):
        for line in ["", *LIMITS]:
            command = ["-m", "mmbench", *line.split()] if line else ["-c", "import click"]
            best[line] = min(best.get(line, 99.0), seconds(*command))
    for line, limit in LIMITS.items():
        assert best[line] <= limit * best[""], (line, best)
    if best[""] < 0.05:  # as where this was measured: a slower machine takes its own time
        assert best["list tasks"] < 0.4, best
