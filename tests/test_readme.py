"""README says only what works: commands parse, links lead somewhere, boards are fresh."""

from __future__ import annotations

import csv
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
    arguments = shlex.split(line, comments=True)[1:]
    context = click.Context(cli, info_name="mmbench")
    verb, command, rest = cli.resolve_command(context, arguments)
    if isinstance(command, click.Group):
        verb, command, rest = command.resolve_command(context, rest)
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
        expanded = {"unimodal": "image_only", "logistic_unimodal": "image_logistic"}
        name = expanded.get(path.stem, path.stem)
        assert f"`{name}`" in README


def test_every_task_that_ships_stands_in_readme() -> None:
    for path in (ROOT / "tasks").glob("[!_]*.toml"):
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


def measured(split: str = "test") -> dict[str, dict[str, float]]:
    """Return accuracies of the interaction suite as they were measured: task -> model -> mean."""
    found: dict[str, dict[str, float]] = {}
    text = (REFERENCE / "interactions.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        if (row["metric"], row["split"]) == ("accuracy", split):
            task = row["task"].partition("@")[0]
            assert row["seeds"] == "3", row
            found.setdefault(task, {})[row["model"]] = float(row["value"])
    return found


def test_the_table_of_interactions_is_what_was_measured() -> None:
    table = (REFERENCE / "INTERACTIONS.md").read_text(encoding="utf-8").strip()
    block = re.search(r"<!-- interactions -->\n(.*?)\n<!-- /interactions -->", README, flags=re.S)
    assert block is not None
    assert block[1] == table
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    scores = measured()
    assert set(head[1:]) == set(scores)
    assert len(head) == 7
    models = {row[0]: row for row in rows[1:] if not row[0].startswith("*")}
    for task in scores:
        assert set(scores[task]) == set(models)
        for model, row in models.items():
            value = float(row[head.index(task)].split()[0])
            assert value == pytest.approx(scores[task][model], abs=5.001e-4), (task, model)


def test_what_was_measured_is_in_the_order_that_is_planted() -> None:
    from mmbench import catalog

    scores = measured()
    alone = {"text_only", "vision_only", "audio_only", "constant"}
    joint = set(scores["synergy"]) - alone - {"late"}
    for task, found in scores.items():
        level = catalog.task(task).levels["accuracy"]
        assert max(found.values()) < level.ceiling + 0.02, "nothing above the oracle of all"
        assert found["constant"] == pytest.approx(level.floor, abs=0.02)
        for name in ("text", "vision", "audio"):
            assert found[f"{name}_only"] < level.alone[name] + 0.03
    for task in ("synergy", "grounding"):
        assert max(scores[task][name] for name in (*alone, "late")) < 0.35
    assert min(scores["synergy"][name] for name in joint) > 0.85
    assert min(scores["sentiment"][name] for name in joint) > scores["sentiment"]["late"] + 0.2
    assert scores["redundant"]["late"] > max(scores["redundant"][name] for name in alone) + 0.1
    assert scores["unique"]["text_only"] > max(scores["unique"].values()) - 0.03
    for name in ("early", "mmsa"):
        assert scores["shortcut"][name] > scores["shortcut"]["concat"] + 0.2


def test_late_fusion_stands_noise_better_than_early_by_what_readme_says() -> None:
    noisy = [measured(f"noisy_{name}")["redundant"] for name in ("text", "vision", "audio")]
    late, early = (sum(found[model] for found in noisy) / 3 for model in ("late", "early"))
    assert late > early + 0.04
    assert f"({late:.3f} against `early`'s {early:.3f}".replace("0.", ".") in README


def test_what_readme_says_of_attention_is_what_was_measured() -> None:
    text = (REFERENCE / "attention.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["metric"] == "accuracy"]
    assert {(row["task"], row["model"], row["seeds"]) for row in rows} == {
        ("grounding@1", "gat", "3"),
        ("grounding@1", "gatv2", "3"),
        ("shortcut@1", "mult", "3"),
    }
    for row in rows:
        value, low, high = (f"{float(row[key]):.3f}" for key in ("value", "low", "high"))
        assert f"{value} [{low}, {high}]".replace("0.", ".") in README, row["model"]


def test_the_constraints_pin_what_the_tests_ran_with() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==2\.13\.0$", pins, flags=re.M)
