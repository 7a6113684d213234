"""README says only what works: commands parse, links lead somewhere, boards are fresh."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from mmbench.cli import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = ROOT / "results" / "reference"


def _commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [re.sub(r".*(?=\bmmbench (?:run|new)\b)", "", line) for line in lines]
    return [line for line in found if line.startswith("mmbench ")]


def test_readme_has_commands() -> None:
    assert len(_commands()) >= 8


@pytest.mark.parametrize("line", _commands())
def test_every_command_of_readme_is_one(line: str) -> None:
    arguments = shlex.split(line)[1:]
    context = click.Context(cli, info_name="mmbench")
    verb, command, rest = cli.resolve_command(context, arguments)
    assert command is not None
    parsed = command.make_context(verb, rest)
    assert parsed.params


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_of_readme_leads_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.slow
def test_your_own_fusion_reaches_the_board_as_readme_says(tmp_path: Path) -> None:
    """The commands of the section, as they stand, in an empty folder."""
    block = re.search(r"<!-- own -->\n```bash\n(.*?)```", README, flags=re.S)
    assert block is not None
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    started = time.monotonic()
    said = {}
    for line in block[1].splitlines():
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said[line.split()[1]] = done.stdout
    assert time.monotonic() - started < 600
    places = re.findall(r"^[0-9-]+ +(\w+) ", said["leaderboard"], flags=re.M)
    assert places == ["myfusion", "late"], "what takes two modalities late fusion cannot have"
    assert (tmp_path / "pictures" / "myfusion.png").exists()


def test_the_gallery_has_every_model_that_serves_its_task() -> None:
    from mmbench import catalog
    from mmbench.sweep import _models

    shown = {path.stem for path in (ROOT / "results" / "gallery").glob("*.png")}
    assert shown == set(_models("all", catalog.task("sentiment")))


def test_every_model_that_ships_stands_in_readme() -> None:
    for path in (ROOT / "baselines").glob("[!_]*.toml"):
        name = "image_only" if path.stem == "unimodal" else path.stem
        assert f"`{name}`" in README


def test_every_task_that_ships_stands_in_readme() -> None:
    for path in (ROOT / "tasks").glob("*.toml"):
        assert f"`{path.stem}`" in README


def test_the_reference_board_is_what_its_records_give() -> None:
    from mmbench import leaderboard, store
    from mmbench.report import tables

    found, problems = store.scan(REFERENCE)
    assert found
    assert not problems
    made = tables.markdown(leaderboard.boards(found))
    assert (REFERENCE / "LEADERBOARD.md").read_text(encoding="utf-8") == made


def test_reference_records_are_of_the_tasks_as_they_stand() -> None:
    from mmbench import catalog, store

    for stored in store.scan(REFERENCE)[0]:
        record = stored.record
        assert catalog.task(record.task).digest(record.budget) == record.task_digest, record.name
        assert record.status == "finished"


def test_the_constraints_pin_what_the_tests_ran_with() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==2\.13\.0$", pins, flags=re.M)
