"""The GitHub Action in a sample repository: green for another seed, red for a regression.

GitHub itself is not there; what it does with an action is: it fills in inputs, hands them to the
steps' environment, and runs each step's script by its shell.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ACTION = ROOT / ".github" / "actions" / "gate"
SAMPLE = Path(__file__).parent / "sample_repository"


class Ran(NamedTuple):
    """What a workflow left."""

    code: int
    log: str
    outputs: dict[str, str]
    page: str


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLE, tmp_path / "repository")
    return tmp_path / "repository"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def filled(text: str, inputs: dict[str, str]) -> str:
    """Fill in ``${{ inputs.NAME }}`` as GitHub does; nothing else may stand there."""
    return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], text)


def environment(folder: Path) -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("MMBENCH_")},
        "GITHUB_ACTION_PATH": str(ACTION),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "page.md"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


def act(given: dict[str, Any], repository: Path) -> Ran:
    """Run the action's own scripts with these inputs, in the sample repository."""
    action = load(ACTION / "action.yml")
    unknown = set(given) - set(action["inputs"])
    assert not unknown, unknown
    inputs = {name: str(of.get("default", "")) for name, of in action["inputs"].items()}
    inputs |= {name: str(value) for name, value in given.items()} | {"package": "none"}
    own = environment(repository.parent)
    code, log = 0, ""
    for step in action["runs"]["steps"]:
        condition = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) != '(.*)' \}\}", step.get("if", ""))
        if "uses" in step or (condition and inputs[condition[1]] == condition[2]):
            continue
        assert "${{" not in step["run"], "an input in a command's text could run code"
        extra = {name: filled(value, inputs) for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=repository, env=own | extra, capture_output=True, text=True, check=False,
        )  # fmt: skip
        code, log = code or done.returncode, log + done.stdout + done.stderr
    lines = Path(own["GITHUB_OUTPUT"]).read_text().splitlines()
    page = Path(own["GITHUB_STEP_SUMMARY"])
    told = page.read_text(encoding="utf-8") if page.exists() else ""
    return Ran(code, log, dict(line.split("=", 1) for line in lines), told)


def workflow(repository: Path, *predicting: str) -> Ran:
    """Run the sample repository's workflow: its own steps, then the action."""
    jobs = load(repository / ".github" / "workflows" / "quality.yml")["jobs"]
    ran = None
    for step in jobs["gate"]["steps"]:
        if "run" in step:
            command = " ".join([step["run"], *predicting])
            subprocess.run(command, shell=True, cwd=repository, check=True)
        elif "actions/gate" in step["uses"]:
            ran = act(step["with"], repository)
    assert ran is not None
    return ran


def test_another_seed_is_green(repository: Path) -> None:
    ran = workflow(repository, "--seed 5")
    assert ran.code == 0, ran.log
    assert ran.outputs == {"exit-code": "0", "summary": "3 passed"}
    assert "mmbench gate: passed" in ran.page
    verdicts = json.loads((repository / "mmbench-gate" / "gate.json").read_text())["verdicts"]
    assert [v["status"] for v in verdicts] == ["passed"] * 3


def test_a_regression_is_red_and_says_where(repository: Path) -> None:
    ran = workflow(repository, "--careless")
    assert ran.code == 1
    assert ran.outputs["exit-code"] == "1"
    assert "1 critical regressed, 1 supporting regressed" in ran.outputs["summary"]
    assert "::error title=mmbench gate::1 critical regressed" in ran.log
    assert "mmbench gate: not passed" in ran.page
    assert "photo-" in ran.page  # the items that lost most
    (suite,) = ElementTree.parse(repository / "mmbench-gate" / "gate.xml").getroot()
    assert suite.get("failures") == "2"


def test_records_are_held_too_and_what_is_missing_is_4(repository: Path) -> None:
    reference = ROOT / "results" / "reference"
    given = {"reference": reference, "candidate": reference}
    assert act(given, repository).code == 0
    ran = act({**given, "candidate": "nowhere"}, repository)
    assert ran.code == 4
    assert "no records" in ran.outputs["summary"] or "nowhere" in ran.outputs["summary"]


def test_inputs_never_become_commands(repository: Path) -> None:
    ran = act({"reference": '"; touch hacked; "', "candidate": "$(touch hacked)"}, repository)
    assert ran.code != 0
    assert not (repository / "hacked").exists()


def test_the_workflow_to_copy_is_the_one_that_is_tested() -> None:
    copied = SAMPLE / ".github" / "workflows" / "quality.yml"
    assert copied.read_text() == (ACTION / "workflow.yml").read_text()
